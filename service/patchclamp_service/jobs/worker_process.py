"""The other side of workers.py: a process that does one piece of work and ends.

On stdin comes the work, on what was stdout go progress and the outcome. When stdin ends, the server has died, and
so does this process with all that it started.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from patchclamp_service.store.staging import disk_space

__all__ = ["Failed", "OutOfMemory", "Report", "Reported", "Returned", "Work", "framed", "main", "read_frame"]

Report = Callable[..., None]
"""report(stage, done=0, total=0, unit=""): how far the work is."""

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: the function, called with a Report and its arguments, pickled; and how far it may go."""

    call: bytes
    data_bytes: int
    niceness: int


@dataclass(frozen=True, slots=True)
class Reported:
    """How far the work is."""

    stage: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class Returned:
    """What the function returned."""

    value: object


@dataclass(frozen=True, slots=True)
class Failed:
    """What it raised, where that can be sent; and the trace of it, for the log."""

    error: BaseException | None
    trace: str


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """It asked for more memory than there is for it."""


def framed(message: object) -> bytes:
    """A message with its length before it."""
    data = pickle.dumps(message)
    return _LENGTH.pack(len(data)) + data


def read_frame(stream: BinaryIO) -> object:
    """The next message. Raises EOFError."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return pickle.loads(stream.read(_LENGTH.unpack(head)[0]))  # noqa: S301 - from the server that started us


def main() -> None:
    """Does the work that stdin says."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the work prints must not come between the messages
    work = read_frame(sys.stdin.buffer)
    assert isinstance(work, Work)
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    os.nice(work.niceness)
    resource.setrlimit(resource.RLIMIT_DATA, (work.data_bytes, work.data_bytes))
    lock = threading.Lock()

    def send(message: object) -> None:
        data = framed(message)
        with lock:
            answers.write(data)
            answers.flush()

    def report(stage: str, done: int = 0, total: int = 0, unit: str = "") -> None:
        send(Reported(stage, done, total, unit))

    _answer(work, report, send)
    answers.close()
    sys.stderr.flush()
    os._exit(0)  # waits for no thread that the work has left


def _answer(work: Work, report: Report, send: Callable[[object], None]) -> None:
    try:
        function, arguments = pickle.loads(work.call)  # noqa: S301
        with disk_space():
            value = function(report, *arguments)
        send(Returned(value))
    except MemoryError:
        send(OutOfMemory())
    except Exception as error:
        trace = traceback.format_exc()
        try:
            data = framed(Failed(error, trace))
            pickle.loads(data[_LENGTH.size :])  # noqa: S301 - an exception may pickle and not come back
        except Exception:
            send(Failed(None, trace))
        else:
            send(Failed(error, trace))


def _end_with_the_server() -> None:
    os.read(0, 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)
