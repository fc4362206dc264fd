"""Extraction on a Ray cluster of this machine, as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from patchclamp_analysis.corpora.corpus import Corpus, Sentence, write_corpus
from patchclamp_analysis.extraction.extractors import Extraction, Extractor, ModelChoice, find_extractor
from patchclamp_analysis.extraction.ray_extract import ShardWorker
from patchclamp_analysis.extraction.shards import Shard, ShardFolder, cut
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.tiny import save_tiny

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'ray[data]'")

WORDS = ["the", "nurse", "said", "that", "she", "would", "be", "late", "because", "he", "was", "busy"]
SHARD_WORDS = 200
SITES = ("layers.*.residual",)
COMMAND = [sys.executable, "-m", "patchclamp_analysis", "extract"]


def sentence(number: int) -> Sentence:
    return Sentence(tuple(WORDS[(number * 5 + place) % len(WORDS)] for place in range(1 + number % 8)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return write_corpus(map(sentence, range(1600)), folder / "corpus")


@pytest.fixture(scope="module")
def model(folder: Path) -> ModelChoice:
    return ModelChoice(f"tiny={save_tiny('llama', folder / 'llama')}", threads=1, cache=str(folder / "cache"))


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A model takes as many threads as it is told, for good."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def extractor(model: ModelChoice) -> Iterator[Extractor]:
    """On one thread as an actor, so that sums are taken in the same order."""
    with find_extractor()(model) as opened:
        yield opened


def options(model: ModelChoice) -> list[str]:
    chosen = ["-m", model.spec, "--cache", model.cache, *(part for site in SITES for part in ("-s", site))]
    return [*chosen, "--ray", "local", "--actors", "2", "--shard-words", str(SHARD_WORDS)]


def environment(folder: Path) -> dict[str, str]:
    """Ray keeps its token in the home directory."""
    (folder / "home").mkdir(exist_ok=True)
    return os.environ | {"HOME": str(folder / "home")}


def busy_worker(driver: psutil.Process) -> psutil.Process | None:
    """An actor of the extraction."""
    for process in driver.children(recursive=True):
        try:
            if process.name().startswith("ray::") and "ShardWorker" in " ".join(process.cmdline()):
                return process
        except psutil.Error:
            continue  # it has just ended
    return None


def test_a_worker_that_is_killed_changes_nothing(corpus, model, extractor, folder):
    shards = list(cut((len(sentence.words) for sentence in corpus), SHARD_WORDS))
    out = folder / "out.h5"
    command = [*COMMAND, str(folder / "corpus"), *options(model), "-o", str(out)]
    with subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, text=True) as driver:
        killed, made = None, 0
        while driver.poll() is None and not killed:
            made = len(list(folder.glob("out.h5.shards/shard-*.json")))
            killed = busy_worker(psutil.Process(driver.pid)) if made else None
            time.sleep(0.01)
        assert killed, "the driver ended before a worker could be killed"
        killed.send_signal(signal.SIGKILL)
        assert made < len(shards)
        assert driver.wait() == 0
        assert f"{corpus.summary.words:,} rows" in driver.stdout.read()

    wanted = Extraction(SITES, corpus="corpus")
    extractor.extract(corpus, wanted, folder / "alone.h5", lambda *_: None)
    with ActivationSet.open(out) as merged, ActivationSet.open(folder / "alone.h5") as alone:
        assert merged.description == alone.description
        assert merged.to_pandas().equals(alone.to_pandas())
        for site in alone.sites:
            np.testing.assert_allclose(merged.read(site), alone.read(site), atol=1e-5)
        for shard in shards[:: len(shards) // 5]:
            part = folder / f"{shard.number}.h5"
            extractor.extract(corpus, wanted, part, lambda *_: None, range(shard.start, shard.stop))
            rows = (merged.sentences >= shard.start) & (merged.sentences < shard.stop)
            with ActivationSet.open(part) as same:
                assert all(np.array_equal(merged.site(site)[rows], same.site(site)) for site in same.sites)
    assert not list(folder.glob("out.h5.*"))


@pytest.fixture
def shards(tmp_path: Path) -> ShardFolder:
    return ShardFolder.create(tmp_path / "shards", {}, [Shard(0, 0, 1), Shard(1, 1, 2)])


def test_a_worker_answers_what_is_wrong_instead_of_dying(model, shards, tmp_path):
    """An actor that raised would be tried again, without end."""
    write_corpus([Sentence(("she", "was")), Sentence(("late",) * 400)], tmp_path / "corpus")
    with closing(ShardWorker(shards.directory, tmp_path / "corpus", model, Extraction(SITES))) as worker:
        assert worker({"shard": np.array([0])}) == {"sentences": [1], "error": [""]}
        (error,) = worker({"shard": np.array([1])})["error"]
    assert str(error).startswith("sentence 1 of the corpus, counted from 0: the sentence has ")
    assert shards.find(shards.shards[0])
    assert not shards.find(shards.shards[1])


def test_a_worker_that_cannot_load_its_model_says_so(shards, tmp_path):
    write_corpus([Sentence(("she", "was"))], tmp_path / "corpus")
    worker = ShardWorker(shards.directory, tmp_path / "corpus", ModelChoice("tiny=/no/such/model"), Extraction(SITES))
    (error,) = worker({"shard": np.array([0])})["error"]
    assert "there is no directory /no/such/model" in str(error)
