"""Keeps count of what was done to activations while a set is written, across restarts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from patchclamp_service.engine.requests import AppliedEdit, Receipt

__all__ = ["Receipts"]


@dataclass(slots=True)
class Receipts:
    """What the edits of a set did at its rows up to `rows`, in a file beside the set; without edits there is none.

    An engine counts by requests of many sentences. So the counts are known at the ends of such requests only, and
    whoever goes on after a restart begins at the last of those.
    """

    path: Path
    digest: str
    edits: tuple[AppliedEdit, ...]
    rows: int = 0

    @classmethod
    def open(cls, target: Path, digest: str, edits: int) -> Receipts:
        """What is known of the set at `target`; nothing if it had other edits."""
        path = target.with_name(f"{target.name}.receipt")
        none = cls(path, digest, tuple(AppliedEdit() for _ in range(edits)))
        try:
            raw = json.loads(path.read_bytes())
        except FileNotFoundError:
            return none
        if raw["digest"] != digest or len(raw["edits"]) != edits:
            return none
        return cls(path, digest, tuple(AppliedEdit(*counts) for counts in raw["edits"]), raw["rows"])

    @property
    def receipt(self) -> Receipt:
        """As an engine gives it."""
        return Receipt(self.digest, self.edits)

    def reset(self) -> None:
        """Begins anew."""
        self.edits, self.rows = tuple(AppliedEdit() for _ in self.edits), 0

    def add(self, receipt: Receipt, rows: int) -> None:
        """Adds what was done in a request that ends before row `rows`."""
        for mine, new in zip(self.edits, receipt.edits, strict=True):
            mine.positions_edited += new.positions_edited
            mine.gate_firings += new.gate_firings
        self.rows = rows

    def save(self) -> None:
        """Makes them durable; the rows must be."""
        if not self.edits:
            return
        counts = [(edit.positions_edited, edit.gate_firings) for edit in self.edits]
        partial = self.path.with_name(f"{self.path.name}.part")
        with partial.open("w") as file:
            json.dump({"digest": self.digest, "rows": self.rows, "edits": counts}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)

    def remove(self) -> None:
        """Removes the file, once the counts are kept elsewhere."""
        self.path.unlink(missing_ok=True)
