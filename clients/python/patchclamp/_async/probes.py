"""Probes on the server."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

from functools import cached_property

from patchclamp._async.connection import AsyncConnection
from patchclamp._probes import Probe
from patchclamp._resources import name_of
from patchclamp._status import status_errors
from patchclamp.v1 import analysis_pb2, analysis_pb2_grpc

__all__ = ["AsyncProbes"]


class AsyncProbes:
    """Probes that the server keeps: `client.analysis.probes`.

    Wherever one is wanted, its name ("probes/upos") or a `Probe` is accepted.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, name: str | Probe, *, timeout: float | None = None) -> Probe:
        """One probe.

        Args:
            name: "probes/upos".
            timeout: Seconds for the call; None: the client's.
        """
        request = analysis_pb2.GetProbeRequest(name=name_of(name))
        with status_errors():
            return Probe.from_proto(await self._stub.GetProbe(request, **self._connection.options(timeout)))

    async def list(self, *, timeout: float | None = None) -> tuple[Probe, ...]:
        """The probes that are complete, ordered by name.

        Args:
            timeout: Seconds for each page of them; None: the client's.
        """
        found: tuple[Probe, ...] = ()
        request = analysis_pb2.ListProbesRequest()
        while True:
            with status_errors():
                response = await self._stub.ListProbes(request, **self._connection.options(timeout))
            found += tuple(map(Probe.from_proto, response.probes))
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def delete(self, probe: str | Probe, *, timeout: float | None = None) -> None:
        """Removes a probe.

        Args:
            probe: The probe.
            timeout: Seconds for the call; None: the client's.

        Raises:
            FailedPrecondition: An operation is reading it.
        """
        request = analysis_pb2.DeleteProbeRequest(name=name_of(probe))
        with status_errors():
            await self._stub.DeleteProbe(request, **self._connection.options(timeout))

    @cached_property
    def _stub(self) -> analysis_pb2_grpc.AnalysisServiceAsyncStub:
        return analysis_pb2_grpc.AnalysisServiceStub(self._connection.channel)
