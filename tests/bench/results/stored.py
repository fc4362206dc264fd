"""What has been computed already: everything is kept in .cache/results, so that a second run, or one after a kill, goes
on where it was. Delete a file to have it computed again, with what follows from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from patchclamp_analysis.cli import main as analysis
from patchclamp_analysis.data import Data
from patchclamp_analysis.evaluation import Comparison
from patchclamp_analysis.files.whole_files import write_whole
from patchclamp_analysis.methods.method import RankingMethod
from patchclamp_analysis.progress import Progress
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import ActivationSet, SetDescription
from patchclamp_analysis.tables import Tables

from tests.bench.harness import CACHE, console
from tests.bench.results.plans import TRAIN_SENTENCES

__all__ = ["ROOT", "kept", "kept_comparison", "kept_ranking", "open_sets"]

ROOT = Path(__file__).parents[3]
_TREEBANK = ROOT.parent / "shared" / "data" / "ud-ewt"
_FOLDER = CACHE / "results"


@contextmanager
def open_sets(model: str, dtype: str) -> Iterator[tuple[Data, Data, SetDescription]]:
    """The rows to train on, those to judge by, and what they were extracted with. Extracts what is not there."""
    with (
        ActivationSet.open(_extracted(model, dtype, "train")) as one,
        ActivationSet.open(_extracted(model, dtype, "dev")) as other,
    ):
        train, test = (Data.from_activation_set(each, "upos") for each in (one, other))
        yield train, test, one.description


def kept(name: str, make: Callable[[], Any], *sources: str) -> Any:
    """What `make` gives, as JSON has it; made once, and again when a file that it follows from is newer."""
    path = _FOLDER / f"{name}.json"
    if not _is_newer(path, sources):
        console.print(name)
        write_whole(path, json.dumps(make(), indent=1, ensure_ascii=False).encode())
    return json.loads(path.read_bytes())


def kept_comparison(model: str, methods: Sequence[str], make: Callable[[Progress], Comparison]) -> Comparison:
    """The comparison of the rankings by these methods; made once for them."""
    path = _FOLDER / f"{model}.comparison.json"
    if _is_newer(path, [f"{model}.{method}.npz" for method in methods]):
        found = Comparison.from_tables(Tables.load(path))
        if found.methods == tuple(methods):
            return found
    comparison = make(_shown(f"{model}.comparison"))
    comparison.to_tables().save(path)
    return comparison


def kept_ranking(model: str, method: RankingMethod, train: Data) -> Ranking:
    """The ranking by a method; made once for its settings."""
    path = _FOLDER / f"{model}.{method.name}.npz"
    if path.exists():
        found = Ranking.load(path)
        if json.dumps(found.parameters) == json.dumps(asdict(method)):
            return found
    ranking = method.rank(train, progress=_shown(f"{model}.{method.name}"))
    ranking.save(path)
    return ranking


def _shown(name: str) -> Progress:
    """Prints how far it is, in steps of 5 %."""
    last = -1

    def report(done: float) -> None:
        nonlocal last
        if (now := int(20 * done)) > last:
            last = now
            console.print(f"{name}: {5 * now} %")

    return Progress(report)


def _is_newer(path: Path, sources: Sequence[str]) -> bool:
    """Whether there is a file, and none of these names is younger."""
    ages = [_FOLDER.joinpath(source).stat().st_mtime for source in sources]
    return path.exists() and path.stat().st_mtime >= max(ages, default=0.0)


def _extracted(model: str, dtype: str, split: str) -> Path:
    """The activations of all layers, the embeddings left out."""
    path = _FOLDER / f"{model}.{split}.h5"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("words", "upos"):
        lines = (_TREEBANK / f"{split}.{kind}").read_text(encoding="utf-8").splitlines(keepends=True)
        text = "".join(lines[:TRAIN_SENTENCES] if split == "train" else lines)
        path.with_suffix(f".{kind}").write_text(text, encoding="utf-8")
    words, labels = str(path.with_suffix(".words")), f"upos={path.with_suffix('.upos')}"
    options = ["--labels", labels, "-m", model, "-s", "layers.*.residual", "--dtype", dtype, "-o", str(path)]
    if analysis(["extract", words, *options]):
        raise SystemExit(1)
    return path
