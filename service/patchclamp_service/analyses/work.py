"""Analyses as they run in a worker process: from the file of a set to the file of a result."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from patchclamp.v1 import analysis_pb2, common_pb2
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.neurons import Neurons
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.evaluation import Evaluation
from patchclamp_analysis.methods import ComparingMethod, RankingMethod, TableMethod
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.methods.top_words import NeuronWords, TopWords
from patchclamp_analysis.probe import Probe
from patchclamp_analysis.progress import Progress
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.tables import Tables

from patchclamp_service.analyses.neuron_choice import Choice
from patchclamp_service.analyses.text_rows import TextRows
from patchclamp_service.engine.errors import DigestMismatch, NotFound
from patchclamp_service.jobs.worker_process import Report

__all__ = [
    "ClassScores",
    "Judged",
    "Rows",
    "Source",
    "Trained",
    "analyze",
    "compare",
    "evaluate",
    "evaluate_probe",
    "find_redundant",
    "opened_together",
    "rank",
    "top_words",
    "train_probe",
]

_TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Rows:
    """What an analysis reads: the file of a set, a layer of its labels ("": none), some of its sites."""

    path: Path
    layer: str
    sites: tuple[str, ...]
    memory_bytes: int

    @contextmanager
    def opened(self) -> Generator[Data]:
        """The rows with their labels. Raises BadData, NotFound, or DigestMismatch when the file is not whole."""
        try:
            stored = ActivationSet.open(self.path)
        except FileNotFoundError:
            raise NotFound("the activation set was removed just now", field="activation_set") from None
        except BadData as error:
            raise DigestMismatch("the file of the activation set is not whole", reason="DATA_LOST") from error
        with stored:
            yield Data.from_activation_set(stored, self.layer, sites=self.sites, memory_bytes=self.memory_bytes)


Source = Rows | TextRows
"""Where the rows of an analysis come from."""


@contextmanager
def opened_together(sets: Mapping[str, Source]) -> Generator[dict[str, Data]]:
    """Several sets, by name. Of sets of as many rows, those that each of them has: what one masks, a model that cuts
    words otherwise may not. `masked` counts those that fall out.
    """
    with ExitStack() as stack:
        datas = {name: stack.enter_context(rows.opened()) for name, rows in sets.items()}
        if len({data.source.rows for data in datas.values()}) == 1:
            kept = reduce(np.intersect1d, [data.rows for data in datas.values()])
            datas = {name: _only(data, kept) for name, data in datas.items()}
        yield datas


@dataclass(frozen=True, slots=True)
class Trained:
    """What is to be known of a probe beside its file."""

    classes: tuple[str, ...]
    sites: dict[str, int]
    """Neurons of each site that it reads."""
    rows: int
    development_accuracy: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How good a probe is at one class."""

    label: str
    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True, slots=True)
class Judged:
    """How good a probe is. `classes` are those that have rows."""

    rows: int
    accuracy: float
    majority: float
    classes: tuple[ClassScores, ...]


def rank(report: Report, rows: Rows, method: RankingMethod, path: Path) -> int:
    """Writes a ranking; returns how many rows it is based on."""
    with rows.opened() as data:
        ranking = method.rank(data, progress=_percent(report, "ranking"))
    _write(ranking, path)
    return len(data)


def compare(report: Report, sets: Mapping[str, Rows], method: ComparingMethod, path: Path) -> int:
    """Writes a ranking of the neurons of the first set, by what the others have of them; returns its number of rows."""
    with opened_together(sets) as datas:
        (first, data), *others = datas.items()
        ranking = method.compare(datas, progress=_percent(report, "ranking"))[first]
    notes = [*ranking.notes, f"compared with {', '.join(name for name, _ in others)}"]
    if data.masked:
        notes.append(f"rows left out, since one of the sets masks them: {data.masked}")
    _write(replace(ranking, notes=tuple(notes)), path)
    return len(data)


def train_probe(report: Report, rows: Rows, method: LinearProbe, ranking: Path | None, top: int, path: Path) -> Trained:
    """Writes a probe on all neurons of the rows, or on the `top` best of a ranking."""
    best = None if ranking is None else _best(Ranking.load(ranking), top)
    with (rows if best is None else replace(rows, sites=_sites_of(best))).opened() as data:
        data = data if best is None else data.keep(_places(data, best))
        # The split that training would make itself: the rows that it stops by are those that are judged here.
        share = 0.0 if method.compat else method.dev_share
        train, development = data.split_off(share, method.seed)
        probe = method.fit(train, development, progress=_percent(report, "training"))
        accuracy = 0.0 if development is None else probe.score(development).accuracy
        notes = method.ranking(data, np.zeros(len(data.neurons))).notes
    _write(probe, path)
    counts = np.bincount(probe.neurons.site_numbers, minlength=len(probe.neurons.sites))
    sites = {site.name: int(count) for site, count in zip(probe.neurons.sites, counts, strict=True)}
    return Trained(probe.classes, sites, len(train), accuracy, notes)


def evaluate_probe(report: Report, rows: Rows, path: Path) -> Judged:
    """Judges a probe on the rows, whose sites are its own."""
    probe = Probe.load(path)
    with rows.opened() as data:
        predicted = probe.predict(data.keep(_places(data, probe.neurons)), _percent(report, "evaluating"))
    names = (*probe.classes, *(name for name in data.classes if name not in probe.classes))
    truth = data.with_classes(names).y
    right = np.bincount(truth[truth == predicted], minlength=len(names))
    said, there = (np.bincount(numbers, minlength=len(names)) for numbers in (predicted, truth))
    scores = [
        _scores(name, int(right[number]), int(said[number]), int(there[number]))
        for number, name in enumerate(names)
        if there[number]
    ]
    scores.sort(key=lambda each: each.label)
    return Judged(len(data), float(right.sum() / len(data)), float(there.max() / len(data)), tuple(scores))


def evaluate(
    report: Report,
    how: Evaluation,
    rankings: Mapping[str, Path],
    train: Rows,
    test: Rows | None,
    notes: tuple[str, ...],
    path: Path,
) -> int:
    """Writes the tables of an evaluation of rankings, which are known by these names; returns how many rows it is based
    on. Without test rows, a fifth of the sentences is kept aside.
    """
    named = [replace(Ranking.load(file), method=name) for name, file in rankings.items()]
    neurons = named[0].neurons
    with ExitStack() as stack:
        opened = [stack.enter_context(rows.opened()) for rows in (train, test) if rows]
        kept = [data.keep(_places(data, neurons)) for data in opened]
        one, other = kept if test else kept[0].split(_TEST_SHARE)
        found = how.compare(named, one, other, progress=_percent(report, "evaluating"))
    _write(replace(found, notes=notes).to_tables(), path)
    return len(one) + len(other)


def analyze(report: Report, sources: Mapping[str, Source], choice: Choice, method: TableMethod, path: Path) -> int:
    """Writes the tables of a method about some neurons of the first source; returns how many rows it is based on."""
    with opened_together(sources) as datas:
        first = next(iter(datas))
        datas[first] = choice.of(datas[first])
        tables = method.tables(datas, progress=_percent(report, "analysing"))
    _write(tables, path)
    return len(datas[first])


def top_words(
    report: Report, rows: Source, method: TopWords, neurons: Sequence[tuple[str, int]]
) -> analysis_pb2.TopWordsResponse:
    """The words that drive each of the neurons, which are of the sites of the rows."""
    with rows.opened() as data:
        starts = _starts(data)
        places = np.unique([starts[site] + index for site, index in neurons])
        found = method.find(data, places, progress=_percent(report, "looking"))
    by_neuron = {(each.site, each.index): each for each in found}
    return analysis_pb2.TopWordsResponse(neurons=[_message(by_neuron[neuron]) for neuron in neurons])


def find_redundant(
    report: Report, rows: Rows, method: CorrelationClusters, ranking: Path | None, seed: int
) -> analysis_pb2.Redundancy:
    """Clusters the neurons of the rows; of each the best of a ranking of them stays, or a random one. Whose rows they
    are is not said."""
    with rows.opened() as data:
        clusters = method.cluster(data, progress=_percent(report, "clustering"))
    kept = clusters.independent(None if ranking is None else Ranking.load(ranking), seed=seed)
    members = [clusters.neurons.keep(places) for places in clusters.members() if len(places) > 1]
    return analysis_pb2.Redundancy(
        clusters=[analysis_pb2.NeuronCluster(neurons=_by_site(neurons)) for neurons in members],
        independent=_by_site(clusters.neurons.keep(kept)),
        neuron_count=len(clusters.neurons),
        redundant_share=1 - len(kept) / len(clusters.neurons),
    )


def _only(data: Data, rows: NDArray[np.int64]) -> Data:
    chosen = np.isin(data.rows, rows)
    return replace(data.take(chosen), masked=data.masked + int(np.sum(~chosen)))


def _by_site(neurons: Neurons) -> list[common_pb2.Neurons]:
    found: dict[str, list[int]] = {}
    for neuron in neurons:
        found.setdefault(neuron.site, []).append(neuron.index)
    return [common_pb2.Neurons(site=site, indices=indices) for site, indices in found.items()]


def _message(found: NeuronWords) -> analysis_pb2.NeuronWords:
    words = [analysis_pb2.WordScore(word=each.word, score=each.score, count=each.count) for each in found.words]
    return analysis_pb2.NeuronWords(site=found.site, index=found.index, words=words)


def _scores(label: str, right: int, said: int, there: int) -> ClassScores:
    return ClassScores(label, right / said if said else 0.0, right / there, 2 * right / (said + there), there)


def _best(ranking: Ranking, top: int) -> Neurons:
    return ranking.neurons.keep(ranking.order()[:top])


def _sites_of(neurons: Neurons) -> tuple[str, ...]:
    """The sites that some of the neurons are of."""
    return tuple(neurons.sites[number].name for number in np.unique(neurons.site_numbers))


def _places(data: Data, neurons: Neurons) -> NDArray[np.int64]:
    """Where neurons are among those of the data, which has all of their sites."""
    starts = _starts(data)
    return np.array([starts[neuron.site] + neuron.index for neuron in neurons], dtype=np.int64)


def _starts(data: Data) -> dict[str, int]:
    return {site.name: data.neurons.of_site(number).start for number, site in enumerate(data.neurons.sites)}


def _percent(report: Report, stage: str) -> Progress:
    """Progress as an operation shows it; says nothing twice."""
    latest = 0
    report(stage, 0, 100, "percent")  # some methods are silent for long

    def told(done: float) -> None:
        nonlocal latest
        if (percent := int(100 * done)) != latest:
            latest = percent
            report(stage, percent, 100, "percent")

    return Progress(told)


def _write(result: Ranking | Probe | Tables, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save(path)
