"""What is known of each shard that is on disk, and whether together they are the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ..errors import BadData
from ..sets.activation_sets import ActivationSet

__all__ = ["Record", "Shard", "check_edits", "check_files", "check_records", "cut", "read_record"]

_KINDS = {"int": int, "str": str, "tuple[int, ...]": list}


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive sentences, from `start` to before `stop`."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Record:
    """A shard that is on disk, whole."""

    number: int
    start: int
    stop: int
    file: str
    """Empty where the filter keeps no row of these sentences."""
    rows: int
    size_bytes: int
    sha256: str
    plan: str
    """Digest of the plan that it belongs to."""
    idle_edits: tuple[int, ...] = ()
    """Edits, by number, that selected no token of these sentences."""


def cut(sizes: Iterable[int], most: int) -> Iterator[Shard]:
    """Sentences of these sizes as shards of at most `most`, in order; one that is larger has a shard of its own."""
    number = start = end = filled = 0
    for end, size in enumerate(sizes, 1):
        if end - 1 > start and filled + size > most:
            yield Shard(number, start, end - 1)
            number, start, filled = number + 1, end - 1, 0
        filled += size
    if end > start:
        yield Shard(number, start, end)


def read_record(content: object, name: str) -> Record:
    """A record from its JSON. BadData, with `name` as the place, for anything else."""
    kinds = {field.name: _KINDS[str(field.type)] for field in fields(Record)}
    if not isinstance(content, dict) or {key: type(value) for key, value in content.items()} != kinds:
        raise BadData("is no record of a shard", where=name)
    record = Record(**content | {"idle_edits": tuple(content["idle_edits"])})
    if Path(record.file).name != record.file:
        raise BadData(f"names {record.file!r}, which is no file beside it", where=name)
    return record


def check_records(shards: Sequence[Shard], records: Sequence[Record], plan: str) -> None:
    """Raises BadData, naming the shards, unless there is one record a shard, in order, over the same sentences."""
    numbers = [record.number for record in records]
    if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
        raise BadData(f"recorded twice: {_named(twice)}")
    if lost := sorted({shard.number for shard in shards} - set(numbers)):
        raise BadData(f"missing: {_named(lost)}; run the extraction again, and they are made")
    if alien := sorted(set(numbers) - {shard.number for shard in shards}):
        raise BadData(f"not in the plan: {_named(alien)}")
    for shard, record in zip(shards, records, strict=True):
        where = f"shard {record.number}"
        if record.plan != plan:
            raise BadData("belongs to another extraction", where=where)
        if (record.number, record.start, record.stop) != (shard.number, shard.start, shard.stop):
            said = f"has sentences {record.start} to {record.stop - 1}"
            raise BadData(f"{said}, where {shard.start} to {shard.stop - 1} are planned", where=where)


def check_edits(records: Sequence[Record]) -> None:
    """Raises BadData for edits that selected no token of any shard: the set would be one that was not edited."""
    with_rows = [set(record.idle_edits) for record in records if record.file]
    if with_rows and (idle := set.intersection(*with_rows)):
        raise BadData("its positions select no token of the corpus", where=f"interventions[{min(idle)}]")


def check_files(directory: Path, records: Sequence[Record]) -> None:
    """Raises BadData, naming the shard, unless each file is what its record says and all come from one model."""
    first = None
    for record in records:
        where = f"shard {record.number}"
        if not record.file:
            continue
        _check_bytes(directory / record.file, record, where)
        with _opened(directory / record.file, where) as part:
            _check_rows(part, record, where)
            first = first or part.description
            if part.description != first:
                raise BadData("does not fit the shards before it: another model or version made it", where=where)


def _check_bytes(path: Path, record: Record, where: str) -> None:
    try:
        size = path.stat().st_size
        if size != record.size_bytes:
            raise BadData(f"{path.name} has {size} bytes instead of {record.size_bytes}", where=where)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadData(f"{path.name} cannot be read: {error.strerror}", where=where) from error
    if digest != record.sha256:
        raise BadData(f"{path.name} has changed since it was written; remove it and run again", where=where)


def _opened(path: Path, where: str) -> ActivationSet:
    try:
        return ActivationSet.open(path)
    except BadData as error:
        raise BadData(error.message, where=where) from error


def _check_rows(part: ActivationSet, record: Record, where: str) -> None:
    if part.rows != record.rows:
        raise BadData(f"has {part.rows} rows instead of {record.rows}", where=where)
    if part.rows and not record.start <= part.sentences[0] <= part.sentences[-1] < record.stop:
        said = f"has rows of sentences {part.sentences[0]} to {part.sentences[-1]}"
        raise BadData(f"{said}, not of {record.start} to {record.stop - 1}", where=where)


def _named(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")
    return f"shard {shown}" if len(numbers) == 1 else f"shards {shown}"
