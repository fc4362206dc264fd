"""A case for each method: how it is called, the plain way to compare it with, and at which size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from patchclamp_analysis.data import Data
from patchclamp_analysis.methods import METHODS, build
from patchclamp_analysis.methods.method import ComparingMethod, RankingMethod, TableMethod

from tests.bench import plain_methods as plain
from tests.bench import plain_methods_unlabelled as unlabelled
from tests.bench import redundancy
from tests.bench.methods_sample import LAYERS, ROWS, WIDTH, Sample

__all__ = ["CASES", "Case", "method", "ready"]

# Neuron by neuron the plain ways take minutes, or all at once gigabytes: they get some neurons.
SOME = 32

Way = Callable[[Sample], object]


@dataclass(frozen=True)
class Case:
    """`ours` on a sample of `rows` × `width`; `plain` does `part` of the same work. `fixed` is for growth: ours with as
    many passes whatever the size, `at` the largest size there.
    """

    ours: Way
    plain: Way | None = None
    part: float = 1.0
    rows: int = ROWS
    width: int = WIDTH
    rounds: int = 3
    note: str = ""
    fixed: Way | None = None
    at: tuple[int, int] = (ROWS, WIDTH)
    draw: Callable[[int, int], Sample] = Sample.draw


def method(name: str, *, layers: bool = False, **parameters: object) -> Way:
    """A registered method on one model's activations (in layers if asked), or on those of two if it compares."""

    def way(sample: Sample) -> object:
        found = build(METHODS[name], parameters)
        data: Data = sample.layers if layers else sample.data
        if isinstance(found, RankingMethod):
            return found.rank(data)
        if isinstance(found, TableMethod):
            return found.tables({"model": data})
        assert isinstance(found, ComparingMethod)
        return found.compare({"model": data, "other": sample.other})

    return way


def ready(name: str, sample: Sample) -> Sample:
    """What is made of a sample once is not the method's."""
    assert len(sample.data) == len(sample.layers)
    if issubclass(METHODS[name], ComparingMethod):
        assert len(sample.other)
    return sample


def _tasks(count: int) -> Mapping[str, Case]:
    """Concept to neurons."""
    return {
        "average_precision": Case(
            method("average_precision"),
            lambda sample: plain.average_precision(sample.x[:, :SOME], sample.y),
            SOME / WIDTH,
            note="both signs; numpy, one argsort for all classes, one sign",
            at=(ROWS, WIDTH // 2),
        ),
        "gaussian": Case(
            method("gaussian", count=count + 1, compat="neurox"),
            lambda sample: plain.gaussian_candidates(sample.x, sample.y, range(count), range(5, 5 + SOME)),
            SOME / (WIDTH * (count + 1)),
            note=f"{count + 1} neurons chosen; numpy, candidate by candidate",
            at=(ROWS // 2, WIDTH // 2),
        ),
        "iou": Case(method("iou"), lambda sample: plain.iou(sample.x, sample.y), rounds=7, note="numpy"),
        "latent_variable": Case(
            method("latent_variable", epochs=1, scheme="poisson"),
            lambda sample: plain.latent_steps(sample.x, sample.y, 10, 128),
            1280 / ROWS,
            note="one pass; torch, the paper's ten masks a row",
        ),
        "linear_probe": Case(
            method("linear_probe"),
            lambda sample: plain.linear_probe(sample.x, sample.y, 1e-5, 1e-5),
            note="torch, as NeuroX trains",
            fixed=method("linear_probe", epochs=3),
        ),
        "mean_select": Case(
            method("mean_select"), lambda sample: plain.mean_select(sample.x, sample.y), rounds=7, note="numpy"
        ),
        "mutual_information": Case(
            method("mutual_information"),
            lambda sample: plain.mutual_information(sample.x[:, :SOME], sample.y),
            SOME / WIDTH,
            note="numpy's bins and tables, neuron by neuron",
            at=(ROWS, WIDTH // 2),
        ),
        "probeless": Case(
            method("probeless"), lambda sample: plain.probeless(sample.x, sample.y), rounds=7, note="numpy"
        ),
        "random_forest": Case(
            method("random_forest", trees=3),
            lambda sample: plain.random_forest(sample.x, sample.y, 3),
            note="3 trees; scikit-learn's forest",
        ),
        "representation_analysis": Case(
            method("representation_analysis", layers=True),
            lambda sample: plain.representation_analysis(sample.x, sample.y, LAYERS),
            rounds=1,
            note="6 layers; torch, as NeuroX trains",
            fixed=method("representation_analysis", layers=True, epochs=3),
        ),
    }


def _words() -> Mapping[str, Case]:
    """Neuron to concepts."""
    return {
        "compositional": Case(
            method("compositional"),
            lambda sample: plain.compositional(sample.x[:, :SOME], sample.y, 5, 10, 0.99),
            SOME / WIDTH,
            note="17 concepts; numpy's masks, neuron by neuron",
            at=(ROWS, WIDTH // 8),
        ),
        "concept_alignment": Case(method("concept_alignment"), at=(ROWS, WIDTH // 2)),
        "concept_selectivity": Case(
            method("concept_selectivity"), lambda sample: plain.concept_selectivity(sample.x, sample.y, 5), note="numpy"
        ),
        "top_contexts": Case(
            method("top_contexts"),
            lambda sample: unlabelled.top_contexts(sample.x, sample.words, sample.sentences, 20, 5),
            note="numpy's argsort",
        ),
        "top_words": Case(
            method("top_words"), lambda sample: unlabelled.top_words(sample.x, sample.words, 20), note="pandas' groupby"
        ),
    }


def _unlabelled() -> Mapping[str, Case]:
    """The model's own view, and redundancy."""
    return {
        "cross_model": Case(
            method("cross_model"),
            lambda sample: unlabelled.cross_model(sample.x, sample.other.read_rows(slice(0, len(sample.x)))),
            rounds=1,
            note="two models; numpy's corrcoef",
            at=(ROWS, WIDTH // 2),
        ),
        "dead": Case(method("dead"), lambda sample: unlabelled.dead(sample.x), rounds=7, note="numpy"),
        "distance_from_mean": Case(
            method("distance_from_mean"), lambda sample: unlabelled.distance_from_mean(sample.x), rounds=7, note="numpy"
        ),
        "nmf": Case(
            method("nmf", iterations=20),
            lambda sample: unlabelled.nmf(sample.x, 8, 20),
            rows=2000,
            note="20 iterations; scikit-learn's, which it is",
            at=(8000, WIDTH),
        ),
        "representation_similarity": Case(
            method("representation_similarity", layers=True),
            lambda sample: unlabelled.similarity(sample.x, LAYERS),
            note="6 layers by CKA; numpy",
        ),
        "saturation": Case(
            method("saturation"), lambda sample: unlabelled.saturation(sample.x), rounds=7, note="numpy"
        ),
        "umap_kmeans": Case(
            method("umap_kmeans"),
            lambda sample: unlabelled.umap_kmeans(sample.x[:2000], 10),
            rows=4000,
            rounds=1,
            note="of 2,000 rows; umap-learn and scikit-learn, which it is",
            at=(2000, WIDTH),
        ),
        "variance": Case(method("variance"), lambda sample: unlabelled.variance(sample.x), rounds=7, note="numpy"),
        "correlation_clusters": Case(
            method("correlation_clusters", threshold=redundancy.THRESHOLD),
            lambda sample: redundancy.plain(sample.x),
            note="numpy and scipy",
            at=(ROWS, WIDTH),
            draw=redundancy.sample,
        ),
        "efficient_features": Case(
            method("efficient_features", layers=True), rounds=1, note="6 layers", at=(ROWS // 2, WIDTH // 2)
        ),
        "layer_selector": Case(
            method("layer_selector", layers=True), rounds=1, note="6 layers", at=(ROWS // 2, WIDTH // 2)
        ),
    }


CASES: Mapping[str, Case] = {**_tasks(3), **_words(), **_unlabelled()}
"""By name of the method, in the order of the registry's sections."""
