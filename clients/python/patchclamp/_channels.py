"""Opens channels to a server."""

from __future__ import annotations

import json
from typing import TypeAlias, TypedDict

import grpc
import grpc.aio

__all__ = ["TLS", "AsyncChannel", "CallOptions", "Channel", "check_options", "open_async_channel", "open_channel"]

AsyncChannel: TypeAlias = grpc.aio.Channel
Channel: TypeAlias = grpc.Channel

# True: the system's root certificates; for others, or a client certificate: grpc.ssl_channel_credentials(…).
TLS: TypeAlias = bool | grpc.ChannelCredentials

# Activations of a long sentence on every site are large, and so may be another server's chunks.
LARGEST_MESSAGE = 256 << 20
# gRPC makes no more than five attempts, whatever is asked for.
MOST_RETRIES = 4


class CallOptions(TypedDict):
    """What goes with every call: seconds until it fails, and headers."""

    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]


def check_options(timeout: float, keepalive: float | None, retries: int) -> None:
    """Refuses, with ValueError, what gRPC would ignore or turn into something else."""
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout}; it is in seconds and above 0 (math.inf: none)")
    if keepalive is not None and not keepalive > 0:
        raise ValueError(f"keepalive is {keepalive}; it is in seconds and above 0 (None: no pings)")
    if not 0 <= retries <= MOST_RETRIES:
        raise ValueError(f"retries is {retries}; it can be from 0 to {MOST_RETRIES}")


def open_async_channel(target: str, tls: TLS, keepalive: float | None, retries: int) -> grpc.aio.Channel:
    """A channel for the running event loop; connects on first use."""
    options = _options(keepalive, retries)
    if tls is False:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, _credentials(tls), options)


def open_channel(target: str, tls: TLS, keepalive: float | None, retries: int) -> grpc.Channel:
    """A channel for threads; connects on first use."""
    options = _options(keepalive, retries)
    if tls is False:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _credentials(tls), options)


def _credentials(tls: TLS) -> grpc.ChannelCredentials:
    return tls if isinstance(tls, grpc.ChannelCredentials) else grpc.ssl_channel_credentials()


def _options(keepalive: float | None, retries: int) -> list[tuple[str, str | int]]:
    options: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", LARGEST_MESSAGE),
        ("grpc.max_send_message_length", LARGEST_MESSAGE),
        ("grpc.service_config", json.dumps({"methodConfig": [_method_config(retries)]})),
    ]
    if keepalive is not None:
        options.append(("grpc.keepalive_time_ms", round(keepalive * 1000)))
    return options


def _method_config(retries: int) -> dict[str, object]:
    """gRPC's own retries: of UNAVAILABLE alone, and only before the first message of the reply."""
    if retries == 0:
        return {"name": [{}]}
    policy = {
        "maxAttempts": retries + 1,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {"name": [{}], "retryPolicy": policy}
