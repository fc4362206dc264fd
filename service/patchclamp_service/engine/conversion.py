"""GGUF files become safetensors once: half a minute the first time, half a second ever after."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from .errors import DigestMismatch
from .weights import digest_of, model_files

__all__ = ["built_once", "converted"]

_DIGEST = "digest.txt"


def converted(gguf: Path, digest: str, cache: Path) -> Path:
    """The directory of the converted file, which is `digest` in content; converts if nobody has yet.

    DigestMismatch if the converted files were changed since.
    """
    versions = "\n".join([digest, *(version(package) for package in ("transformers", "gguf"))])
    key = hashlib.sha256(versions.encode()).hexdigest()[:16]
    directory = built_once(cache / "models" / f"{gguf.stem.lower()}-{key}", lambda part: _convert(gguf, part, cache))
    if (directory / _DIGEST).read_text() != digest_of(model_files(directory), cache):
        raise DigestMismatch(f"its conversion in the cache was changed: delete {directory.name}, it will be made again")
    return directory


def built_once(target: Path, build: Callable[[Path], None]) -> Path:
    """The directory `target`, filled by `build` if it is not there; whole or not there at all, whatever happens.

    Others that want the same wait for the first. What a killed one left behind is cleared by the next.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with _locked(target.with_name(f".{target.name}.lock")):
        if target.is_dir():
            return target
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            build(part)
            _sync(part)
            part.rename(target)
            _sync(target.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """The system lets go of the lock when its holder dies."""
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _sync(directory: Path) -> None:
    for path in [*directory.iterdir(), directory]:
        if path.is_dir() and path != directory:
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _convert(gguf: Path, part: Path, cache: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    module = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    module.save_pretrained(part)
    tokenizer.save_pretrained(part)
    for file in part.iterdir():
        file.chmod(0o644)
    (part / _DIGEST).write_text(digest_of(model_files(part), cache))
