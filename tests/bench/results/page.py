"""docs/results.md, of what was measured."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version

from patchclamp_analysis.methods import RANKING_METHODS
from patchclamp_analysis.plots import accuracy_plot, layers_plot, overlap_plot, save_plot

from tests.bench.results import tables
from tests.bench.results.choice import HELD_OUT
from tests.bench.results.echo import echo
from tests.bench.results.measured import Measured
from tests.bench.results.plans import TRAIN_SENTENCES
from tests.bench.results.stored import ROOT

__all__ = ["write_page"]

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "transformers")
_IN_LAYERS_PLOT = ("linear_probe", "probeless", "average_precision", "variance")
_ROOM = ROOT / "docs"


def write_page(found: Sequence[Measured]) -> None:
    """Writes the plots and the page."""
    parts = ["# Results", *_head(), *(part for each in found for part in _section(each))]
    (_ROOM / "results.md").write_text("\n\n".join(map(_wrapped, parts)) + "\n", encoding="utf-8")


def _wrapped(part: str) -> str:
    """In lines of 120, but for tables, headings and pictures."""
    if part.startswith(("|", "#", "!")):
        return part
    indent = "  " if part.startswith("* ") else ""
    lines = textwrap.TextWrapper(120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines.fill(line) for line in part.split("\n"))


def _head() -> list[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return [
        f"Part of speech (`upos`, 17 classes) in UD English Web Treebank: the first {TRAIN_SENTENCES:,} training "
        "sentences to rank and to train on, all of `dev` to judge by. A word is a row, the mean of its subwords "
        "(computed in float32); the neurons are the residual stream after each layer. `python -m tests.bench.results` "
        "(or `make bench ARGS=results`) computed all figures and wrote this page; it keeps what it has computed in "
        f"`.cache/results` and goes on from there. With {versions}.",
        "A ranking is judged by linear probes (softmax regression on standardised activations, 5 passes of Adam) of "
        "its top neurons alone, beside a probe of all neurons, the **oracle**. All probes that judge have the same "
        "penalties l1·Σ|W| + l2·ΣW²: those of the probe of all neurons that is best on a held-out "
        f"{100 * HELD_OUT:.0f} % of the training sentences. Nothing was chosen on `dev`.",
        "Selectivity is the accuracy less that on a control task; MI/H the mutual information of the top neurons with "
        "the class, by Gaussians, as a part of H(class); AvgOverlap and NeuronVote say how far a method agrees with "
        "the others.",
    ]


def _section(found: Measured) -> list[str]:
    comparison = found.comparison
    first = comparison.evaluations[0]
    rows = f"{found.plan.cluster_rows:,} random" if found.plan.cluster_rows else "all"
    return [
        f"## {found.model}",
        *_about(found),
        tables.markdown(tables.choices(found.choice["tried"])),
        _settings(found),
        "Accuracy of a probe of the top neurons alone, and of as many random ones; in brackets, % of the oracle's:",
        tables.markdown(tables.accuracies(comparison)),
        *_plots(found),
        f"Selectivity (of all neurons {first.score('selectivity', 'all').mean:.3f}), information, and agreement with "
        "the other methods:",
        tables.markdown(tables.others(comparison)),
        "**Neurons a class needs** to reach a part of the oracle's F1: its best ones by `linear_probe`, a probe of "
        "this class against all others.",
        tables.markdown(tables.of_classes(found.needs)),
        "**Efficient features**: the lowest layers that are enough, one neuron of each correlation cluster (distance "
        "up to 0.3), then the fewest of those in the order of a linear probe. Chosen on training sentences alone, by "
        "what may be lost of the oracle's accuracy there; the accuracies are those on `dev`. Training: how many times "
        "less processor time a probe takes.",
        tables.markdown(tables.steps(found.reductions)),
        "**Redundant neurons**: what can go when one of each correlation cluster stays (average linkage, d = 1 − |ρ|, "
        f"over {rows} training words):",
        tables.markdown(tables.redundancy(found.redundant)),
        "### What the survey says, and what was found here",
        "\n".join(f"* {line}" for line in echo(found)),
    ]


def _about(found: Measured) -> list[str]:
    first, given = found.comparison.evaluations[0], found.description
    tops = [each.score("accuracy", "top", n) for each in found.comparison.evaluations for n in found.comparison.counts]
    spread = f" (largest deviation of a top-k accuracy {max(score.deviation for score in tops):.3f})"
    seeds = f"means over {found.plan.seeds} seeds{spread}" if found.plan.seeds > 1 else "one seed"
    (l1, l2), (rank_l1, rank_l2), share = found.choice["judge"], found.choice["ranker"], found.plan.choice_share
    held_out = "" if share == 1.0 else f" (here the probes were trained on {100 * share:.0f} % of the others)"
    return [
        f"{first.neurons:,} neurons: `{given.sites[0][0]}` to `{given.sites[-1][0]}`, {given.sites[0][1]} each, stored "
        f"as {given.dtype}. {first.train_rows:,} words to train on, {first.test_rows:,} to judge by; {seeds}. Model "
        f"`{given.model_digest[:12]}`.",
        f"**Oracle {first.oracle.mean:.4f}** (deviation {first.oracle.deviation:.4f}), majority {first.majority:.3f}. "
        f"Penalties of the judging probes: l1 = {l1:g}, l2 = {l2:g}. Of the `linear_probe` that ranks: l1 = "
        f"{rank_l1:g}, l2 = {rank_l2:g}, the pair whose top 10 % did best on the same held-out training sentences"
        f"{held_out}:",
    ]


def _settings(found: Measured) -> str:
    """Every hyper-parameter that is not the default."""
    texts = []
    for name, parameters in found.settings.items():
        default = json.loads(json.dumps(asdict(RANKING_METHODS[name]())))
        # A stored ranking has lists for tuples, too.
        changed = [
            f"{key} = {value}" for key, value in parameters.items() if json.loads(json.dumps(value)) != default[key]
        ]
        if changed and name != "linear_probe":
            texts.append(f"`{name}` {', '.join(changed)}")
    shares = [f"`{name}` by {100 * share:.0f} % of the training sentences" for name, share in found.plan.shares.items()]
    fewer = f" To save time, {' and '.join(shares)}." if shares else ""
    return f"Settings other than the defaults: {'; '.join(texts)}.{fewer} All rankings have seed 0."


def _plots(found: Measured) -> list[str]:
    comparison = found.comparison
    few = [each for each in comparison.evaluations if each.method in _IN_LAYERS_PLOT]
    tenth = comparison.counts[-1]
    figures = {
        "accuracy": accuracy_plot(comparison),
        "layers": layers_plot(replace(comparison, evaluations=tuple(few)), tenth),
        "overlap": overlap_plot(comparison, tenth),
    }
    lines = []
    for name, figure in figures.items():
        path = _ROOM / f"results-{found.model}-{name}.svg"
        save_plot(figure, path)
        lines.append(f"![{name}, {found.model}]({path.name})")
    return lines
