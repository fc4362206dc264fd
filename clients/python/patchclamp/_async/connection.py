"""The way to a server, which everything of a client shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

from patchclamp._channels import TLS, AsyncChannel, CallOptions, check_options, open_async_channel

__all__ = ["AsyncConnection"]


class AsyncConnection:
    """A channel that is opened on first use, and what goes with every call.

    Attributes:
        timeout: Seconds until a call fails that brings no timeout of its own.
        retries: Further tries of calls that find no server.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        target: str,
        timeout: float,
        tls: TLS,
        keepalive: float | None,
        retries: int,
        metadata: Mapping[str, str | bytes] | None,
    ) -> None:
        check_options(timeout, keepalive, retries)
        self.retries = retries
        self._target = target
        self.timeout = timeout
        self._tls = tls
        self._keepalive = keepalive
        self._metadata = tuple((metadata or {}).items())
        self._closed = False

    @cached_property
    def channel(self) -> AsyncChannel:
        """The channel."""
        # Not in the constructor: an asynchronous channel belongs to the event loop that runs when it is made.
        return open_async_channel(self._target, self._tls, self._keepalive, self.retries)

    def options(self, timeout: float | None) -> CallOptions:
        """What goes with a call.

        Args:
            timeout: Seconds until it fails; None: the client's, `math.inf`: never.

        Raises:
            RuntimeError: The client is closed.
        """
        if self._closed:
            raise RuntimeError(f"the client of {self._target} is closed")
        seconds = self.timeout if timeout is None else timeout
        return CallOptions(timeout=None if math.isinf(seconds) else seconds, metadata=self._metadata)

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._closed = True
        if "channel" in self.__dict__:
            await self.channel.close(grace=None)
