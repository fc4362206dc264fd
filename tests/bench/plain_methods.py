"""What the ranking methods are measured against: the plain ways with numpy, scikit-learn and torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

__all__ = [
    "average_precision",
    "compositional",
    "concept_selectivity",
    "gaussian_candidates",
    "iou",
    "latent_steps",
    "linear_probe",
    "mean_select",
    "mutual_information",
    "probeless",
    "random_forest",
    "representation_analysis",
    "sweep",
]

Values = NDArray[np.float32]
Classes = NDArray[np.integer]


def probeless(x: Values, y: Classes) -> NDArray[np.floating]:
    """Means by masks, and all pairs."""
    means = np.stack([x[y == number].mean(axis=0) for number in range(y.max() + 1)]) / x.std(axis=0)
    return np.asarray(np.abs(means[:, None] - means[None]).sum(axis=1))


def mean_select(x: Values, y: Classes) -> NDArray[np.floating]:
    """Means by masks."""
    spread = x.max(axis=0) - x.min(axis=0)
    own = [(x[y == number].mean(axis=0) - x[y != number].mean(axis=0)) / spread for number in range(y.max() + 1)]
    return np.asarray(np.abs(np.stack(own)))


def concept_selectivity(x: Values, y: Classes, top: int) -> NDArray[np.intp]:
    """The same, and of each neuron the concepts that are selected most."""
    return np.argsort(-mean_select(x, y), axis=0)[:top]


def iou(x: Values, y: Classes) -> NDArray[np.floating]:
    """Masks and logical sums, class by class."""
    fires, firing = x > 0, (x > 0).sum(axis=0)
    found = []
    for number in range(y.max() + 1):
        both = fires[y == number].sum(axis=0)
        found.append(both / (firing + np.sum(y == number) - both))
    return np.stack(found)


def compositional(x: Values, y: Classes, length: int, beam: int, penalty: float) -> list[float]:
    """A beam search with masks, neuron by neuron: each formula of the beam with each concept in one go. Best scores."""
    concepts = np.stack([y == number for number in range(y.max() + 1)])
    found = []
    for neuron in x.T:
        fires = neuron > 0
        formulas, best = concepts, 0.0
        for count in range(1, length + 1):
            overlap = (formulas & fires).sum(axis=1) / (formulas | fires).sum(axis=1)
            kept = np.argsort(-overlap, kind="stable")[:beam]
            best = max(best, float(overlap[kept[0]]) * penalty ** (count - 1))
            beside = formulas[kept][:, None]
            joined = np.concatenate((beside | concepts, beside & concepts, beside & ~concepts), axis=1)
            formulas = joined.reshape(-1, len(fires))
        found.append(best)
    return found


def average_precision(x: Values, y: Classes) -> NDArray[np.floating]:
    """One argsort for all classes, and running sums; one side, and equal values are not looked for."""
    order = np.argsort(-x, axis=0)
    ranks = np.arange(1, len(x) + 1)[:, None]
    found = []
    for number in range(y.max() + 1):
        hits = (y == number)[order]
        found.append(np.sum(np.cumsum(hits, axis=0) / ranks * hits, axis=0) / np.sum(y == number))
    return np.stack(found)


def mutual_information(x: Values, y: Classes, bins: int = 16) -> NDArray[np.floating]:
    """A table of bins and classes per neuron; overall and for each class."""
    found = []
    for neuron in x.T:
        binned = np.searchsorted(np.quantile(neuron, np.arange(1, bins) / bins), neuron)
        table = np.bincount(binned * (y.max() + 1) + y, minlength=bins * (y.max() + 1)).reshape(bins, -1) / len(y)
        rest = table.sum(axis=1, keepdims=True) - table
        parts = [table, *(np.column_stack(pair) for pair in zip(table.T, rest.T, strict=True))]
        found.append([_information(part) for part in parts])
    return np.array(found)


def _information(table: NDArray[np.floating]) -> float:
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0)
    return float(np.sum(table[table > 0] * np.log(table[table > 0] / expected[table > 0])))


def random_forest(x: Values, y: Classes, trees: int) -> NDArray[np.floating]:
    """scikit-learn's forest."""
    return np.asarray(RandomForestClassifier(trees, random_state=0).fit(x, y).feature_importances_)


def linear_probe(x: Values, y: Classes, l1: float, l2: float) -> tuple[Values, Values]:
    """As NeuroX trains: ten passes in batches of 32, Adam at 0.001, both penalties in the loss."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(x.shape[1], int(y.max()) + 1)
    optimizer = torch.optim.Adam(linear.parameters(), lr=1e-3)
    rows, goals = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    for _ in range(10):
        for at in range(0, len(x), 32):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(linear(rows[at : at + 32]), goals[at : at + 32])
            loss = loss + l1 * linear.weight.abs().sum() + l2 * linear.weight.pow(2).sum().sqrt()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return linear.weight.detach().numpy(), linear.bias.detach().numpy()


def representation_analysis(x: Values, y: Classes, layers: int) -> list[float]:
    """Such a probe per layer, on four fifths of the rows; accuracies on the others."""
    cut, found = len(x) * 4 // 5, []
    for part in np.split(x, layers, axis=1):
        weights, bias = linear_probe(np.ascontiguousarray(part[:cut]), y[:cut], 1e-5, 1e-5)
        found.append(float(np.mean((part[cut:] @ weights.T + bias).argmax(axis=1) == y[cut:])))
    return found


def sweep(weights: Values) -> list[int]:
    """NeuroX's order: for each hundredth of the mass a sort per class, and what is new appended."""
    sizes, order, seen = np.abs(weights), list[int](), set[int]()
    for step in range(101):
        selected = set[int]()
        for row in sizes:
            falling = np.argsort(row)[::-1]
            reached = np.flatnonzero(np.cumsum(row[falling]) >= row.sum() * (step / 100))
            selected.update(falling[: reached[0] + 1 if len(reached) else len(row)].tolist())
        order += list(selected - seen)
        seen |= selected
    return order


def gaussian_candidates(x: Values, y: Classes, chosen: Sequence[int], candidates: Sequence[int]) -> list[float]:
    """For each candidate a distribution per class over the chosen neurons and it, all classes at once; the mean
    log-likelihoods.
    """
    counts = np.bincount(y)
    found = []
    for candidate in candidates:
        some = x[:, [*chosen, candidate]].astype(np.float64)
        means = np.stack([some[y == number].mean(axis=0) for number in range(len(counts))])
        own = [some[y == number] - means[number] for number in range(len(counts))]
        scatter = np.stack([rows.T @ rows for rows in own])
        prior = np.stack([np.diag(np.diag(square)) for square in scatter]) / counts[:, None, None]
        covariances = (scatter + prior) / (counts[:, None, None] + 1)
        away = some - means[:, None]
        distances = np.sum((away @ np.linalg.inv(covariances)) * away, axis=2)
        joint = np.log(counts / len(y))[:, None] - 0.5 * (np.linalg.slogdet(covariances)[1][:, None] + distances)
        joint -= joint.max(axis=0)
        found.append(float(np.mean(joint[y, np.arange(len(y))] - np.log(np.sum(np.exp(joint), axis=0)))))
    return found


def latent_steps(x: Values, y: Classes, steps: int, batch: int) -> None:
    """Steps as the paper's programme takes them (Poisson): five masks a row for the loss, five for the score."""
    torch.manual_seed(0)
    linear, weights = torch.nn.Linear(x.shape[1], int(y.max()) + 1), torch.rand(x.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([*linear.parameters(), weights])
    rows, goals = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    for step in range(steps):
        some = slice(step * batch % len(x), step * batch % len(x) + batch)
        terms = []
        for scored in [False] * 5 + [True] * 5:
            mask = (torch.rand(len(rows[some]), x.shape[1]) < weights.sigmoid()).float().detach()
            loss = torch.nn.functional.cross_entropy(linear(rows[some] * mask), goals[some], reduction="none")
            if scored:
                loss = loss.detach() * (mask @ weights - torch.nn.functional.softplus(weights).sum())
            terms.append(loss.mean())
        entropy = torch.distributions.Bernoulli(logits=weights).entropy().sum()  # type: ignore[no-untyped-call]
        optimizer.zero_grad()
        (sum(terms) / 5 - 1e-3 * entropy).backward()
        optimizer.step()
