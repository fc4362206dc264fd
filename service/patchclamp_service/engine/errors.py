"""What can go wrong, as exceptions that know nothing of gRPC.

PatchclampError
├── InvalidRequest       the request is wrong as written; names the field
├── NotFound             a well-formed name of what is not there
├── AlreadyExists        a name, or a request's id, that is taken
├── Unsupported          what is there cannot do, or be done, what is asked
├── BadModel             weights that cannot be loaded: truncated, pickled, a pointer file, not finite
├── DigestMismatch       weights that are not the ones asked for
├── Exhausted            a queue or a budget is full; try again later
├── NotReady             loading or draining; try again elsewhere or later
│   └── Busy             somebody else is at it; try again later
├── Cancelled            a caller wanted no more of it
├── Crashed              work that stopped the server each time it was tried
└── EngineFailure        the engine broke its own rules; details are for the log, not for the caller
"""

from __future__ import annotations

__all__ = [
    "AlreadyExists",
    "BadModel",
    "Busy",
    "Cancelled",
    "Crashed",
    "DigestMismatch",
    "EngineFailure",
    "Exhausted",
    "InvalidRequest",
    "NotFound",
    "NotReady",
    "PatchclampError",
    "Unsupported",
]


class PatchclampError(Exception):
    """Base of all errors a caller may see. `reason` is an UPPER_SNAKE word that stays the same between releases."""

    reason = "INTERNAL"

    def __init__(
        self, message: str, *, reason: str = "", field: str = "", retry_after: float | None = None, quota: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.field = field
        """Path of the offending field in the request: "interventions[0].neurons.indices[2]"; empty: none."""
        self.retry_after = retry_after
        """Seconds after which another try makes sense; None: no use in trying again."""
        self.quota = quota
        """The limit that was met, for Exhausted."""


class InvalidRequest(PatchclampError):
    """The request is wrong as written."""

    reason = "INVALID_REQUEST"


class NotFound(PatchclampError):
    """A well-formed name of what is not there."""

    reason = "NOT_FOUND"


class AlreadyExists(PatchclampError):
    """A name, or the id of a request, that is taken."""

    reason = "ALREADY_EXISTS"


class Unsupported(PatchclampError):
    """What is there cannot do what is asked, or not now."""

    reason = "UNSUPPORTED"


class BadModel(PatchclampError):
    """Weights or configuration that cannot be loaded."""

    reason = "BAD_MODEL"


class DigestMismatch(PatchclampError):
    """Weights that are not the ones that were asked for."""

    reason = "DIGEST_MISMATCH"


class Exhausted(PatchclampError):
    """A queue or a budget is full."""

    reason = "EXHAUSTED"


class NotReady(PatchclampError):
    """Loading or draining."""

    reason = "NOT_READY"


class Busy(NotReady):
    """Somebody else is at it, and has not let go yet."""

    reason = "BUSY"


class Cancelled(PatchclampError):
    """A caller wanted no more of it."""

    reason = "CANCELLED"


class Crashed(PatchclampError):
    """Work that stopped the server each time it was tried."""

    reason = "CRASHED"


class EngineFailure(PatchclampError):
    """The engine broke one of its own rules."""

    reason = "INTERNAL"
