"""What runs a model over a corpus: found among the installed packages, since this library itself knows no models.

A distribution offers one under the entry point group "patchclamp_analysis.extractors"; patchclamp's `service` extra
does. It is the server's own code path, without a server.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from ..corpora.corpus import Corpus
from ..errors import AnalysisError
from ..sets.activation_writer import Finished
from ..sets.row_selection import RowFilter

__all__ = ["Extraction", "Extractor", "ModelChoice", "OpenExtractor", "Report", "Written", "find_extractor"]

GROUP = "patchclamp_analysis.extractors"

Report = Callable[[str, int, int], None]
"""Told a stage, how much of it is done, and of how much. What it raises ends the work."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model, and how it runs."""

    spec: str
    """NAME (embedded), NAME=DIRECTORY or NAME=HUB/ID, as `patchclamp serve --model` takes it."""
    dtype: str = "float32"
    """Element type of the weights."""
    device: str = "cpu"
    threads: int = 0
    """Of a forward pass on the CPU; 0: as many as torch finds fit."""
    cache: str = "~/.cache/patchclamp"
    """Where converted models and digests are kept."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """Which activations of a corpus are wanted."""

    sites: tuple[str, ...]
    """Names; "layers.*.residual" stands for every layer."""
    aggregation: str = ""
    """none, first, last, average, sentence_first, sentence_last, sentence_average, sentence_max; empty: average for
    words, none for text, sentence_average for pairs."""
    dtype: str = "float32"
    """Element type in the file: float32, float16 or bfloat16."""
    rule: RowFilter = field(default_factory=RowFilter)
    """Which rows to keep."""
    interventions: str = ""
    """A JSON list of interventions, as the SDK prints them; empty: none."""
    special_tokens: bool = False
    """Without aggregation: rows of special tokens too."""
    corpus: str = ""
    """What the set calls its corpus."""

    def canonical(self) -> dict[str, object]:
        """As plain JSON: equal extractions, equal JSON."""
        rule = asdict(self.rule) | {"labels": sorted(self.rule.labels)}
        return asdict(self) | {"sites": list(self.sites), "rule": rule}


@dataclass(frozen=True, slots=True)
class Written:
    """A set that is whole, and the edits (by number) that selected no token of its sentences."""

    finished: Finished
    idle_edits: tuple[int, ...] = ()


class Extractor(Protocol):
    """A loaded model. Not for several threads at once."""

    def extract(
        self, corpus: Corpus, wanted: Extraction, path: Path, report: Report, sentences: range | None = None
    ) -> Written | None:
        """Writes an activation set to `path`, or goes on with one that was cut short; rows of some sentences only when
        a range of their numbers is given. None: the filter keeps no row, so there is no file.

        Raises BadData for what the model cannot do, such as edits that select no token of the whole corpus;
        AnalysisError for what failed.
        """


class OpenExtractor(Protocol):
    """Loads a model; leaving the context frees it. Raises AnalysisError when it cannot be loaded."""

    def __call__(self, model: ModelChoice) -> AbstractContextManager[Extractor]:
        """The loaded model."""


def find_extractor() -> OpenExtractor:
    """The one that is installed. AnalysisError says what to install when there is none."""
    missing = AnalysisError("running a model needs the service extra: pip install 'patchclamp[service]'")
    found = entry_points(group=GROUP)
    if not found:
        raise missing
    try:
        return cast(OpenExtractor, next(iter(found)).load())
    except ModuleNotFoundError as error:
        raise missing from error
