"""The shards of an extraction on a Ray cluster: a pool of actors, each with the model, through Ray Data.

Ray restarts an actor that dies, and gives its shard to another; `ShardFolder` makes that harmless. What an actor finds
wrong with the data or the model is no reason to try again: it comes back as an answer, and ends the work.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy.typing as npt

from ..corpora.corpus import Corpus
from ..errors import AnalysisError, BadData
from .extractors import Extraction, Extractor, ModelChoice, Report, Written, find_extractor
from .shards import Shard, ShardFolder

__all__ = ["Pool", "ShardWorker", "extract_shards"]

_STORE_BYTES = 100 << 20
"""Object store of a cluster that is started here: only numbers of shards travel through it."""

_Batch = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Pool:
    """Where the actors run, and how many."""

    address: str
    """"HOST:PORT" of a cluster's head, "local" to start a cluster here."""
    actors: int = 0
    """0: as many as the cluster has room for."""
    cpus: int = 1
    """Of each actor; the threads of its forward passes too."""
    gpus: int = 0
    """Of each actor."""


def extract_shards(
    pool: Pool, folder: ShardFolder, corpus: Path, model: ModelChoice, wanted: Extraction, report: Report
) -> None:
    """Makes the shards that are missing. `corpus` is the corpus' directory; all nodes see it and the folder.

    Raises:
        BadData: what the model cannot do.
        AnalysisError: Ray is not installed, the cluster cannot be reached, or a shard fails again and again.
    """
    missing = [shard for shard in folder.shards if not folder.find(shard)]
    total = folder.shards[-1].stop
    sentences = total - sum(shard.stop - shard.start for shard in missing)
    report("extract", sentences, total)
    if not missing:
        return
    folder.forget_tries()
    worker = {
        "folder": folder.directory.resolve(),
        "corpus": corpus.resolve(),
        "model": replace(model, threads=pool.cpus),
        "wanted": wanted,
    }
    with _cluster(pool) as ray:
        actors = pool.actors or _room(ray, pool)
        answers = (
            ray.data.from_items([{"shard": shard.number} for shard in missing], override_num_blocks=len(missing))
            .map_batches(
                ShardWorker,
                fn_constructor_kwargs=worker,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(actors, len(missing)), max_tasks_in_flight_per_actor=1),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
            )
            .iter_rows()
        )
        for answer in answers:
            if answer["error"]:
                raise AnalysisError(answer["error"])
            sentences += answer["sentences"]
            report("extract", sentences, total)


class ShardWorker:
    """An actor: it loads the model with its first shard and keeps it."""

    def __init__(self, folder: Path, corpus: Path, model: ModelChoice, wanted: Extraction) -> None:
        self._folder = ShardFolder.open(folder)
        self._corpus = Corpus.open(corpus)
        self._model, self._wanted = model, wanted
        self._open = ExitStack()
        self._extractor: Extractor | None = None

    def __call__(self, batch: _Batch) -> dict[str, list[object]]:
        """Makes one shard; its number of sentences, or what is wrong."""
        shard = self._folder.shards[int(batch["shard"][0])]
        try:
            self._folder.store(shard, partial(self._write, shard))
        except (AnalysisError, OSError) as error:
            return {"sentences": [0], "error": [str(error)]}
        return {"sentences": [shard.stop - shard.start], "error": [""]}

    def close(self) -> None:
        """Frees the model."""
        self._open.close()

    def _write(self, shard: Shard, path: Path) -> Written | None:
        if self._extractor is None:
            self._extractor = self._open.enter_context(find_extractor()(self._model))
        return self._extractor.extract(
            self._corpus, self._wanted, path, lambda *_: None, range(shard.start, shard.stop)
        )


@contextmanager
def _cluster(pool: Pool) -> Iterator[ModuleType]:
    """Connects to the cluster, or starts one; what Ray raises becomes an AnalysisError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if pool.address == "local":
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # as by default, but without a warning
    else:
        _check_listening(pool.address)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise AnalysisError("--ray needs Ray: pip install 'patchclamp[ray]'") from None
    try:
        _connect(ray, pool)
        yield ray
    except ray.exceptions.RayError as error:
        text = f"the Ray cluster {pool.address!r} failed: {_line(error, ray.exceptions.RayTaskError)}"
        raise AnalysisError(f"{text}; what is done is kept, run again to go on") from error
    finally:
        ray.shutdown()


def _connect(ray: ModuleType, pool: Pool) -> None:
    own = pool.address == "local"
    # Idle threads must not spin: beside them are the threads of other actors.
    workers = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(pool.cpus)}
    try:
        ray.init(
            pool.address,
            runtime_env={"env_vars": workers},
            logging_level=logging.WARNING,
            log_to_driver=False,
            include_dashboard=False if own else None,
            object_store_memory=_STORE_BYTES if own else None,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        text = f"no way into the Ray cluster {pool.address!r}: {_line(error)}"
        raise AnalysisError(f"{text} (are Ray's version and token the same there? see docs/ray.md)") from error
    # Without plans and bars; warnings stay, such as of a cluster without room.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # says that there are no bars


def _check_listening(address: str) -> None:
    """Before Ray, which tries for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit()) or "/" in host:
        raise BadData(f"{address!r} is neither HOST:PORT of a cluster's head nor local", where="--ray")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise AnalysisError(f"no Ray cluster answers at {address}: {error}") from error


def _line(error: Exception, in_actor: type[Exception] | tuple[()] = ()) -> str:
    """What a person can use of an error: of one in an actor, the last line of its trace."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    return lines[-1] if isinstance(error, in_actor) else f"{type(error).__name__}: {lines[0]}"


def _room(ray: ModuleType, pool: Pool) -> int:
    resources = ray.cluster_resources()
    rooms = [int(resources.get("CPU", 0) // pool.cpus)]
    if pool.gpus:
        rooms.append(int(resources.get("GPU", 0) // pool.gpus))
    if min(rooms) < 1:
        text = f"no actor of {pool.cpus} CPUs and {pool.gpus} GPUs has room in the Ray cluster {pool.address!r}"
        raise AnalysisError(text)
    return min(rooms)
