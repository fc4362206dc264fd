#!/usr/bin/env bash
# Builds the image without a container engine and tries it out: mmdebstrap makes the base, buildah builds, try.sh runs
# the result on a read-only root and asks it for a generation. Needs root, and the Debian packages buildah, mmdebstrap,
# iproute2 and python3-pip. Everything is made in a temporary directory (some 5 GB) and removed at the end.
#
#   BASE=IMAGE               use this instead of a base of our own
#   MIRROR=URL|FILE          where mmdebstrap gets Debian from; on Debian bookworm the host's own sources are the default
#   TORCH_INDEX=URL|''       index of PyTorch's builds for the CPU; default: the host's own indexes if they have one
#   EXTRA_VOLUMES='A:B …'    more directories that the build sees, as `buildah build --volume`
#   OUTPUT=DESTINATION       keep the image, for example oci-archive:patchclamp.tar
#   STORAGE_DRIVER=NAME      buildah's, for example vfs where overlays cannot be mounted
#
# Where the host's pip is told of package indexes, by files or by environment, the build uses them too.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly suite=bookworm tag=localhost/patchclamp
export BUILDAH_ISOLATION=chroot PIP_DISABLE_PIP_VERSION_CHECK=1
work=$(mktemp -d "${TMPDIR:-/tmp}/patchclamp-image.XXXXXXXX")
readonly work

in_buildah() {
  buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"} --root "$work/storage" --runroot "$work/run" "$@"
}

clean_up() {
  if [[ -n ${container:-} ]]; then
    in_buildah umount "$container" > /dev/null || true
  fi
  umount "$work"/storage/overlay 2> /dev/null || true
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

step() {
  printf '\n== %s\n' "$1"
  SECONDS=0
}

took() { printf '   %d s\n' "$SECONDS"; }

# The base: a small Debian with Python, imported as an image.
make_base() {
  local mirror=${MIRROR:-} file
  if [[ -z $mirror ]] && grep -qs "^VERSION_CODENAME=$suite\$" /etc/os-release; then
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
      [[ -s $file ]] && mirror=$file && break
    done
  fi
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$suite" "$work/base.tar" ${mirror:+"$mirror"}
  local new
  new=$(in_buildah from scratch)
  in_buildah add --quiet "$new" "$work/base.tar" / > /dev/null
  in_buildah config --cmd /bin/sh --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$new"
  in_buildah commit --quiet --rm "$new" "$1" > /dev/null
  rm "$work/base.tar"
}

# Writes what the host's pip is told about indexes to the file $1, and the local paths in it to the file $2.
pip_settings() {
  python3 - "$1" "$2" << 'PYTHON'
import ast
import subprocess
import sys
from pathlib import Path

KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "trusted-host", "proxy", "timeout")
listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True)
found = {}
for line in listing.stdout.splitlines():
    key, _, value = line.partition("=")
    level, _, name = key.rpartition(".")
    name = name.removeprefix("default-")
    if name in KEYS and (level != ":env:" or value):
        rank = (":env:", "install", "global").index(level) if level in (":env:", "install", "global") else 3
        found[name] = min(found.get(name, (9, "")), (rank, ast.literal_eval(value)))
paths = set()
for name, (_, value) in found.items():
    for word in value.split():
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.exists():  # the files of an index stand beside its pages
            paths.add(path.parent if word.startswith("file://") and path.parent != Path("/") else path)
Path(sys.argv[1]).write_text(
    "[global]\n" + "".join(f"{name} = {' '.join(value.split())}\n" for name, (_, value) in found.items())
)
Path(sys.argv[2]).write_text("".join(f"{path}\n" for path in sorted(paths)))
PYTHON
}

# Whether the host's own indexes have PyTorch for the CPU.
has_cpu_torch() {
  local version
  version=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' constraints.txt)
  python3 -m pip install --quiet --dry-run --no-deps --only-binary=:all: --python-version 3.11 \
    --target "$work/nowhere" "torch==$version+cpu" &> /dev/null
}

build() {
  local arguments=(--build-arg "BASE=$1") path volume
  if [[ -z ${TORCH_INDEX+set} ]] && has_cpu_torch; then
    TORCH_INDEX=
  fi
  if [[ -n ${TORCH_INDEX+set} ]]; then
    arguments+=(--build-arg "TORCH_INDEX=$TORCH_INDEX")
  fi
  pip_settings "$work/pip.conf" "$work/paths"
  while read -r path; do
    arguments+=(--volume "$path:$path:ro")
  done < "$work/paths"
  for volume in ${EXTRA_VOLUMES:-}; do
    arguments+=(--volume "$volume")
  done
  in_buildah build --format docker --file deploy/Dockerfile --tag "$tag" \
    --secret "id=pip.conf,src=$work/pip.conf" "${arguments[@]}" .
}

if ((EUID != 0)); then
  echo "deploy/build.sh: needs root, to make and enter a root file system" >&2
  exit 1
fi
for tool in buildah mmdebstrap unshare chroot ip python3; do
  command -v "$tool" > /dev/null || { echo "deploy/build.sh: $tool is not installed" >&2 && exit 1; }
done

base=${BASE:-localhost/patchclamp-base}
if [[ -z ${BASE:-} ]]; then
  step "base: Debian $suite by mmdebstrap"
  make_base "$base"
  took
fi

step "image: $tag by buildah, on $base"
build "$base"
took
in_buildah images --format '   {{.Name}}: {{.Size}}' | sort

step "run"
container=$(in_buildah from "$tag")
in_buildah inspect --type container "$container" > "$work/image.json"
deploy/try.sh "$(in_buildah mount "$container")" "$work/image.json"
took

if [[ -n ${OUTPUT:-} ]]; then
  step "keep: $OUTPUT"
  in_buildah push "$tag" "$OUTPUT"
  took
fi
