"""What was done to the activations, as the server vouches for it."""

from __future__ import annotations

from dataclasses import dataclass

from patchclamp.v1 import intervention_pb2

__all__ = ["Applied", "AppliedEdit"]


@dataclass(frozen=True, slots=True)
class AppliedEdit:
    """What one intervention did.

    Attributes:
        positions_edited: Token positions at which it was applied, after its condition.
        gate_firings: Positions at which its condition held; 0 without one.
    """

    positions_edited: int
    gate_firings: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The receipt of a request's interventions.

    Attributes:
        sets: Named sets with their resolved revision: "interventionSets/debias-gender@3".
        digest: SHA-256 of the canonical edits; equal edits, equal digest. Empty without edits.
        edits: One entry an intervention, in order.
        model_digest: Digest of the model that ran, as in `Model.digest`.
    """

    sets: tuple[str, ...] = ()
    digest: str = ""
    edits: tuple[AppliedEdit, ...] = ()
    model_digest: str = ""

    @classmethod
    def from_proto(cls, message: intervention_pb2.AppliedInterventions) -> Applied:
        """From the wire's form."""
        edits = tuple(AppliedEdit(edit.positions_edited, edit.gate_firings) for edit in message.edits)
        return cls(tuple(message.sets), message.digest, edits, message.model_digest)
