"""Which engines there are, and whether the server takes requests."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

from patchclamp_service.engine.errors import InvalidRequest, NotFound, NotReady

if TYPE_CHECKING:  # the engine brings torch, which is imported while the port is bound already
    from patchclamp_service.engine.engine import Engine

__all__ = ["Registry", "State"]

_NAME = re.compile(r"models/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class State(enum.Enum):
    """Where the server is in its life."""

    LOADING = "loading its models"
    SERVING = "serving"
    DRAINING = "draining; it will stop"


class Registry:
    """The engines by name of their model. The first added is the default."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}
        self.state = State.LOADING

    def add(self, engine: Engine) -> None:
        """Hosts one more model."""
        self._engines[engine.info.name] = engine

    def engines(self) -> list[Engine]:
        """All engines, ordered by name. Raises NotReady unless serving."""
        self._refuse_unless_serving()
        return self.hosted()

    def hosted(self) -> list[Engine]:
        """The same, whatever the state."""
        return [self._engines[name] for name in sorted(self._engines)]

    def resolve(self, name: str, field: str = "model") -> Engine:
        """The engine of "models/x"; "" is the default. Raises InvalidRequest, NotReady or NotFound."""
        if name and not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"{field}: {name!r} is no resource name; it should look like 'models/smollm2-135m'",
                reason="INVALID_NAME",
                field=field,
            )
        self._refuse_unless_serving()
        short = name.removeprefix("models/") or next(iter(self._engines))
        if short not in self._engines:
            raise NotFound(f"this server has no model {name!r}", reason="MODEL_NOT_FOUND", field=field)
        return self._engines[short]

    def _refuse_unless_serving(self) -> None:
        if self.state is not State.SERVING:
            raise NotReady(f"the server is {self.state.value}", reason=self.state.name, retry_after=1.0)
