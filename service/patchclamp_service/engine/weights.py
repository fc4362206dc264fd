"""Checks of a model directory before anything in it is loaded, and its digest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from .errors import BadModel

__all__ = ["check_config", "checked_weights", "digest_of", "model_files"]

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_LFS = b"version https://git-lfs.github.com/spec/"
_LARGEST_HEADER = 100_000_000
_DESCRIPTIONS = (
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


def check_config(directory: Path) -> None:
    """BadModel unless config.json describes an architecture of transformers itself, and no code comes with it."""
    config = _json(directory / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise BadModel("config.json names no model_type")
    if "quantization_config" in config:
        raise BadModel("config.json describes quantised weights, which are not supported yet: use the originals")
    for name in ("config.json", "tokenizer_config.json"):
        if (directory / name).exists() and "auto_map" in _json(directory / name):
            raise BadModel(
                f"{name} asks for code of its own (auto_map), and code that comes with a model is never run. If "
                f"transformers' own {config['model_type']} fits the weights, take auto_map out of {name}"
            )


def checked_weights(directory: Path) -> list[Path]:
    """The safetensors files that will be loaded, each whole; BadModel says which one is not, and why."""
    files = _weight_files(directory)
    for file in files:
        _check_whole(file)
    return files


def model_files(directory: Path) -> list[Path]:
    """All files that decide what the model does: weights, configuration and tokenizer."""
    descriptions = (directory / name for name in _DESCRIPTIONS)
    return [*_weight_files(directory), *(file for file in descriptions if file.exists())]


def digest_of(files: Sequence[Path], cache: Path) -> str:
    """SHA-256, in hexadecimal, of what `sha256sum` prints for the files in order of their names.

    Kept in the cache under size, time and inode of the files, so that an unchanged model is read only once.
    """
    files = sorted(files, key=lambda file: file.name)
    status = [(str(file.resolve()), s.st_size, s.st_mtime_ns, s.st_ino) for file in files for s in [file.stat()]]
    kept = cache / "digests" / hashlib.sha256(json.dumps(status).encode()).hexdigest()
    with contextlib.suppress(OSError):
        return kept.read_text()
    listing = "".join(f"{_sha256(file)}  {file.name}\n" for file in files)
    digest = hashlib.sha256(listing.encode()).hexdigest()
    with contextlib.suppress(OSError):  # a cache that cannot be written, as in a read-only image, only costs time
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(digest)
        part.replace(kept)
    return digest


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _weight_files(directory: Path) -> list[Path]:
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        return _shards(index)
    pickled = sorted(file.name for file in directory.iterdir() if file.suffix in _PICKLED)
    if pickled:
        raise BadModel(
            f"the weights are pickled ({pickled[0]}), and loading a pickle runs whatever code is in it: "
            "convert them to model.safetensors"
        )
    raise BadModel("there are no weights: neither model.safetensors nor model.safetensors.index.json is there")


def _shards(index: Path) -> list[Path]:
    places = _json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise BadModel(f"{index.name} has no weight_map")
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise BadModel(f"{index.name} names {name!r}, which is no safetensors file beside it")
        if not (index.parent / name).exists():
            raise BadModel(f"{name} is missing: {index.name} spreads the weights over {len(names)} files")
    return [index.parent / name for name in names]


def _check_whole(file: Path) -> None:
    """The header of a safetensors file says where each tensor ends; the last one must end with the file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(_LFS))
        if start == _LFS:
            raise BadModel(f"{file.name} is a Git LFS pointer, not the weights: fetch them with `git lfs pull`")
        header_size = int.from_bytes(start[:8], "little")
        if size < 8 or header_size > min(size - 8, _LARGEST_HEADER):
            raise BadModel(f"{file.name} is no safetensors file, or was cut off within its header ({size} bytes)")
        stream.seek(8)
        ends = _ends(file.name, stream.read(header_size))
    expected = 8 + header_size + max(ends, default=0)
    if size != expected:
        raise BadModel(f"{file.name} is truncated or damaged: it has {size} bytes where its header says {expected}")


def _ends(name: str, header: bytes) -> list[int]:
    try:
        entries = json.loads(header)
        return [int(entry["data_offsets"][1]) for key, entry in entries.items() if key != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadModel(f"{name} is no safetensors file: its header cannot be read") from error


def _json(file: Path) -> dict[str, object]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise BadModel(f"{file.name} is missing") from None
    except ValueError as error:
        raise BadModel(f"{file.name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadModel(f"{file.name} is not a JSON object")
    return content
