"""A patchclamp service of the demo's own."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["running_service"]

MODEL = "smollm2-135m"
READY = "patchclamp listening on "
SECONDS_TO_STOP = 10


@contextmanager
def running_service() -> Iterator[str]:
    """Starts the service on a free port and stops it at the end; gives its address.

    Raises:
        RuntimeError: It ended before it was ready; with the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="patchclamp-demo-") as directory:
        log = Path(directory) / "service.log"
        process = start(Path(directory), log)
        try:
            yield address_of(process, log)
        finally:
            stop(process)


def start(directory: Path, log: Path) -> subprocess.Popen[str]:
    """The service as a process of its own, as `make serve` starts it."""
    command = [sys.executable, "-m", "patchclamp_service", "--model", MODEL]
    command += ["--listen", "127.0.0.1:0", "--data-dir", str(directory)]
    with log.open("w") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603


def address_of(process: subprocess.Popen[str], log: Path) -> str:
    """Waits for the line that says where it listens."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
    raise RuntimeError(f"the service did not start:\n{log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[str]) -> None:
    """Asks it to drain, and does not wait for ever."""
    process.terminate()
    try:
        process.communicate(timeout=SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
