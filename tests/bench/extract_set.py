"""Extraction to disk: a corpus through the service into an activation set, every layer's residual stream.

`python -m tests.bench.extract_set check` holds sets of all of UD English EWT's dev sentences against transformers;
`… peaks` measures memory alone.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import psutil
from patchclamp import AsyncClient, CorpusSource
from patchclamp_analysis.corpora.corpus import Sentence, write_corpus
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_service.activations.extraction import Extracted, extract_corpus
from patchclamp_service.activations.extraction_spec import ExtractionSpec
from patchclamp_service.engine.engine import Engine
from patchclamp_service.engine.model import ModelSpec, load_model
from patchclamp_service.engine.sites import build_site_map
from patchclamp_service.native_libraries import prepare_environment

from tests.bench.extract import bare_batches, sentences
from tests.bench.harness import CACHE, console, median_ratio, model, processor_seconds, rounds, server
from tests.service.activations.reference import SITES, differences, states_of_words, ud_ewt

__all__ = ["run"]

Way = Callable[[], Awaitable[int]]


def one_at_a_time(name: str, texts: list[str]) -> int:
    """As NeuroX does it: a forward pass a sentence, words averaged, a dataset a sentence in an HDF5 file."""
    loaded = model(name)
    with TemporaryDirectory() as folder, h5py.File(Path(folder) / "set.h5", "w") as file:
        for number, text in enumerate(texts):
            file[str(number)] = states_of_words(loaded, text.split())
    return len(texts)


async def _measure(address: str, name: str, count: int, texts: list[str]) -> None:
    def thread(way: Callable[[str, list[str]], int]) -> Way:
        return lambda: asyncio.ensure_future(asyncio.to_thread(way, name, texts))

    spent: dict[str, list[float]] = defaultdict(list)
    async with AsyncClient(address) as client:
        corpus = await client.corpora.upload(CorpusSource.sentences([text.split() for text in texts]))

        async def service() -> int:
            made = await (await client.activation_sets.create(corpus, SITES, model=f"models/{name}")).result()
            await client.activation_sets.delete(made)
            return len(texts)

        await service()
        ways = {"service": service, "one": thread(one_at_a_time), "bare": thread(bare_batches)}
        rates = await rounds({way: _counted(run, spent[way]) for way, run in ways.items()}, count)
    speed = sorted(rates["service"])[count // 2]
    tokens = sum(len(ids) for ids in model(name).tokenizer(texts)["input_ids"]) / len(texts)
    console.print(
        f"  {name:13} {median_ratio(rates, 'service', 'one'):5.2f}× one sentence at a time   "
        f"{median_ratio(rates, 'service', 'bare'):5.2f}× the bare batched forward   "
        f"({speed:.0f} sentences/s, {speed * tokens:.0f} tokens/s)\n"
        f"  {'by CPU time':13} {median_ratio(spent, 'service', 'one'):5.2f}× one sentence at a time   "
        f"{median_ratio(spent, 'service', 'bare'):5.2f}× the bare batched forward"
    )


def _counted(way: Way, rates: list[float]) -> Way:
    """The same; notes its units per second of processor time."""

    async def run() -> int:
        began = processor_seconds()
        units = await way()
        rates.append(units / (processor_seconds() - began))
        return units

    return run


def _extract_here(name: str, words: list[list[str]]) -> Extracted:
    """The same without a server, in this process."""
    loaded = load_model(ModelSpec.parse(name), cache=CACHE)
    engine = Engine(loaded, build_site_map(loaded))
    engine.start()
    with TemporaryDirectory() as folder:
        corpus = write_corpus((Sentence(tuple(each)) for each in words), Path(folder) / "corpus")
        work = extract_corpus(engine, corpus, ExtractionSpec(SITES), Path(folder) / "set.h5", lambda *_: None)
        try:
            return asyncio.run(work)
        finally:
            engine.stop()


@contextmanager
def _watched() -> Iterator[list[int]]:
    """Yields what the process has had of its own, in bytes; mapped files, such as the model, are not in it."""
    own, found, ended = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            memory = own.memory_info()
            found[0] = max(found[0], memory.rss - memory.shared)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _peak(times: int) -> None:
    """Prints the peak of this process, with and without mapped files, and the size of the set, in MiB."""
    with _watched() as own:
        done = _extract_here("minilm-l6", [text.split() for text in sentences(400 * times)])
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    console.print(whole >> 10, own[0] >> 20, done.finished.size_bytes >> 20)


def _peaks() -> None:
    prepare_environment()  # of the processes started here
    command = [sys.executable, "-m", "tests.bench.extract_set", "peak"]
    found = []
    for times in (1, 4, 16):
        printed = subprocess.run([*command, str(times)], capture_output=True, text=True, check=True).stdout
        found.append([int(number) for number in printed.split()])
    console.print("  peak memory of a process with MiniLM, with and without mapped files:")
    for whole, own, size in found:
        ratios = f"{whole / found[0][0]:.2f}× and {own / found[0][1]:.2f}× the first"
        console.print(f"    set of {size:4} MiB   {whole} and {own} MiB   {ratios}")


def run(count: int = 5) -> None:
    """Prints the ratios for an encoder and a decoder, and what memory does when the corpus grows."""
    console.print("[bold]Extraction to disk[/] (every layer's residual; goals: 3× one at a time, 0.85 of the forward)")
    with server("smollm2-135m", "minilm-l6") as address:
        asyncio.run(_measure(address, "minilm-l6", count, sentences(600)))
        asyncio.run(_measure(address, "smollm2-135m", count, sentences(100)))
    _peaks()


def _check(name: str) -> None:
    """All dev sentences of UD EWT: values, rows, labels."""
    plain, loaded = (load_model(ModelSpec.parse(name), cache=CACHE) for _ in range(2))
    engine = Engine(loaded, build_site_map(loaded))
    engine.start()
    with TemporaryDirectory() as folder:
        corpus, path = ud_ewt(Path(folder) / "corpus"), Path(folder) / "set.h5"
        began = time.perf_counter()
        asyncio.run(extract_corpus(engine, corpus, ExtractionSpec(SITES), path, lambda *_: None))
        seconds = time.perf_counter() - began
        engine.stop()
        with ActivationSet.open(path) as found:
            worst = max(differences(plain, found, corpus))
            zero = sum(int((np.abs(found.site(site)).max(axis=1) == 0).sum()) for site in found.sites)
            counts = found.label_counts("upos") == Counter(tag for each in corpus for tag in each.labels["upos"])
            console.print(
                f"  {name}: {found.rows} rows of {len(corpus)} sentences, {len(found.sites)} sites, {seconds:.0f} s; "
                f"largest difference {worst:.1e}, zero rows {zero}, masked {found.masked.sum()}, labels equal {counts}"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        _peak(int(sys.argv[2]))
    elif sys.argv[1:2] == ["check"]:
        for each in sys.argv[2:] or ("minilm-l6", "smollm2-135m"):
            _check(each)
    elif sys.argv[1:2] == ["peaks"]:
        _peaks()
    else:
        run()
