from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from patchclamp_analysis.cli import main
from patchclamp_analysis.commands.corpus import CorpusInput, corpus_directory
from patchclamp_analysis.corpora.corpus import Corpus, Sentence, write_corpus
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.tiny import save_tiny

SENTENCES = [["the", "nurse", "said", "42"], ["she", "was", "late"], ["a", "site", "is", "a", "place"]]
LABELS = [["DET", "NOUN", "VERB", "NUM"], ["PRON", "AUX", "ADJ"], ["DET", "NOUN", "AUX", "DET", "NOUN"]]
COMMANDS = (
    "analyze",
    "clusters",
    "compare",
    "convert",
    "evaluate",
    "extract",
    "merge",
    "methods",
    "plot",
    "rank",
    "show",
    "top-words",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that choose a model and its sites."""
    folder = tmp_path_factory.mktemp("cli")
    source = save_tiny("llama", folder / "llama")
    return ["-m", f"tiny={source}", "--cache", str(folder / "cache"), "-s", "layers.*.residual"]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    (tmp_path / "dev.upos").write_text("".join(" ".join(labels) + "\n" for labels in LABELS))
    words = tmp_path / "dev.words"
    words.write_text("".join(" ".join(sentence) + "\n" for sentence in SENTENCES))
    return words


def conllu(tmp_path: Path) -> list[str]:
    path = tmp_path / "dev.conllu"
    path.write_text(
        "".join(
            "".join(f"{i}\t{w}\t_\t{u}\t_\t_\t_\t_\t_\t_\n" for i, (w, u) in enumerate(zip(ws, us, strict=True), 1))
            + "\n"
            for ws, us in zip(SENTENCES, LABELS, strict=True)
        )
    )
    return [str(path), "--column", "upos=4"]


def tsv(tmp_path: Path) -> list[str]:
    path = tmp_path / "dev.txt"
    path.write_text(
        "\n".join(
            "".join(f"{u}\t{w}\n" for w, u in zip(ws, us, strict=True))
            for ws, us in zip(SENTENCES, LABELS, strict=True)
        )
    )
    return [str(path), "--format", "tsv", "--column", "upos=1", "--word-column", "2"]


def jsonl(tmp_path: Path) -> list[str]:
    path = tmp_path / "dev.jsonl"
    rows = ({"words": ws, "labels": {"upos": us}} for ws, us in zip(SENTENCES, LABELS, strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(path)]


def aligned(tmp_path: Path) -> list[str]:
    return [str(tmp_path / "dev.words"), "--labels", f"upos={tmp_path / 'dev.upos'}"]


def kept(tmp_path: Path) -> list[str]:
    pairs = zip(SENTENCES, LABELS, strict=True)
    write_corpus((Sentence(tuple(ws), labels={"upos": tuple(us)}) for ws, us in pairs), tmp_path / "corpus")
    return [str(tmp_path / "corpus")]


@pytest.mark.parametrize("form", [aligned, conllu, tsv, jsonl, kept])
def test_corpora_of_every_format_give_the_same_rows(form, lines, model, tmp_path):
    out = tmp_path / "out.h5"
    assert main(["extract", *form(tmp_path), *model, "-o", str(out)]) == 0
    with ActivationSet.open(out) as found:
        assert found.words.tolist() == [word for sentence in SENTENCES for word in sentence]
        assert found.labels("upos").tolist() == [label for labels in LABELS for label in labels]
        assert list(found.sites) == [f"layers.{i}.residual" for i in range(3)]
        assert all(np.isfinite(found.read(site)).all() for site in found.sites)
    assert not list(tmp_path.glob("out.h5.*"))


def test_running_text_gives_a_row_a_token(model, tmp_path):
    (tmp_path / "a.txt").write_text("the nurse said\nshe was late\n")
    assert main(["extract", str(tmp_path / "a.txt"), *model, "-o", str(tmp_path / "out.h5")]) == 0
    with ActivationSet.open(tmp_path / "out.h5") as found:
        assert found.description.aggregation == "none"
        assert "".join(found.words[found.sentences == 0]) == "the nurse said"


def test_rules_label_words(lines, model, tmp_path):
    rules = ["--rule", "kind=number:regex:[0-9]+", "--rule", "kind=s:search:^s", "--rule", "kind=other:otherwise"]
    assert main(["extract", str(lines), "--format", "lines", *model, *rules, "-o", str(tmp_path / "out.h5")]) == 0
    with ActivationSet.open(tmp_path / "out.h5") as found:
        labels = dict(zip(found.words, found.labels("kind"), strict=True))
    assert [labels[word] for word in ("42", "said", "she", "nurse")] == ["number", "s", "s", "other"]


def test_filters_keep_rows(lines, model, tmp_path):
    chosen = ["--filter-layer", "upos", "--filter-label", "NOUN", "--filter-label", "DET", "--filter-per-label", "2"]
    assert main(["extract", *aligned(tmp_path), *model, *chosen, "-o", str(tmp_path / "out.h5")]) == 0
    with ActivationSet.open(tmp_path / "out.h5") as found:
        assert sorted(found.labels("upos")) == ["DET", "DET", "NOUN", "NOUN"]


def test_edits_come_from_a_file(lines, model, tmp_path):
    edits = tmp_path / "edits.json"
    edits.write_text(json.dumps([{"neurons": {"site": "layers.1.residual", "indices": [3]}, "set": {"values": [7]}}]))
    out = tmp_path / "out.h5"
    assert main(["extract", *aligned(tmp_path), *model, "--edits", str(edits), "-o", str(out)]) == 0
    with ActivationSet.open(out) as found:
        assert set(found.read("layers.1.residual")[:, 3]) == {7.0}
        assert found.description.interventions


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rule", "kind=number:affix:x"], "--rule: 'kind=number:affix:x' is no rule"),
        (["--rule", "kind=number:regex:("], r"rules\[0\]\.regex\.pattern: RE2 refuses"),
        (["--column", "upos"], "--column: 'upos' is not LAYER=N"),
        (["--labels", "upos"], "--labels: 'upos' is not LAYER=FILE"),
        (["--labels", "upos=no-such-file"], "no-such-file"),
        (["--edits", "no-such-file"], "no-such-file"),
        (["-s", "layers.7.residual"], r"layers\.7\.residual"),
        (["--filter-layer", "xpos"], "no layer 'xpos'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(lines, model, tmp_path, capsys, arguments, said):
    there = set(tmp_path.iterdir())
    command = ["extract", str(lines), "--format", "lines", *model, *arguments, "-o", str(tmp_path / "out.h5")]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("patchclamp-analysis: ")
    assert error.count("\n") == 1
    assert re.search(said, error)
    assert set(tmp_path.iterdir()) == there


def test_misaligned_labels_name_file_and_line(lines, model, tmp_path, capsys):
    (tmp_path / "dev.upos").write_text("DET NOUN VERB NUM\nPRON AUX\nDET NOUN AUX DET NOUN\n")
    assert main(["extract", *aligned(tmp_path), *model, "-o", str(tmp_path / "out.h5")]) == 1
    assert f"{tmp_path / 'dev.upos'}, line 2: 2 labels for 3 words" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_overwritten(lines, model, tmp_path, capsys):
    (tmp_path / "out.h5").write_text("precious")
    assert main(["extract", *aligned(tmp_path), *model, "-o", str(tmp_path / "out.h5")]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "out.h5").read_text() == "precious"


def test_show_as_json_and_for_people(lines, model, tmp_path, capsys):
    main(["extract", *aligned(tmp_path), *model, "-o", str(tmp_path / "out.h5")])
    capsys.readouterr()
    assert main(["show", str(tmp_path / "out.h5"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["sentences"], found["corpus"]) == (12, 3, "dev.words")
    assert found["layers"]["upos"]["NOUN"] == 3
    assert main(["show", str(tmp_path / "out.h5")]) == 0
    assert "NOUN 3" in capsys.readouterr().out


def test_show_says_what_is_no_set(tmp_path, capsys):
    (tmp_path / "x.h5").write_text("x")
    assert main(["show", str(tmp_path / "x.h5")]) == 1
    assert "x.h5" in capsys.readouterr().err


def test_to_neurox_and_back(lines, model, tmp_path, capsys):
    there, neurox, back = (str(tmp_path / name) for name in ("out.h5", "out.hdf5", "back.h5"))
    assert main(["extract", *aligned(tmp_path), *model, "-o", there]) == 0
    capsys.readouterr()
    assert main(["convert", there, neurox]) == 0
    assert "layers 0 = layers.0.residual, 1 = layers.1.residual, 2 =" in capsys.readouterr().out
    labels = ["--corpus", str(lines), "--labels", f"upos={tmp_path / 'dev.upos'}"]
    assert main(["convert", neurox, back, *labels]) == 0
    with ActivationSet.open(Path(there)) as given, ActivationSet.open(Path(back)) as got:
        assert got.to_pandas().equals(given.to_pandas())
        assert list(got.sites) == list(given.sites)
        assert all(np.array_equal(got.site(site), given.site(site)) for site in given.sites)


def test_a_second_run_to_one_output_is_refused_and_harms_nothing(lines, model, tmp_path, capsys):
    out = tmp_path / "out.h5"
    with corpus_directory(CorpusInput(lines, "lines"), out) as directory:
        assert main(["extract", *aligned(tmp_path), *model, "-o", str(out)]) == 1
        assert list(Corpus.open(directory)) == [Sentence(tuple(sentence)) for sentence in SENTENCES]
    error = capsys.readouterr().err
    assert error.endswith("another run is making this file; wait for it, or write to another one\n")
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev.upos", "dev.words"]


def test_labels_of_a_neurox_file_need_a_corpus(tmp_path, capsys):
    assert main(["convert", "x.json", str(tmp_path / "x.h5"), "--labels", "upos=x"]) == 1
    assert "--corpus" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["auto", "ray://127.0.0.1:10001", "127.0.0.1:x", ":1", "127.0.0.1:1"])
def test_an_address_without_a_cluster_is_said_at_once(lines, model, tmp_path, capsys, address):
    assert main(["extract", *aligned(tmp_path), *model, "-o", str(tmp_path / "out.h5"), "--ray", address]) == 1
    error = capsys.readouterr().err
    assert "no Ray cluster answers" in error or "neither HOST:PORT" in error


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"patchclamp-analysis {command} " in capsys.readouterr().out


def test_the_help_lists_every_command(capsys):
    main(["--help"])
    listed = re.findall(r"^  ([\w-]+)  ", capsys.readouterr().out.split("Commands:")[1], re.MULTILINE)
    assert tuple(sorted(listed)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_stands_in_the_readme(command):
    _, _, section = (Path(__file__).parents[3] / "README.md").read_text().partition("\n## Without a server\n")
    assert f"patchclamp-analysis {command} " in section.split("\n## ")[0]


def test_the_page_about_ray_knows_the_options(capsys):
    main(["extract", "--help"])
    known = capsys.readouterr().out
    page = (Path(__file__).parents[3] / "docs/ray.md").read_text()
    named = re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE)
    assert len(named) > 4
    assert [option for option in named if option not in known] == []


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("h5py", ["show", "x.h5"], "patchclamp[analysis]"),
        (
            "protovalidate",
            ["extract", "x.txt", "-m", "minilm-l6", "-s", "embeddings", "-o", "x.h5"],
            "patchclamp[service]",
        ),
    ],
)
def test_a_missing_extra_is_one_friendly_line(missing, command, extra, tmp_path):
    (tmp_path / "x.txt").write_text("a\n")
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom patchclamp_analysis.cli import main\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert extra in done.stderr


def test_killed_and_run_again_it_goes_on(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["the", "nurse", "said", "that", "she", "was", "late"]
    Path("big.words").write_text("".join(" ".join(words[: 1 + number % 7]) + "\n" for number in range(2000)))
    command = ["extract", "big.words", "--format", "lines", *model, "-o"]
    with subprocess.Popen([sys.executable, "-m", "patchclamp_analysis", *command, "out.h5"]) as process:
        partial = Path("out.h5.partial")
        while process.poll() is None and not (partial.exists() and partial.stat().st_size):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not Path("out.h5").exists()
    assert [main([*command, name]) for name in ("out.h5", "at-once.h5")] == [0, 0]
    with ActivationSet.open(Path("out.h5")) as resumed, ActivationSet.open(Path("at-once.h5")) as at_once:
        assert resumed.rows == sum(1 + number % 7 for number in range(2000))
        assert resumed.to_pandas().equals(at_once.to_pandas())
        for site in at_once.sites:
            np.testing.assert_allclose(resumed.read(site), at_once.read(site), atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at-once.h5", "big.words", "out.h5"]
