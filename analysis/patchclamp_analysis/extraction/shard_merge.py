"""Makes one activation set of shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BadData
from ..sets.activation_sets import ActivationSet
from ..sets.activation_writer import ActivationSetWriter, Finished, RowBlock
from .extractors import Report
from .shard_records import Record

__all__ = ["merge"]

_BLOCK_BYTES = 16 << 20


def merge(directory: Path, records: Sequence[Record], path: Path, report: Report) -> Finished:
    """Writes checked shards as one activation set, or goes on with one that was cut short. Memory stays bounded."""
    parts = [(directory / record.file, record.rows) for record in records if record.file]
    total = sum(rows for _, rows in parts)
    if not parts:
        raise BadData("the filter keeps no row of this corpus")
    with ActivationSet.open(parts[0][0]) as first:
        description = first.description
    with ActivationSetWriter.open(path, description, _row_blocks(parts)) as writer:
        if writer.rows != total:
            raise BadData(f"has {writer.rows} rows instead of the shards' {total}", where=f"{path.name}.partial")
        before, done = 0, writer.rows_done
        for file, rows in parts:
            if before + rows > done:
                with ActivationSet.open(file) as part:
                    for values, masked in _values(part, max(0, done - before)):
                        writer.write(values, masked)
            before += rows
            report("merge", before, total)
        return writer.finish(report)


def _row_blocks(parts: Sequence[tuple[Path, int]]) -> Iterator[RowBlock]:
    for file, _ in parts:
        with ActivationSet.open(file) as part:
            labels = {layer: part.labels(layer).tolist() for layer, _ in part.description.layers}
            yield RowBlock(part.sentences, part.places, part.words.tolist(), labels)


def _values(part: ActivationSet, start: int) -> Iterator[tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.bool_]]]:
    """The rows from `start` on, as they lie in the file, some MiB at a time."""
    sites = {site: part.site(site) for site in part.sites}
    step = max(1, _BLOCK_BYTES // sum(values[0].nbytes for values in sites.values()))
    for begin in range(start, part.rows, step):
        rows = slice(begin, begin + step)
        yield {site: values[rows] for site, values in sites.items()}, part.masked[rows]
