"""Every command that takes a set takes a file of NeuroX, and finds the same in it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patchclamp_analysis.cli import main
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.analysis.commands.planted_sets import QUICK, as_neurox, planted_set

GOLDEN = Path(__file__).parents[1] / "golden" / "neurox_formats"
KINDS = ["hdf5", "json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sets")
    for name, rows, seed in (("train", 400, 0), ("dev", 200, 1)):
        as_neurox(planted_set(place / f"{name}.h5", rows, seed))
    for method in ("probeless", "variance"):
        found = ["-l", "upos", "-m", method, "-o", str(place / f"{method}.npz")]
        assert main(["rank", str(place / "train.h5"), *found]) == 0
    return place


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


def of_train(folder: Path) -> list[str]:
    return ["--corpus", str(folder / "train.words"), "--labels", f"upos={folder / 'train.upos'}"]


def of_test(folder: Path) -> list[str]:
    return ["--test-corpus", str(folder / "dev.words"), "--test-labels", f"upos={folder / 'dev.upos'}"]


COMMANDS = {
    "rank": ["-l", "upos", "-m", "probeless", "-o", "OUT/found.csv", "-o", "OUT/found.json"],
    "clusters": ["-t", "0.2", "-o", "OUT/found.csv"],
    "top-words": ["-n", "layers.1.residual[3]", "-o", "OUT/found.json"],
    "analyze": ["-l", "upos", "-m", "representation_analysis", "-p", "epochs=5", "-o", "OUT/found.json"],
    "show": ["--json"],
    "convert": ["OUT/back.hdf5"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_neurox_gives_what_its_set_gives(folder, tmp_path, temporary, capsys, command, kind):
    found = {}
    for suffix, neurox in (("h5", []), (kind, of_train(folder))):
        out = tmp_path / suffix
        out.mkdir()
        capsys.readouterr()
        options = [option.replace("OUT", str(out)) for option in COMMANDS[command]]
        assert main([command, str(folder / f"train.{suffix}"), *options, *neurox]) == 0
        printed = capsys.readouterr().out.replace(str(out), "").replace("models/tiny", "").replace("corpora/dev", "")
        found[suffix] = (printed.replace(f"train.{suffix}", ""), *(path.read_bytes() for path in sorted(out.iterdir())))
    assert found["h5"] == found[kind]
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_rankings_are_judged_by_a_file_of_neurox(folder, tmp_path, temporary, command):
    rankings = [str(folder / f"{method}.npz") for method in ("probeless", "variance")]
    rest = [*rankings[: 1 if command == "evaluate" else 2], "-l", "upos", *QUICK]
    found = []
    for train, test, neurox in (
        ("train.h5", "dev.h5", []),
        ("train.hdf5", "dev.json", [*of_train(folder), *of_test(folder)]),
        ("train.h5", "dev.hdf5", of_test(folder)),
    ):
        out = tmp_path / f"from-{train}-{test}".replace(".", "-")
        given = [str(folder / train), *rest, "--test", str(folder / test), *neurox, "-o", str(out)]
        assert main([command, *given]) == 0
        found.append((out / "comparison.json").read_bytes())
    assert found[0] == found[1] == found[2]
    assert not list(temporary.iterdir())


def test_several_sets_of_either_kind(folder, tmp_path):
    out = tmp_path / "compared"
    given = [str(folder / "train.h5"), str(folder / "train.hdf5"), "-m", "cross_model", "-o", str(out)]
    assert main(["analyze", *given]) == 0
    one, other = (Ranking.load(out / f"{name}.npz").scores for name in ("train.h5", "train.hdf5"))
    # Neurons 10 and 11 are dead.
    expected = [1.0] * 10 + [0.0] * 2 + [1.0] * 8
    assert one.tolist() == pytest.approx(expected, abs=1e-6)
    assert other.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["full.hdf5", "f16.json"])
def test_what_neurox_wrote(tmp_path, name):
    source = str(GOLDEN / f"format_{name}")
    assert main(["convert", source, str(tmp_path / "set.h5")]) == 0
    for number, given in enumerate([source, str(tmp_path / "set.h5")]):
        assert main(["rank", given, "-m", "variance", "-o", str(tmp_path / f"{number}.npz")]) == 0
    one, other = (Ranking.load(tmp_path / f"{number}.npz") for number in range(2))
    assert one.scores.tolist() == other.scores.tolist()
    assert [site.name for site in one.neurons.sites] == ["embeddings", "layers.0.residual", "layers.1.residual"]


def test_layers_are_numbered_from_zero(folder, capsys):
    assert main(["rank", str(folder / "train.hdf5"), "-m", "variance", "--layer", "-1", "--layer", "0"]) == 2
    assert "--layer" in capsys.readouterr().err


def test_the_number_of_a_layer_can_be_told(tmp_path):
    out = tmp_path / "found.npz"
    given = [str(GOLDEN / "format_decomposed-layer1.hdf5"), "--layer", "1", "-m", "variance", "-o", str(out)]
    assert main(["rank", *given]) == 0
    assert [site.name for site in Ranking.load(out).neurons.sites] == ["layers.0.residual"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.hdf5", "-l", "upos"], "a file of NeuroX has no labels: give its words with --corpus"),
        (["train.hdf5", "-l", "xpos", "--corpus", "train.words", "--labels", "upos=train.upos"], "no layer of labels"),
        (["train.hdf5", "--labels", "upos=train.upos"], "say which with --corpus"),
        (["train.hdf5", "--corpus", "dev.words", "--labels", "upos=dev.upos"], "there are words of fewer sentences"),
        (["train.h5", "--corpus", "train.words"], "is no file of NeuroX"),
        (["train.words"], "is no HDF5 file"),
        (["none.json"], "patchclamp-analysis: none.json: No such file"),
        (["empty.json"], "empty.json, line 1: is no sentence of a NeuroX file: there is no 'features'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, temporary, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    Path("empty.json").write_text("{}\n")
    assert main(["rank", *arguments, "-m", "variance"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_stops_a_command_finds_nothing_left(tmp_path, temporary, number, code):
    big = tmp_path / "big.json"
    token = '{"token": "a", "layers": [{"index": 0, "values": [0.5, 1.5, 2.5, 3.5]}]}'
    line = f'{{"linex_index": 0, "features": [{", ".join([token] * 20)}]}}\n'
    big.write_text(line * 50_000)  # reading it takes far longer than a busy machine may hold back the signal
    command = [sys.executable, "-m", "patchclamp_analysis", "rank", str(big), "-m", "variance", "-o", "found.npz"]
    environment = {"TMPDIR": str(temporary), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell runs in the background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while process.poll() is None and not list(temporary.glob("*/*")):
            time.sleep(0.005)
        process.send_signal(number)
        _, error = process.communicate()
    assert (process.returncode, error) == (code, "")
    assert not list(temporary.iterdir())
    assert not (tmp_path / "found.npz").exists()


def test_the_words_of_a_file_are_read(folder, tmp_path):
    assert main(["convert", str(folder / "train.json"), str(tmp_path / "set.h5")]) == 0
    with ActivationSet.open(folder / "train.h5") as given, ActivationSet.open(tmp_path / "set.h5") as got:
        assert got.words.tolist() == given.words.tolist()
