"""The command line against the real server, as a user calls it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.e2e.conftest import COMMAND

PROMPT = "the nurse said that"


def run(*arguments: str | Path, target: str = "", text: str = "") -> subprocess.CompletedProcess[str]:
    target_flag = ["--target", target] if target else []
    return subprocess.run(
        [COMMAND, *arguments, *target_flag], input=text, capture_output=True, text=True, check=False, timeout=60
    )


def test_generate_prints_the_text_and_as_json_everything(address: str) -> None:
    plain = run("generate", PROMPT, "--max-new-tokens", "5", target=address)
    edit = ["--edit", "scale layers.1.neurons[0:40] -3 @generated", "--max-new-tokens", "5", "--json"]
    edited = json.loads(run("generate", PROMPT, *edit, target=address).stdout)
    assert plain.returncode == 0
    assert plain.stdout.strip()
    assert len(edited["tokens"]) <= 5
    assert edited["applied"]["digest"]


def test_score_and_models_and_sites(address: str) -> None:
    scores = json.loads(run("score", PROMPT, " she", " he", "--json", target=address).stdout)
    assert set(scores["scores"]) == {" she", " he"}
    assert "tiny-bert" in run("models", target=address).stdout
    assert "layers.2.neurons" in run("sites", "models/tiny", target=address).stdout


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".jsonl"])
def test_extract_writes_a_file(address: str, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"out{suffix}"
    done = run("extract", "-", "--words", "-s", "layers.*.residual", "-o", file, target=address, text="a b c\nd e\n")
    assert done.returncode == 0, done.stderr
    assert file.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    if suffix == ".npz":
        assert any(array.shape == (5, 32) for array in np.load(file).values())
    elif suffix == ".h5":
        with h5py.File(file) as h5:
            assert len(h5)
    else:
        assert len(file.read_text().splitlines()) >= 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", PROMPT, "--edit", "ablate layers.1.neuron[1]"),
        ("generate", PROMPT, "--edit", "ablate layers.1.neurons[99]"),
        ("generate", PROMPT, "--edit", "frobnicate layers.1.neurons[1]"),
        ("sites", "models/none"),
        ("extract", "/no/such/file", "-s", "embeddings", "-o", "x.npz"),
        ("extract", "-", "-s", "nowhere", "-o", "x.npz"),
    ],
)
def test_an_error_is_one_line_and_no_trace(address: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [COMMAND, *arguments, "--target", address],
        input="a\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    assert not list(tmp_path.iterdir())


def test_no_server_is_said_kindly() -> None:
    done = run("models", target="127.0.0.1:9")
    assert done.returncode == 1
    assert "patchclamp serve" in done.stderr


COMMANDS = ["serve", "models", "sites", "generate", "score", "extract", "classify", "fill-mask"]
GROUPS = ["corpora", "activations", "operations"]


@pytest.mark.parametrize("command", COMMANDS + GROUPS)
def test_every_command_explains_itself_and_stands_in_the_readme(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout) > 200
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"patchclamp {command}" in readme
