"""`python -m tests.bench.results`: docs/results.md, measured on UD English Web Treebank.

The activation sets are kept in .cache/results; what is there is not extracted again. Arguments are models and methods:
those alone are run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from patchclamp_analysis.cli import main as analysis
from patchclamp_analysis.data import Data
from patchclamp_analysis.evaluation import Comparison, Evaluation, RankingEvaluation, compare_rankings
from patchclamp_analysis.evaluation.classes import ClassNeed, neurons_needed
from patchclamp_analysis.methods import RANKING_METHODS
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.bench.harness import CACHE, console

ROOT = Path(__file__).parents[2]
TREEBANK = ROOT.parent / "shared" / "data" / "ud-ewt"
TRAIN_SENTENCES = 4000


@dataclass(frozen=True)
class Plan:
    """How a model is measured: element type of its set, every so many layers (the last is among them), seeds."""

    dtype: str
    stride: int
    seeds: int


MODELS = {"minilm-l6": Plan("float32", 1, 3), "smollm2-135m": Plan("float16", 5, 1)}
SHARES = (0.9, 0.97)
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 400)
FAST = ("probeless", "linear_probe", "mean_select", "average_precision", "iou", "mutual_information", "variance")
CLOSED = frozenset({"ADP", "AUX", "CCONJ", "DET", "NUM", "PART", "PRON", "SCONJ"})
OPEN = frozenset({"ADJ", "ADV", "INTJ", "NOUN", "PROPN", "VERB"})


def main() -> None:
    methods = tuple(name for name in sys.argv[1:] if name in RANKING_METHODS) or FAST
    for model in [name for name in sys.argv[1:] if name in MODELS] or list(MODELS):
        plan = MODELS[model]
        with (
            ActivationSet.open(_set(model, plan.dtype, "train")) as one,
            ActivationSet.open(_set(model, plan.dtype, "dev")) as other,
        ):
            sites = list(one.sites)[plan.stride - 1 :: plan.stride]
            train, test = (Data.from_activation_set(each, "upos", sites=sites) for each in (one, other))
            text = _section(model, train, test, methods, len(one.sites))
        (CACHE / "results" / f"{model}.md").write_text(text, encoding="utf-8")
    found = [CACHE / "results" / f"{model}.md" for model in MODELS]
    sections = [path.read_text(encoding="utf-8") for path in found if path.exists()]
    (ROOT / "docs" / "results.md").write_text("\n".join([HEAD, *sections]), encoding="utf-8")


HEAD = """# Results

Part of speech (`upos`) in UD English Web Treebank: the first 4,000 training sentences to rank and to train on, all of
`dev` to judge by. All figures were measured by `python -m tests.bench.results`, which wrote this file. Methods that no
table names were not run.
"""


def _set(model: str, dtype: str, split: str) -> Path:
    """The activations of all layers, the embeddings left out."""
    path = CACHE / "results" / f"{model}.{split}.h5"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("words", "upos"):
        lines = (TREEBANK / f"{split}.{kind}").read_text(encoding="utf-8").splitlines(keepends=True)
        kept = lines[:TRAIN_SENTENCES] if split == "train" else lines
        path.with_suffix(f".{kind}").write_text("".join(kept), encoding="utf-8")
    words, labels = str(path.with_suffix(".words")), f"upos={path.with_suffix('.upos')}"
    options = ["--labels", labels, "-m", model, "-s", "layers.*.residual", "--dtype", dtype, "-o", str(path)]
    if analysis(["extract", words, *options]):
        raise SystemExit(1)
    return path


def _section(model: str, train: Data, test: Data, methods: Sequence[str], layers: int) -> str:
    rankings = []
    for name in methods:
        console.print(f"{model}: {name}")
        rankings.append(RANKING_METHODS[name]().rank(train))
    console.print(f"{model}: probes")
    comparison = compare_rankings(rankings, train, test, Evaluation(seeds=MODELS[model].seeds))
    by_class = next((ranking for ranking in rankings if ranking.method == "linear_probe"), rankings[0])
    needs = neurons_needed(by_class, train, test, counts=COUNTS)
    return _text(model, train, layers, comparison, by_class, needs)


def _text(
    model: str, train: Data, layers: int, comparison: Comparison, by_class: Ranking, needs: Sequence[ClassNeed]
) -> str:
    first = comparison.evaluations[0]
    selectivity = first.score("selectivity", "all").mean
    parts = [
        f"## {model}",
        f"{first.neurons:,} neurons of {len(train.neurons.sites)} of {layers} layers; {first.train_rows:,} words to "
        f"train on, {first.test_rows:,} to judge by. All neurons (the oracle): **{first.oracle.mean:.3f}** "
        f"(deviation {first.oracle.deviation:.4f}, selectivity {selectivity:.3f}); majority {first.majority:.3f}. "
        f"Means over {MODELS[model].seeds} seeds; {', '.join(site.name for site in train.neurons.sites)}.",
        "Accuracy of a probe of the top neurons alone, and of as many random ones:",
        _table(_accuracies(comparison)),
        "The same, as part of the oracle's accuracy:",
        _table(_accuracies(comparison, share=True)),
        f"Selectivity (accuracy less that on a control task), MI of the top neurons as part of H(y), and agreement "
        f"with the other methods, at {comparison.counts[-1]} neurons:",
        _table(_others(comparison)),
        f"**Neurons a class needs** to reach a part of the oracle's F1 (its best ones by `{by_class.method}`, a probe "
        "against all other classes):",
        _table(_of_classes(needs)),
        _echo(comparison, needs),
    ]
    return "\n\n".join(parts) + "\n"


def _accuracies(comparison: Comparison, *, share: bool = False) -> pd.DataFrame:
    first = comparison.evaluations[0]
    by = first.oracle.mean if share else 1.0
    rows = {
        each.method: [each.score("accuracy", "top", count).mean / by for count in comparison.counts]
        for each in comparison.evaluations
    }
    rows["random"] = [first.score("accuracy", "random", count).mean / by for count in comparison.counts]
    names = [f"{count} ({100 * count / first.neurons:.1f} %)" for count in comparison.counts]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).map("{:.3f}".format)


def _others(comparison: Comparison) -> pd.DataFrame:
    count = comparison.counts[-1]
    rows = {
        each.method: [
            each.score("selectivity", "top", count).mean,
            _information(each, count),
            *(
                (found[-1][number] for found in (comparison.average_overlap, comparison.neuron_vote))
                if len(comparison.methods) > 1
                else (float("nan"),) * 2
            ),
        ]
        for number, each in enumerate(comparison.evaluations)
    }
    columns = ["selectivity", "MI/H", "AvgOverlap", "NeuronVote"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).map("{:.3f}".format)


def _information(evaluation: RankingEvaluation, count: int) -> float:
    """NaN where the memory bound did not allow it."""
    found = [score.mean for score in evaluation.scores if (score.measure, score.count) == ("information", count)]
    return found[0] if found else float("nan")


def _needed(need: ClassNeed, share: float) -> float:
    """The fewest neurons that reach a part of the oracle's F1; infinite where none of the numbers does."""
    return next((count for count, score in need.reached if score >= share * need.oracle), float("inf"))


def _of_classes(needs: Sequence[ClassNeed]) -> pd.DataFrame:
    rows = []
    for need in needs:
        kind = "closed" if need.name in CLOSED else "open" if need.name in OPEN else "other"
        counts = [_needed(need, share) for share in SHARES]
        shown = [f"over {COUNTS[-1]}" if count == float("inf") else str(count) for count in counts]
        rows.append(((kind, counts, need.name), [need.name, kind, need.rows, f"{need.oracle:.3f}", *shown]))
    columns = ["", "kind", "test words", "oracle F1", *(f"for {share:.0%}" for share in SHARES)]
    return pd.DataFrame([row for _, row in sorted(rows)], columns=columns).set_index("")


def _echo(comparison: Comparison, needs: Sequence[ClassNeed]) -> str:
    """What the survey says, and what was found."""
    lines = []
    for share in SHARES:
        medians = []
        for kind, names in (("closed", CLOSED), ("open", OPEN)):
            median = pd.Series([_needed(need, share) for need in needs if need.name in names]).median()
            medians.append(f"{kind} classes over {COUNTS[-1]}" if median == float("inf") else f"{kind} {median:g}")
        lines.append(f"Median number of neurons for {share:.0%}: {', '.join(medians)}.")
    first = comparison.evaluations[0]
    count = max(count for count in comparison.counts if count <= 0.1 * first.neurons + 1)
    best = max(comparison.evaluations, key=lambda each: each.score("accuracy", "top", count).mean)
    share = best.score("accuracy", "top", count).mean / first.oracle.mean
    found = f"`{best.method}`, {100 * share:.1f} % of the oracle"
    return "\n".join([*lines, f"Best with {count} neurons ({100 * count / first.neurons:.1f} %): {found}."])


def _table(frame: pd.DataFrame) -> str:
    lines = [["", *map(str, frame.columns)], ["---"] * (len(frame.columns) + 1)]
    lines += [[str(name), *map(str, row)] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
