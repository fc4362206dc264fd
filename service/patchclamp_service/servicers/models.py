"""ModelService: which models are served, and where their neurons are."""

from __future__ import annotations

from typing import Any

import grpc
from patchclamp.v1 import models_pb2, models_pb2_grpc

from patchclamp_service.engine.requests import Head, Limits, ModelInfo, ModelKind
from patchclamp_service.registry import Registry
from patchclamp_service.store.pages import last_seen, page_token

__all__ = ["ModelServicer"]

_COLLECTION = "models"
_PAGE_SIZE = 100
_KINDS = {
    ModelKind.DECODER: models_pb2.MODEL_KIND_DECODER,
    ModelKind.ENCODER: models_pb2.MODEL_KIND_ENCODER,
    ModelKind.ENCODER_DECODER: models_pb2.MODEL_KIND_ENCODER_DECODER,
}
_HEADS = {
    Head.NONE: models_pb2.MODEL_HEAD_UNSPECIFIED,
    Head.LANGUAGE: models_pb2.MODEL_HEAD_LANGUAGE,
    Head.MASKED_LANGUAGE: models_pb2.MODEL_HEAD_MASKED_LANGUAGE,
    Head.SEQUENCE_CLASSIFICATION: models_pb2.MODEL_HEAD_SEQUENCE_CLASSIFICATION,
    Head.TOKEN_CLASSIFICATION: models_pb2.MODEL_HEAD_TOKEN_CLASSIFICATION,
}


class ModelServicer(models_pb2_grpc.ModelServiceServicer):
    """Answers from the engines' own descriptions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> models_pb2.ListModelsResponse:
        """A page of models, ordered by name."""
        engines = {engine.info.name: engine for engine in self._registry.engines()}
        after = last_seen(_COLLECTION, request.page_token)
        names = [name for name in engines if name > after]
        size = request.page_size or _PAGE_SIZE
        page = [summary(engines[name].info, engines[name].limits) for name in names[:size]]
        following = page_token(_COLLECTION, names[size - 1]) if len(names) > size else ""
        return models_pb2.ListModelsResponse(models=page, next_page_token=following)

    async def GetModel(
        self, request: models_pb2.GetModelRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> models_pb2.Model:
        """One model in full."""
        engine = self._registry.resolve(request.name, "name")
        return description(engine.info, engine.limits)


def summary(info: ModelInfo, limits: Limits) -> models_pb2.Model:
    """A model without sites and modules."""
    return models_pb2.Model(
        name=f"models/{info.name}",
        architecture=info.architecture,
        family=info.family,
        kind=_KINDS[info.kind],
        digest=info.digest,
        dtype=info.dtype,
        device=info.device,
        layer_count=info.layers,
        hidden_size=info.hidden_size,
        vocabulary_size=info.vocabulary_size,
        parameter_count=info.parameters,
        limits=_limits(limits),
        packed=info.packed,
        head=_HEADS[info.head],
        labels=info.labels,
        mask_token=info.mask_token,
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
