"""A forward pass that is watched: which module end carries what, in which order, how often.

The same rule as at run time says which tensor an end carries: the first positional argument (without any, the first
tensor among the named ones), and the output or the first of several.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

__all__ = ["End", "Firing", "Observation", "Place", "Recording", "decoder_path", "record", "record_at"]

End = Literal["input", "output"]

# The decoder of an encoder-decoder gets fewer tokens, so that it is seen who reads which.
_FEWER = 1


class Place(NamedTuple):
    """One end of a module."""

    path: str
    end: End


@dataclass(frozen=True, slots=True)
class Firing:
    """One time that a module end carried something. `width` 0: not one row a token, for the reason in `why`."""

    order: int
    width: int
    why: str = ""


@dataclass(slots=True, eq=False)
class Recording:
    """Firings of every module end, call by call, and copies of what the kept ones carried, [rows × tokens, width]."""

    firings: dict[Place, list[Firing]] = field(default_factory=lambda: defaultdict(list))
    values: dict[tuple[Place, int], Tensor] = field(default_factory=dict)


class Observation:
    """What two passes of different shape agree on; values are those of the longer one."""

    def __init__(self, module: PreTrainedModel, *, keep: Container[str] = ()) -> None:
        self._long = record(module, keep=keep, rows=2, tokens=7)
        self._short = record(module, rows=1, tokens=5)

    def firings(self, path: str, end: End) -> list[Firing]:
        """What a module end carried, call by call; what was so in one pass only has width 0."""
        long, short = (seen.firings.get(Place(path, end), []) for seen in (self._long, self._short))
        if len(long) != len(short):
            return [Firing(0, 0, "how often it is called depends on the length of the text")]
        return [
            one if one.width == other.width else Firing(one.order, 0, one.why or other.why or "its width varies")
            for one, other in zip(long, short, strict=True)
        ]

    def value(self, path: str, end: End, call: int) -> Tensor:
        """What a kept module end carried in one of its calls, [rows × tokens, width]; empty if not a row a token."""
        return self._long.values.get((Place(path, end), call), torch.empty(0))


def record(module: PreTrainedModel, *, keep: Container[str] = (), rows: int = 2, tokens: int = 7) -> Recording:
    """Runs `rows` × `tokens` arbitrary tokens through the model. `keep` names the modules whose values are copied:
    Falcon adds to an output in place after it was returned. No hook is left behind, after an error neither."""
    recording = Recording()
    decoder = decoder_path(module)
    order = iter(range(1_000_000_000))

    def see(place: Place, value: object) -> None:
        firings = recording.firings[place]
        fewer = _FEWER if decoder and f"{place.path}.".startswith(decoder) else 0
        width, why = _width(value, rows, tokens - fewer)
        if width and place.path in keep and isinstance(value, Tensor):
            recording.values[place, len(firings)] = value.detach().reshape(-1, width).clone()
        firings.append(Firing(next(order), width, why))

    with _watched(module, see), torch.no_grad():
        module(**_arguments(module, rows, tokens))
    return recording


def record_at(module: PreTrainedModel, place: Place, **inputs: Tensor) -> Tensor:
    """What one module end carries in a forward pass over one sequence, [tokens, width]."""
    seen: list[Tensor] = []

    def see(at: Place, value: object) -> None:
        if at == place and isinstance(value, Tensor):
            seen.append(value.detach().flatten(0, -2).clone())

    with _watched(module, see), torch.no_grad():
        module(**inputs, use_cache=False)
    return seen[0]


def decoder_path(module: PreTrainedModel) -> str:
    """Where the decoder of an encoder-decoder is, with a dot behind; "" of other models."""
    if not module.config.is_encoder_decoder:
        return ""
    decoder = module.get_decoder()  # type: ignore[no-untyped-call]
    return next(f"{path}." for path, child in module.named_modules() if child is decoder)


@contextmanager
def _watched(module: PreTrainedModel, see: Callable[[Place, object], None]) -> Iterator[None]:
    handles: list[RemovableHandle] = []
    try:
        for path, child in module.named_modules():
            handles.append(child.register_forward_pre_hook(_on_input(path, see), with_kwargs=True))
            handles.append(child.register_forward_hook(_on_output(path, see)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_input(path: str, see: Callable[[Place, object], None]) -> Callable[..., None]:
    def hook(_module: object, arguments: tuple[object, ...], options: dict[str, object]) -> None:
        named = (value for value in options.values() if isinstance(value, Tensor))
        see(Place(path, "input"), arguments[0] if arguments else next(named, None))

    return hook


def _on_output(path: str, see: Callable[[Place, object], None]) -> Callable[..., None]:
    def hook(_module: object, _arguments: object, output: object) -> None:
        see(Place(path, "output"), output[0] if isinstance(output, tuple) and output else output)

    return hook


def _width(value: object, rows: int, tokens: int) -> tuple[int, str]:
    if not isinstance(value, Tensor):
        return 0, "it carries no tensor"
    if not value.is_floating_point():
        return 0, "it carries whole numbers"
    if value.shape[:-1] in ((rows, tokens), (rows * tokens,)):
        return value.shape[-1], ""
    shape = " × ".join(map(str, value.shape))
    return 0, f"it carries {shape} values for {rows} × {tokens} tokens, not one row for each token"


def _arguments(module: PreTrainedModel, rows: int, tokens: int) -> dict[str, Any]:
    """Tokens are taken from the middle of the vocabulary, where no padding is; logits are asked for the last alone,
    which is how the engine asks, so that what lies behind the blocks is seen not to have every token."""
    vocabulary: int = module.config.vocab_size
    ids = (vocabulary // 2 + torch.arange(rows * tokens)) % vocabulary
    arguments: dict[str, Any] = {"input_ids": ids.view(rows, tokens).to(module.device)}
    known = inspect.signature(module.forward).parameters
    arguments |= {k: v for k, v in (("use_cache", False), ("logits_to_keep", 1)) if k in known}
    if module.config.is_encoder_decoder:
        arguments["decoder_input_ids"] = arguments["input_ids"].flip(1)[:, : tokens - _FEWER]
    return arguments
