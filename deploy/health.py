"""Asks the service in this container whether it serves; the exit code says it. It finds it by the same environment.

With TLS the certificate that the service shows must be the one in its own file, whatever name is in it.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT = 4


def main() -> int:
    """0: it serves. 1: it does not, and a line says why."""
    host, _, port = os.environ.get("PATCHCLAMP_LISTEN", "127.0.0.1:8470").rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - where it listens, not us
    try:
        with _channel(f"{host}:{port}", os.environ.get("PATCHCLAMP_TLS_CERT", "")) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    except grpc.RpcError as error:
        return _no(f"{error.code().name}: {error.details()}")
    except OSError as error:
        return _no(str(error))
    serving = health_pb2.HealthCheckResponse.SERVING
    return 0 if answer.status == serving else _no(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(target: str, certificate: str) -> grpc.Channel:
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if not certificate:
        return grpc.insecure_channel(target, options)
    with open(certificate, "rb") as file:  # noqa: PTH123 - starts without pathlib
        credentials = grpc.ssl_channel_credentials(file.read())
    options.append(("grpc.ssl_target_name_override", _name(target, certificate)))
    return grpc.secure_channel(target, credentials, options)


def _name(target: str, certificate: str) -> str:
    """A name that the certificate is made out to."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    host, _, port = target.rpartition(":")
    with (
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT) as plain,
        context.wrap_socket(plain) as connection,
    ):
        names: Any = (connection.getpeercert() or {}).get("subjectAltName", ())
    return next((name.replace("*", "any") for kind, name in names if kind in ("DNS", "IP Address")), "localhost")


def _no(why: str) -> int:
    sys.stderr.write(f"not serving: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
