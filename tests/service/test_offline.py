from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from patchclamp_analysis.corpora.corpus import Corpus, Sentence, write_corpus
from patchclamp_analysis.errors import AnalysisError, BadData
from patchclamp_analysis.extraction.extractors import Extraction, Extractor, ModelChoice, find_extractor
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.row_selection import RowFilter
from patchclamp_service.activations.extraction import extract_corpus
from patchclamp_service.activations.extraction_spec import ExtractionSpec
from patchclamp_service.engine.engine import Engine
from patchclamp_service.engine.model import ModelSpec, load_model
from patchclamp_service.engine.sites import build_site_map
from patchclamp_service.offline import open_extractor

from tests.tiny import save_tiny

WORDS = ["the", "nurse", "said", "that", "she", "would", "be", "late", "because", "the", "doctor", "said", "he", "was"]
SITES = ("layers.*.residual",)
WANTED = Extraction(SITES, corpus="corpora/tiny")


def sentence(number: int) -> Sentence:
    words = tuple(WORDS[(number + place) % len(WORDS)] for place in range(1 + number % 7))
    return Sentence(words, labels={"kind": tuple("pronoun" if word in ("she", "he") else "" for word in words)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offline")


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return write_corpus(map(sentence, range(60)), folder / "corpus")


@pytest.fixture(scope="module")
def model(folder: Path) -> ModelChoice:
    return ModelChoice(f"tiny={save_tiny('llama', folder / 'llama')}", cache=str(folder / "cache"))


@pytest.fixture(scope="module")
def extractor(model: ModelChoice) -> Iterator[Extractor]:
    with open_extractor(model) as opened:
        yield opened


def ignore(stage: str, done: int, total: int) -> None:
    pass


def test_the_library_finds_it():
    assert find_extractor() is open_extractor


def test_rows_are_those_of_the_server_to_the_bit(extractor, corpus, model, folder, tmp_path):
    extractor.extract(corpus, WANTED, tmp_path / "offline.h5", ignore)
    loaded = load_model(ModelSpec.parse(model.spec), cache=folder / "cache")
    engine = Engine(loaded, build_site_map(loaded))
    engine.start()
    spec = ExtractionSpec(SITES, corpus="corpora/tiny")
    asyncio.run(extract_corpus(engine, corpus, spec, tmp_path / "server.h5", lambda *_: None))
    engine.stop()
    with ActivationSet.open(tmp_path / "offline.h5") as mine, ActivationSet.open(tmp_path / "server.h5") as theirs:
        assert mine.description == theirs.description
        assert mine.to_pandas().equals(theirs.to_pandas())
        assert all(np.array_equal(mine.site(site), theirs.site(site)) for site in theirs.sites)


def test_parts_add_up_to_the_whole(extractor, corpus, tmp_path):
    extractor.extract(corpus, WANTED, tmp_path / "whole.h5", ignore)
    for start, stop in ((0, 25), (25, 26), (26, 60)):
        extractor.extract(corpus, WANTED, tmp_path / f"{start}.h5", ignore, range(start, stop))
    whole = ActivationSet.open(tmp_path / "whole.h5")
    parts = [ActivationSet.open(tmp_path / f"{start}.h5") for start in (0, 25, 26)]
    assert {part.description for part in parts} == {whole.description}
    assert np.concatenate([part.sentences for part in parts]).tolist() == whole.sentences.tolist()
    assert np.concatenate([part.words for part in parts]).tolist() == whole.words.tolist()
    for site in whole.sites:
        np.testing.assert_allclose(np.concatenate([part.read(site) for part in parts]), whole.read(site), atol=1e-5)


def test_draws_are_of_the_whole_corpus_not_of_a_part(extractor, corpus, tmp_path):
    wanted = replace(WANTED, rule=RowFilter("kind", labels=frozenset({"pronoun"}), per_label=5, seed=3))
    written = extractor.extract(corpus, wanted, tmp_path / "whole.h5", ignore)
    parts = [extractor.extract(corpus, wanted, tmp_path / f"{n}.h5", ignore, range(n, n + 20)) for n in (0, 20, 40)]
    assert written.finished.rows == 5
    assert sum(part.finished.rows for part in parts if part) == 5


def test_where_no_row_is_kept_there_is_no_file(extractor, tmp_path):
    corpus = write_corpus([sentence(number) for number in (0, 3)], tmp_path / "corpus")
    wanted = replace(WANTED, rule=RowFilter("kind", labelled_only=True))
    assert extractor.extract(corpus, wanted, tmp_path / "set.h5", ignore, range(1)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def edit(site: str, **parts) -> str:
    return json.dumps([{"neurons": {"site": site}, "ablate": {}, **parts}])


def test_edits_are_applied(extractor, corpus, tmp_path):
    wanted = replace(WANTED, interventions=edit("layers.1.residual"))
    extractor.extract(corpus, wanted, tmp_path / "set.h5", ignore)
    with ActivationSet.open(tmp_path / "set.h5") as found:
        assert not found.read("layers.1.residual").any()
        assert found.read("layers.0.residual").any()
        assert found.description.interventions
    assert [path.name for path in tmp_path.iterdir()] == ["set.h5"]


def test_an_edit_that_selects_nothing_in_a_part_is_told(extractor, corpus, tmp_path):
    tokens = {"tokens": [" said"]}
    edits = json.loads(edit("layers.0.residual")) + json.loads(edit("layers.1.residual", positions=tokens))
    wanted = replace(WANTED, interventions=json.dumps(edits))
    one = extractor.extract(corpus, wanted, tmp_path / "1.h5", ignore, range(1))
    assert one.idle_edits == (1,)


def test_an_edit_that_selects_nothing_at_all_is_refused(extractor, corpus, tmp_path):
    wanted = replace(WANTED, interventions=edit("layers.1.residual", positions={"tokens": ["Z"]}))
    with pytest.raises(BadData, match="select no token"):
        extractor.extract(corpus, wanted, tmp_path / "set.h5", ignore)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"neurons": 3}]', '[{"nothing": {}}]', '[{"ablate": {}}]'])
def test_what_is_no_list_of_edits_is_refused(extractor, corpus, tmp_path, text):
    with pytest.raises(BadData, match="interventions"):
        extractor.extract(corpus, replace(WANTED, interventions=text), tmp_path / "set.h5", ignore)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sites": ("layers.9.residual",)}, r"layers\.9\.residual"),
        ({"rule": RowFilter("upos", labelled_only=True)}, "no layer 'upos'"),
    ],
)
def test_what_the_model_or_corpus_cannot_give_is_refused(extractor, corpus, tmp_path, change, said):
    with pytest.raises(BadData, match=said):
        extractor.extract(corpus, replace(WANTED, **change), tmp_path / "set.h5", ignore)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spec", ["nothing-embedded", "x=/no/such/directory", "X=./y"])
def test_a_model_that_cannot_be_loaded_is_an_error_of_the_library(spec, tmp_path):
    with pytest.raises(AnalysisError), open_extractor(ModelChoice(spec, cache=str(tmp_path))):
        pass


def test_what_was_stopped_goes_on(extractor, corpus, tmp_path):
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "extracting" and done:
            raise KeyboardInterrupt

    path = tmp_path / "set.h5"
    with pytest.raises(KeyboardInterrupt):
        extractor.extract(corpus, WANTED, path, stop)
    assert not path.exists()
    extractor.extract(corpus, WANTED, path, ignore)
    extractor.extract(corpus, WANTED, tmp_path / "at-once.h5", ignore)
    with ActivationSet.open(path) as resumed, ActivationSet.open(tmp_path / "at-once.h5") as at_once:
        assert resumed.to_pandas().equals(at_once.to_pandas())
        for site in at_once.sites:
            np.testing.assert_allclose(resumed.read(site), at_once.read(site), atol=1e-5)
