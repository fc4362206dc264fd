"""Generates the Python stubs from the protos; with --check, says whether the committed ones are up to date.

Runs in the throwaway environment that the Makefile makes (grpcio-tools 1.76: its stubs run on protobuf 6.31 to 7.x,
those of newer versions do not run on 6). The rules' own schema, buf/validate/validate.proto, is taken from the
installed protovalidate: `python - > FILE` in the main environment prints it (see `make gen`).
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).parent
SOURCES = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("patchclamp/**/*.proto"))
STUBS = PROTOS.parent / "clients" / "python"
# protoc looks for its mypy plugin beside the interpreter that runs this.
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def generate(target: Path, rules: Path) -> None:
    """Writes the stubs of every proto under `target`."""
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={rules}", f"-I{PROTOS}"]
    outputs = [f"--{kind}_out={target}" for kind in ("python", "mypy", "grpc_python", "mypy_grpc")]
    for arguments in ([*outputs, *SOURCES], [*outputs[:2], "buf/validate/validate.proto"]):
        subprocess.run([*protoc, *arguments], check=True, env=ENVIRONMENT, stderr=subprocess.DEVNULL)


def write_image(image: Path, rules: Path) -> None:
    """Writes the descriptors with their comments, for `buf lint`, which cannot reach its registry here."""
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={rules}", f"-I{PROTOS}"]
    subprocess.run([*protoc, f"-o{image}", "--include_imports", "--include_source_info", *SOURCES], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=Path, required=True, help="descriptor set of buf/validate/validate.proto")
    parser.add_argument("--image", type=Path, help="also write a descriptor image for buf lint")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a stub differs")
    arguments = parser.parse_args()
    if arguments.image:
        write_image(arguments.image, arguments.rules)
    if not arguments.check:
        generate(STUBS, arguments.rules)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), arguments.rules)
        fresh = {path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file()}
        stale = [path for path in sorted(fresh) if not same(Path(folder) / path, STUBS / path)]
        kept = {path.relative_to(STUBS) for path in STUBS.rglob("*_pb2*") if path.suffix in {".py", ".pyi"}}
        stale += sorted(kept - fresh)
    for path in stale:
        print(f"clients/python/{path} is not what `make gen` writes", file=sys.stderr)
    return 1 if stale else 0


def same(left: Path, right: Path) -> bool:
    """Whether both files exist with equal content."""
    return right.exists() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    sys.exit(main())
