"""ModelService: which models are served, and where their neurons are."""

from __future__ import annotations

from typing import Any

import grpc
from patchclamp.v1 import models_pb2, models_pb2_grpc

from patchclamp_service.engine.errors import InvalidRequest
from patchclamp_service.engine.requests import Limits, ModelInfo
from patchclamp_service.servicers.registry import Registry

__all__ = ["ModelServicer"]

_PAGE_SIZE = 100


class ModelServicer(models_pb2_grpc.ModelServiceServicer):
    """Answers from the engines' own descriptions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> models_pb2.ListModelsResponse:
        """A page of models; the token of a page is the name of the last model before it."""
        engines = {engine.info.name: engine for engine in self._registry.engines()}
        names = _after(request.page_token, list(engines))
        size = request.page_size or _PAGE_SIZE
        page = [summary(engines[name].info, engines[name].limits) for name in names[:size]]
        following = names[size - 1] if len(names) > size else ""
        return models_pb2.ListModelsResponse(models=page, next_page_token=following)

    async def GetModel(
        self, request: models_pb2.GetModelRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> models_pb2.Model:
        """One model in full."""
        engine = self._registry.resolve(request.name, "name")
        return description(engine.info, engine.limits)


def _after(token: str, names: list[str]) -> list[str]:
    if not token:
        return names
    if token not in names:
        raise InvalidRequest("page_token is none that this server gave out", field="page_token")
    return names[names.index(token) + 1 :]


def summary(info: ModelInfo, limits: Limits) -> models_pb2.Model:
    """A model without sites and modules."""
    kind = models_pb2.MODEL_KIND_DECODER if info.is_decoder else models_pb2.MODEL_KIND_ENCODER
    return models_pb2.Model(
        name=f"models/{info.name}",
        architecture=info.architecture,
        family=info.family,
        kind=kind,
        digest=info.digest,
        dtype=info.dtype,
        device=info.device,
        layer_count=info.layers,
        hidden_size=info.hidden_size,
        vocabulary_size=info.vocabulary_size,
        parameter_count=info.parameters,
        limits=_limits(limits),
        packed=info.packed,
    )


def description(info: ModelInfo, limits: Limits) -> models_pb2.Model:
    """A model with everything that can be named in it."""
    model = summary(info, limits)
    model.sites.extend(models_pb2.Site(name=site.name, width=site.width, module=site.module) for site in info.sites)
    model.refused_sites.extend(
        models_pb2.RefusedSite(name=site.name, reason=site.reason) for site in info.refused_sites
    )
    model.modules.extend(
        models_pb2.Module(
            path=module.path, type=module.type, input_width=module.input_width, output_width=module.output_width
        )
        for module in info.modules
    )
    return model


def _limits(limits: Limits) -> models_pb2.Limits:
    """The fields of the message are those of the engine's limits that concern a caller."""
    names = (field.name for field in models_pb2.Limits.DESCRIPTOR.fields)
    return models_pb2.Limits(**{name: getattr(limits, name) for name in names})
