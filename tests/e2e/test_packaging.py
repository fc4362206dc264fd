"""The wheel by itself: the base install imports without torch, and says kindly what is missing."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        ROOT,
    ]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    subprocess.run([interpreter, "-m", "pip", "install", "-q", wheel, "-c", ROOT / "constraints.txt"], check=True)
    return interpreter


def test_the_wheel_holds_the_three_packages_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"patchclamp", "patchclamp_analysis", "patchclamp_service", "buf"}
    assert "patchclamp/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)


def test_the_base_install_is_light_and_imports(python: Path) -> None:
    code = (
        "import sys, patchclamp, importlib.util as u; from patchclamp.v1 import inference_pb2, activations_pb2_grpc;"
        "from patchclamp import Client, ablate; Client('localhost:1').close();"
        "assert 'torch' not in sys.modules and u.find_spec('torch') is None"
    )
    subprocess.run([python, "-c", code], check=True, cwd=python.parent)


@pytest.mark.parametrize("arguments", [["serve", "--model", "smollm2-135m"], ["serve", "--help"]])
def test_a_missing_extra_is_one_friendly_line(python: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [python.with_name("patchclamp"), *arguments], capture_output=True, text=True, check=False, cwd=python.parent
    )
    assert done.returncode == 1
    assert done.stderr.strip().count("\n") == 0
    assert "patchclamp[service]" in done.stderr
