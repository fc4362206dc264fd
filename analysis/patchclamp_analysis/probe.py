"""A trained linear probe: weights, and what it says about data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .data.neurons import Neurons, Site
from .data.rows import Data
from .data.scaling import Scaling
from .errors import BadData
from .files.whole_files import write_whole
from .methods.losses import cross_entropy, squared_error
from .progress import QUIET, Progress

__all__ = ["Probe", "ProbeScores"]

_FORMAT = "patchclamp probe 1"


@dataclass(frozen=True, slots=True)
class ProbeScores:
    """How well a probe does on some data. Of a regression `loss` is the mean squared error, and `pearson` and
    `spearman` are correlations (0 where one side is constant); of a classification it is the cross-entropy in nats per
    row, over the rows whose class the probe knows; rows of other classes count as wrong.
    """

    rows: int
    loss: float
    accuracy: float = 0.0
    per_class: tuple[tuple[str, float], ...] = ()
    """The part of each class's rows that was right (its recall), for classes that have rows."""
    majority: float = 0.0
    """What always saying the largest class of these rows would reach."""
    pearson: float = 0.0
    spearman: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Logits (or the prediction, without classes) are `weights` [C, D] · (x − mean)/scale + `bias` [C]."""

    neurons: Neurons
    classes: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    label: str = ""

    def __repr__(self) -> str:
        of = f" of {self.label}" if self.label else ""
        what = f"{len(self.classes):,} classes" if self.classes else "a regression"
        return f"<Probe{of}: {len(self.neurons):,} neurons, {what}>"

    def logits(self, data: Data, progress: Progress = QUIET) -> NDArray[np.float32]:
        """[N, C]; of a regression [N, 1]. BadData if the data's neurons are others than the probe's."""
        if data.neurons != self.neurons:
            raise BadData("the data has other neurons than the probe was trained on", where=data.label)
        found = np.empty((len(data), len(self.weights)), np.float32)
        scaling, matrix = Scaling(self.mean, self.scale), np.column_stack((self.weights, self.bias))
        for rows, block in progress.each(data.blocks()):
            found[rows] = scaling.apply(block) @ matrix.T
        return found

    def predict(self, data: Data, progress: Progress = QUIET) -> NDArray[np.int64]:
        """[N] class numbers."""
        return np.asarray(self.logits(data, progress).argmax(axis=1))

    def score(self, data: Data, progress: Progress = QUIET) -> ProbeScores:
        """How well it does on data with labels, or targets for a regression."""
        if (data.targets is None) != bool(self.classes):
            raise BadData("a probe of classes needs labels, one of numbers targets", where=data.label)
        logits = self.logits(data, progress)
        if data.targets is not None:
            return _regression_scores(logits[:, 0].astype(np.float64), data.targets)
        if data.classes != self.classes:
            data = data.with_classes(self.classes)
        right = logits.argmax(axis=1) == data.y
        known = data.y >= 0
        loss = cross_entropy(logits[known], data.y[known])[0] / max(1, int(known.sum()))
        recalls = [(name, right[data.y == number]) for number, name in enumerate(self.classes)]
        return ProbeScores(
            len(data),
            loss,
            float(right.mean()),
            tuple((name, float(hits.mean())) for name, hits in recalls if len(hits)),
            float(data.counts.max() / len(data)),
        )

    def ablated(self, kept: Sequence[int] | NDArray[np.integer], value: Literal["mean", "zero"] = "mean") -> Probe:
        """The probe that sees only some neurons, by place, as they are; the others at their mean, or at 0."""
        others = np.ones(len(self.neurons), bool)
        others[np.asarray(kept, dtype=np.int64)] = False
        weights, bias = self.weights.copy(), self.bias
        if value == "zero":
            at_zero = -self.mean[others].astype(np.float64) / self.scale[others]
            bias = (bias + weights[:, others] @ at_zero).astype(np.float32)
        weights[:, others] = 0.0
        return replace(self, weights=weights, bias=bias)

    def save(self, path: Path | str) -> None:
        """Writes one safetensors file, which appears whole or not at all."""
        from safetensors.numpy import save

        description = {
            "format": _FORMAT,
            "label": self.label,
            "classes": self.classes,
            "sites": [asdict(site) for site in self.neurons.sites],
        }
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in ("weights", "bias", "mean", "scale")}
        tensors["columns"] = self.neurons.columns
        write_whole(Path(path), save(tensors, {"probe": json.dumps(description, ensure_ascii=False)}))

    @classmethod
    def load(cls, path: Path | str) -> Probe:
        """Reads what `save` wrote. BadData for anything else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as stored:
                description = json.loads((stored.metadata() or {})["probe"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            if description["format"] != _FORMAT:
                raise ValueError("of another format")
            neurons = Neurons(tuple(Site(**site) for site in description["sites"]), tensors.pop("columns"))
            return cls(neurons, tuple(description["classes"]), **tensors, label=description["label"])
        except FileNotFoundError:
            raise
        except SafetensorError as error:
            raise BadData("this is no probe: it is not safetensors, as `save` writes it", where=str(path)) from error
        except KeyError as error:
            raise BadData(f"this is no probe: there is no {error} in it", where=str(path)) from error
        except (OSError, ValueError, TypeError) as error:
            raise BadData(f"this is no probe: {error}", where=str(path)) from error


def _regression_scores(predicted: NDArray[np.float64], targets: NDArray[np.float64]) -> ProbeScores:
    from scipy.stats import rankdata

    return ProbeScores(
        len(targets),
        squared_error(predicted[:, None], targets)[0] / len(targets),
        pearson=_correlation(predicted, targets),
        spearman=_correlation(rankdata(predicted), rankdata(targets)),
    )


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size else 0.0
