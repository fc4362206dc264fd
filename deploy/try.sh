#!/usr/bin/env bash
# Runs an unpacked image as a container engine would, and uses it: `try.sh ROOT IMAGE.json`, the second as buildah
# inspect prints it. User, environment, start command and health check are the image's own; the root is read-only
# but for /tmp and the data volume, and there is no network but the loopback.
set -euo pipefail
if [[ ${3:-} != inside ]]; then
  exec unshare --mount --net --pid --fork --kill-child -- "$0" "$1" "$2" inside
fi
readonly root=$1 prompt='The capital of France is'

# field KEY: the lines of a list, or the value, from the image's configuration.
field() {
  python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))["Docker"]["config"]
for key in sys.argv[2].split("."):
    value = value[key]
print(*(value if isinstance(value, list) else [value]), sep="\n")' "$image" "$1"
}

readonly image=$2
mapfile -t environment < <(field Env)
mapfile -t entrypoint < <(field Entrypoint)
mapfile -t health < <(field Healthcheck.Test)
user=$(field User)
directory=$(field WorkingDir)

ip link set lo up
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777,size=256m tmpfs "$root/tmp"
mount -t tmpfs -o "uid=${user%%:*},gid=${user##*:},mode=700" tmpfs "$root/var/lib/patchclamp"
log=$(dirname "$image")/service.log

# What comes after these words runs in the image; as an array, so that a process in the background is the program itself.
# shellcheck disable=SC2016
readonly in_image=(env --ignore-environment "${environment[@]}" chroot --userspec="$user" "$root"
  /bin/sh -c 'cd "$0" && exec "$@"' "$directory")

show() { sed 's/^/   | /' "$1" >&2; }

now() { date +%s.%N; }
since() { python3 -c 'import sys; print(f"{float(sys.argv[2]) - float(sys.argv[1]):.1f} s")' "$1" "$(now)"; }

echo "   user $("${in_image[@]}" id -u), root read-only, start: ${entrypoint[*]}"
if "${in_image[@]}" touch /var/cache/patchclamp/file 2> /dev/null; then
  echo "the root can be written to" >&2
  exit 1
fi

began=$(now)
true > "$log"
"${in_image[@]}" "${entrypoint[@]}" > "$log" 2>&1 &
service=$!
until grep -q 'listening on' "$log"; do
  if ! kill -0 "$service" 2> /dev/null || ((SECONDS > 300)); then
    echo "the service did not start:" >&2
    show "$log"
    exit 1
  fi
  sleep 0.2
done
echo "   $(grep 'listening on' "$log") after $(since "$began")"

began=$(now)
if ! "${in_image[@]}" "${health[@]:1}"; then
  show "$log"
  exit 1
fi
echo "   healthy, asked in $(since "$began")"

# ask ARGUMENT…: the command of the image itself, its answer and its time.
ask() {
  local began
  began=$(now)
  echo "   \$ patchclamp ${*@Q}"
  if ! "${in_image[@]}" patchclamp "$@" --target 127.0.0.1:8470 > "$log.answer" 2> "$log.error"; then
    show "$log.error"
    show "$log"
    exit 1
  fi
  head -n 5 "$log.answer" | sed 's/^/   > /'
  echo "   answered in $(since "$began"), the command's own start included"
}

ask generate "$prompt" --max-new-tokens 24
ask generate "$prompt" --max-new-tokens 24 --edit 'scale layers.10.neurons[0:512] -3'
printf 'The\tDET\nnurse\tNOUN\nsaid\tVERB\n\nShe\tPRON\nwas\tVERB\nlate\tADJ\n\n%.0s' {1..20} > "$root/tmp/words.tsv"
ask corpora upload /tmp/words.tsv --id words --column upos=2
ask activations create corpora/words --model models/minilm-l6 --site 'layers.*.residual' --id words
ask rank activationSets/words --method linear_probe --id words
ask rankings export rankings/words --output /tmp/words.csv
ask analyze activationSets/words --method top_words --ranking rankings/words --top 3
"${in_image[@]}" python -c '
import urllib.request
lines = urllib.request.urlopen("http://127.0.0.1:9464/metrics").read().decode().splitlines()
print("   metrics:", sum(not line.startswith("#") for line in lines), "series")'
awk '/^VmHWM/ { printf "   memory at most: %d MB\n", $2 / 1024 }' "$root/proc/$service/status"

began=$(now)
kill -TERM "$service"
code=0
wait "$service" || code=$?
echo "   stopped by SIGTERM with exit code $code after $(since "$began")"
((code == 0))
