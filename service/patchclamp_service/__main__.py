"""`patchclamp serve`, also as `python -m patchclamp_service`."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from patchclamp_service import logs
from patchclamp_service.engine.errors import PatchclampError
from patchclamp_service.flags import parse_flags
from patchclamp_service.native_libraries import prepare_environment
from patchclamp_service.server import serve
from patchclamp_service.settings import BadSetting, Settings, load_settings

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Serves until SIGTERM or SIGINT; the exit code: 0 stopped, 1 could not start, 2 a bad setting."""
    prepare_environment()
    try:
        settings = load_settings(parse_flags(argv))
    except BadSetting as error:
        return _fail(str(error), 2)
    except SystemExit as stopped:  # --help, or a flag that is none
        return int(stopped.code or 0)
    logs.configure(settings.log_level, settings.log_format)
    try:
        asyncio.run(_until_signalled(settings))
    except BadSetting as error:
        return _fail(str(error), 2)
    except PatchclampError as error:
        return _fail(error.message, 1)
    except OSError as error:
        return _fail(str(error), 1)
    except Exception as error:
        structlog.get_logger(__name__).exception("failed")
        return _fail(f"{type(error).__name__}: {error}", 1)
    return 0


async def _until_signalled(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop, _announce)


def _announce(address: str, metrics_address: str) -> None:
    sys.stdout.write(f"patchclamp listening on {address}\n")
    if metrics_address:
        sys.stdout.write(f"patchclamp metrics on http://{metrics_address}/metrics\n")
    sys.stdout.flush()


def _fail(line: str, code: int) -> int:
    sys.stderr.write(f"patchclamp serve: {line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
