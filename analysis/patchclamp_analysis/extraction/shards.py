"""An extraction cut into shards: files that several workers write at their own pace, checked before they count.

    plan.json               what is extracted, and where it is cut; written once, before any shard
    shard-00012-9f3c….h5    shard 12, named after its digest: an activation set of consecutive sentences
    shard-00012.json        its record: the file, its rows, its digest
    manifest.json           all records, once every shard was found whole

A worker writes under a name of its own, then renames the file, then its record; each is flushed before it is renamed.
So a worker may die anywhere, and a shard may be made twice, even at once: the record names one file that is whole, and
what it does not name is never read. No two workers write to the same file.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import AnalysisError, BadData
from ..files.json_files import read_json, write_json
from .extractors import Written
from .shard_records import Record, Shard, check_edits, check_files, check_records, cut, read_record

__all__ = ["Record", "Shard", "ShardFolder", "cut"]

_PLAN, _MANIFEST, _FORMAT = "plan.json", "manifest.json", 1
_TRIES = 4


class ShardFolder:
    """The shards of one extraction, in a directory that all workers see."""

    def __init__(self, directory: Path, shards: Sequence[Shard], digest: str) -> None:
        self.directory = directory
        self.shards = tuple(shards)
        self._digest = digest

    @classmethod
    def create(cls, directory: Path, plan: Mapping[str, object], shards: Sequence[Shard]) -> ShardFolder:
        """A new one, or the one that is there, whose shards then count. `plan`: what is extracted, as plain JSON.

        Raises BadData when shards of something else are there: they may be the work of days.
        """
        wanted = {"format": _FORMAT, "plan": dict(plan), "shards": [[shard.start, shard.stop] for shard in shards]}
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / _PLAN).exists() and any(not path.name.startswith(".") for path in directory.iterdir()):
            raise BadData("is a directory of something else than shards", where=str(directory))
        if not any(directory.glob("shard-*.json")):
            write_json(directory / _PLAN, wanted)
        folder = cls.open(directory)
        if folder._digest != _digest(wanted):
            text = f"holds shards of another extraction ({_difference(read_json(directory / _PLAN), wanted)})"
            raise BadData(f"{text}: remove it, or write to another file", where=str(directory))
        return folder

    @classmethod
    def open(cls, directory: Path) -> ShardFolder:
        """The one that is there. Raises BadData when there is none."""
        content = read_json(directory / _PLAN)
        if content.get("format") != _FORMAT:
            text = f"is no plan of format {_FORMAT}, which this version reads"
            raise BadData(text, where=str(directory / _PLAN))
        shards = [Shard(number, start, stop) for number, (start, stop) in enumerate(content["shards"])]
        return cls(directory, shards, _digest(content))

    def store(self, shard: Shard, write: Callable[[Path], Written | None]) -> Record:
        """Has a shard written, unless it is there already. `write` is given the path of a file of its own, and returns
        None when there are no rows to write.

        Raises AnalysisError when this killed its process `_TRIES` times already.
        """
        if there := self.find(shard):
            return there
        dead = len(list(self.directory.glob(f"shard-{shard.number:05d}~*.try")))
        if dead >= _TRIES:
            raise AnalysisError(f"{dead} workers died over it; is there enough memory?", where=f"shard {shard.number}")
        own = self.directory / f"shard-{shard.number:05d}~{secrets.token_hex(8)}"
        own.with_suffix(".try").touch()
        try:
            written = write(own.with_suffix(".h5"))
            record = self._record(shard, written)
            if record.file:
                own.with_suffix(".h5").replace(self.directory / record.file)
            write_json(self._record_path(shard), asdict(record))
        finally:
            for left in self.directory.glob(f"{own.name}.*"):
                left.unlink(missing_ok=True)
        return record

    def forget_tries(self) -> None:
        """Removes what dead workers left; for a new start, when none is at work."""
        for path in self.directory.glob("shard-*~*"):
            path.unlink(missing_ok=True)

    def find(self, shard: Shard) -> Record | None:
        """The record of a shard whose file is there in its full size. What is in the file, `complete` checks."""
        path = self._record_path(shard)
        with suppress(BadData, OSError):
            record = read_record(read_json(path), path.name)
            if record.plan == self._digest and self._is_there(record):
                return record
        return None

    def complete(self) -> tuple[Record, ...]:
        """All records, after a check that every shard is there and whole; writes the manifest.

        Raises BadData that names the shards that are not.
        """
        found = [read_record(read_json(path), path.name) for path in self.directory.glob("shard-*.json")]
        records = self._checked(found)
        write_json(self.directory / _MANIFEST, {"format": _FORMAT, "shards": [asdict(record) for record in records]})
        for path in set(self.directory.glob("shard-*.*")) - {self.directory / record.file for record in records}:
            if path.suffix != ".json":
                path.unlink(missing_ok=True)
        return records

    def manifest(self) -> tuple[Record, ...]:
        """The shards that `complete` has found whole, checked again: files get lost, or change."""
        found = read_json(self.directory / _MANIFEST).get("shards")
        if not isinstance(found, list):
            raise BadData("is no manifest of shards", where=str(self.directory / _MANIFEST))
        return self._checked([read_record(each, _MANIFEST) for each in found])

    def remove(self) -> None:
        """Removes the shards, and the directory if nothing else is in it."""
        for path in (*self.directory.glob("shard-*"), self.directory / _MANIFEST, self.directory / _PLAN):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.directory.rmdir()

    def _checked(self, records: Sequence[Record]) -> tuple[Record, ...]:
        ordered = sorted(records, key=lambda record: record.number)
        check_records(self.shards, ordered, self._digest)
        check_edits(ordered)
        check_files(self.directory, ordered)
        return tuple(ordered)

    def _record(self, shard: Shard, written: Written | None) -> Record:
        here = (shard.number, shard.start, shard.stop)
        if written is None:
            return Record(*here, file="", rows=0, size_bytes=0, sha256="", plan=self._digest)
        done = written.finished
        file = f"shard-{shard.number:05d}-{done.sha256[:16]}.h5"
        return Record(*here, file, done.rows, done.size_bytes, done.sha256, self._digest, written.idle_edits)

    def _is_there(self, record: Record) -> bool:
        return not record.file or (self.directory / record.file).stat().st_size == record.size_bytes

    def _record_path(self, shard: Shard) -> Path:
        return self.directory / f"shard-{shard.number:05d}.json"


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    old, new = found["plan"], wanted["plan"]
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return f"other {', '.join(changed)}" if changed else "cut at other places"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
