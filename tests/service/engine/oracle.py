"""What the engine must equal: plain transformers with hooks written by hand, the whole text run anew at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from patchclamp_service.engine.site_map import Site
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class OracleEdit:
    """`change(values)` for the neurons of a site where `where(position)` holds."""

    site: Site
    indices: Sequence[int]
    change: Callable[[Tensor], Tensor]
    where: Callable[[int], bool] = lambda position: True


@contextmanager
def edited(
    edits: Sequence[OracleEdit], captured: dict[str, Tensor] | None = None, sites: Sequence[Site] = ()
) -> Iterator[None]:
    """Hooks for single, unpadded sequences [1, tokens, width]. Sites of shared modules count their calls."""
    handles = []
    calls: dict[tuple[int, str], int] = {}
    named = {site.name: site for site in [*(edit.site for edit in edits), *sites]}
    points: dict[tuple[torch.nn.Module, str], list[Site]] = {}
    for site in named.values():
        points.setdefault((site.module, site.end), []).append(site)

    def visit(point: tuple[torch.nn.Module, str], values: Tensor) -> Tensor:
        key = (id(point[0]), point[1])
        call = calls.get(key, 0)
        calls[key] = call + 1
        for site in points[point]:
            if site.call != call:
                continue
            shape = values.shape
            flat = values.reshape(-1, shape[-1]).clone()
            for edit in edits:
                if edit.site.name == site.name:
                    rows = [row for row in range(len(flat)) if edit.where(row)]
                    for row in rows:
                        flat[row, list(edit.indices)] = edit.change(flat[row, list(edit.indices)])
            if captured is not None and site in sites:
                captured[site.name] = flat.clone()
            values = flat.view(shape)
        return values

    for point in points:
        module, end = point
        if end == "output":

            def after(_m: object, _a: object, output: object, point: tuple[torch.nn.Module, str] = point) -> object:
                if isinstance(output, tuple):
                    return (visit(point, output[0]), *output[1:])
                return visit(point, output)  # type: ignore[arg-type]

            handles.append(module.register_forward_hook(after))
        else:

            def before(
                _m: object,
                arguments: tuple[Tensor, ...],
                options: dict[str, Tensor],
                point: tuple[torch.nn.Module, str] = point,
            ) -> object:
                if arguments:
                    return (visit(point, arguments[0]), *arguments[1:]), options
                name = next(name for name, value in options.items() if isinstance(value, Tensor))
                return arguments, options | {name: visit(point, options[name])}

            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()


def logits(module: PreTrainedModel, ids: Sequence[int], edits: Sequence[OracleEdit] = ()) -> Tensor:
    """Logits of every position, [tokens, vocabulary]."""
    with edited(edits):
        output = module(torch.tensor([list(ids)], device=module.device), use_cache=False)
    found: Tensor = output.logits[0].float()
    return found


def greedy(
    module: PreTrainedModel, ids: Sequence[int], count: int, edits: Sequence[OracleEdit] = ()
) -> tuple[list[int], list[float]]:
    """`count` greedy tokens and their log-probabilities."""
    text = list(ids)
    found = []
    for _ in range(count):
        last = torch.log_softmax(logits(module, text, edits)[-1], -1)
        text.append(int(last.argmax()))
        found.append(float(last.max()))
    return text[len(ids) :], found
