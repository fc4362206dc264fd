"""What a method finds: a score for every neuron, overall and per class."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .data.neurons import Neurons, Site
from .errors import BadData
from .files.whole_files import write_whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ranking", "ScoredNeuron"]

_FORMAT = "patchclamp ranking 1"


@dataclass(frozen=True, slots=True)
class ScoredNeuron:
    """A neuron and its score."""

    site: str
    index: int
    score: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scores of D neurons, the higher the more a neuron has to do with the concept.

    `class_scores` is [C, D]; C is 0 where there are no classes. `details` are arrays that only this method has; its
    docstring says which. `notes` say what was odd about the data.
    """

    method: str
    neurons: Neurons
    scores: NDArray[np.float64]
    classes: tuple[str, ...]
    class_scores: NDArray[np.float64]
    label: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    details: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.neurons)
        for name, shape in (("scores", (count,)), ("class_scores", (len(self.classes), count))):
            values = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            if values.shape != shape:
                raise BadData(f"has shape {values.shape}, not {shape}", where=name)
            if not np.isfinite(values).all():
                raise BadData("a score is not finite", where=name)
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    def __repr__(self) -> str:
        of = f" of {self.label}" if self.label else ""
        return f"<Ranking {self.method}{of}: {len(self.neurons):,} neurons, {len(self.classes):,} classes>"

    def scores_of(self, name: str = "") -> NDArray[np.float64]:
        """[D] the scores of a class; "": overall."""
        if not name:
            return self.scores
        if name not in self.classes:
            raise BadData(f"no such class; there are {', '.join(self.classes)}", where=name)
        return np.asarray(self.class_scores[self.classes.index(name)])

    def order(self, name: str = "") -> NDArray[np.int64]:
        """[D] places of the neurons, best first, overall or for a class. Of equal scores the lower place is first."""
        return np.argsort(-self.scores_of(name), kind="stable")

    def top(self, count: int, name: str = "") -> tuple[ScoredNeuron, ...]:
        """The best neurons, best first, overall or for a class; all of them if `count` is more. BadData below 0."""
        return self._named(self.order(name)[: _counted(count)], name)

    def bottom(self, count: int, name: str = "") -> tuple[ScoredNeuron, ...]:
        """The worst neurons, worst first."""
        return self._named(self.order(name)[::-1][: _counted(count)], name)

    def distribution(self, count: int, name: str = "") -> dict[str, int]:
        """How many of the best `count` neurons each site has."""
        chosen = self.neurons.site_numbers[self.order(name)[:count]]
        numbers = np.bincount(chosen, minlength=len(self.neurons.sites))
        return {site.name: int(number) for site, number in zip(self.neurons.sites, numbers, strict=True)}

    def to_pandas(self) -> pd.DataFrame:
        """A row per neuron, best first: site, index, score, and a score for each class."""
        import pandas as pd

        order = self.order()
        names = np.array([site.name for site in self.neurons.sites], dtype=object)
        columns: dict[str, Any] = {
            "site": names[self.neurons.site_numbers[order]],
            "index": self.neurons.indices[order],
            "score": self.scores[order],
        }
        columns |= {f"score {name}": self.scores_of(name)[order] for name in self.classes}
        return pd.DataFrame(columns)

    def to_csv(self, path: Path | str) -> None:
        """The table of `to_pandas`."""
        self.to_pandas().to_csv(path, index=False)

    def to_json(self, count: int | None = None) -> str:
        """What it is, and the best neurons (None: all) overall and per class."""
        count = len(self.neurons) if count is None else count
        top = {
            name: [[neuron.site, neuron.index, neuron.score] for neuron in self.top(count, name)]
            for name in ("", *self.classes)
        }
        overall = top.pop("")
        return json.dumps(
            self._description() | {"neuron_count": len(self.neurons), "neurons": overall, "classes": top},
            indent=1,
            ensure_ascii=False,
        )

    def save(self, path: Path | str) -> None:
        """Writes all of it into one .npz file, which appears whole or not at all. BadData for another suffix."""
        if Path(path).suffix != ".npz":
            raise BadData("a ranking is saved as .npz; to_csv and to_json give it as these", where=str(path))
        description = np.frombuffer(json.dumps(self._description(), ensure_ascii=False).encode(), np.uint8)
        arrays: dict[str, Any] = {f"details/{name}": values for name, values in self.details.items()}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            description=description,
            columns=self.neurons.columns,
            scores=self.scores,
            class_scores=self.class_scores,
            **arrays,
        )
        write_whole(Path(path), buffer.getvalue())

    @classmethod
    def from_json(cls, text: str | bytes) -> Ranking:
        """What `to_json` says of all neurons, as a server exports it. It has no `details`. BadData for anything else,
        and for some of the neurons.
        """
        try:
            content = json.loads(text)
            if content.pop("format") != _FORMAT:
                raise ValueError("of another format")
            sites = tuple(Site(**site) for site in content.pop("sites"))
            starts = dict(
                zip([site.name for site in sites], np.cumsum([0, *(site.width for site in sites)]), strict=False)
            )
            listed, classes = content.pop("neurons"), tuple(content.pop("class_names"))
            columns, scores = _scores(listed, starts)
            if len(columns) != content.pop("neuron_count"):
                raise ValueError("not all neurons are there")
            by_class = [_scores(content["classes"][name], starts) for name in classes]
            if not all(np.array_equal(columns, others) for others, _ in by_class):
                raise ValueError("not all neurons are there for every class")
            del content["classes"]
            class_scores = np.array([values for _, values in by_class]).reshape(len(classes), len(columns))
            notes = tuple(content.pop("notes"))
            return cls(
                neurons=Neurons(sites, columns),
                scores=scores,
                classes=classes,
                class_scores=class_scores,
                notes=notes,
                **content,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadData(f"this is no ranking of all its neurons: {error}") from error

    @staticmethod
    def is_in(path: Path | str) -> bool:
        """Whether a file looks like a ranking, by its suffix or its beginning."""
        path = Path(path)
        with path.open("rb") as file:
            return path.suffix == ".npz" or _FORMAT.encode() in file.read(100)

    @classmethod
    def load(cls, path: Path | str) -> Ranking:
        """Reads what `save` wrote, or a file of `to_json`. BadData for anything else."""
        content = Path(path).read_bytes()
        if content[:1] == b"{":
            try:
                return cls.from_json(content)
            except BadData as error:
                raise BadData(error.message, where=str(path)) from error
        try:
            arrays = _arrays(content)
            description = json.loads(arrays.pop("description").tobytes())
            if description.pop("format") != _FORMAT:
                raise ValueError("of another format")
            sites = tuple(Site(**site) for site in description.pop("sites"))
            neurons = Neurons(sites, arrays.pop("columns"))
            scores, class_scores = arrays.pop("scores"), arrays.pop("class_scores")
            details = {name.removeprefix("details/"): values for name, values in arrays.items()}
            classes, notes = tuple(description.pop("class_names")), tuple(description.pop("notes"))
            return cls(
                neurons=neurons,
                scores=scores,
                classes=classes,
                class_scores=class_scores,
                details=details,
                notes=notes,
                **description,
            )
        except KeyError as error:
            raise BadData(f"this is no ranking: there is no {error} in it", where=str(path)) from error
        except (ValueError, TypeError) as error:
            raise BadData(f"this is no ranking: {error}", where=str(path)) from error

    def _named(self, places: NDArray[np.int64], name: str) -> tuple[ScoredNeuron, ...]:
        scores = self.scores_of(name)
        chosen = [(place, self.neurons[place]) for place in places]
        return tuple(ScoredNeuron(neuron.site, neuron.index, float(scores[place])) for place, neuron in chosen)

    def _description(self) -> dict[str, object]:
        return {
            "format": _FORMAT,
            "method": self.method,
            "label": self.label,
            "parameters": dict(self.parameters),
            "sites": [asdict(site) for site in self.neurons.sites],
            "class_names": self.classes,
            "notes": self.notes,
        }


def _counted(count: int) -> int:
    if count < 0:
        raise BadData(f"{count} is no number of neurons: 0 or more", where="count")
    return count


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Of an .npz file. ValueError for anything else, and for pickles."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError("it is neither .npz, as `save` writes it, nor JSON, as `to_json` does") from error


def _scores(
    listed: list[tuple[str, int, float]], starts: Mapping[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The columns of the neurons, ascending, and their scores."""
    columns = np.array([starts[site] + index for site, index, _ in listed], dtype=np.int64)
    scores = np.array([score for _, _, score in listed], dtype=np.float64)
    order = np.argsort(columns, kind="stable")
    return columns[order], scores[order]
