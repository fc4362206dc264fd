"""Interventions on the wire → the engine's, with the means of activation sets that they refer to."""

from __future__ import annotations

from collections.abc import Sequence

from patchclamp.v1 import intervention_pb2

from patchclamp_service.activations.activation_sets import ActivationSets, Measures
from patchclamp_service.activations.set_labels import found_label, found_site, picked
from patchclamp_service.engine.errors import InvalidRequest, Unsupported
from patchclamp_service.engine.requests import Intervention, ModelInfo, MoveTo
from patchclamp_service.wire.interventions import interventions

__all__ = ["Edits"]


class Edits:
    """Reads the interventions of requests. Statistics of sets are read off the event loop, and kept."""

    def __init__(self, sets: ActivationSets) -> None:
        self._sets = sets

    async def of(self, messages: Sequence[intervention_pb2.Intervention], info: ModelInfo) -> tuple[Intervention, ...]:
        """The edits of a request to a model, in order.

        Raises:
            InvalidRequest: one is wrong as written, or asks for what its set does not have; names the field.
            NotFound: its set is not there.
            Unsupported: its set is of another model.
        """
        sets: dict[str, Measures] = {}
        means = {}
        for place, message in enumerate(messages):
            if message.WhichOneof("edit") == "set_to_mean":
                name, path = message.set_to_mean.activation_set, f"interventions[{place}]"
                if name not in sets:
                    sets[name] = await self._opened(name, info, f"{path}.set_to_mean.activation_set")
                means[place] = await _mean(message, sets[name], info, path)
        return interventions(messages, means)

    async def _opened(self, name: str, info: ModelInfo, field: str) -> Measures:
        found = await self._sets.measures(name, field)
        if found.description.model_digest != info.digest:
            text = f"{field}: {name} is of {found.description.model}, with other weights than models/{info.name}"
            raise Unsupported(text, reason="MODEL_DIFFERS", field=field)
        return found


async def _mean(message: intervention_pb2.Intervention, found: Measures, info: ModelInfo, path: str) -> MoveTo:
    edit, field = message.set_to_mean, f"{path}.set_to_mean.label"
    site = found_site(found.description, message.neurons.site, info, f"{path}.neurons.site")
    statistics = await found.of(site, *found_label(found.description, edit.label, field))
    if not statistics.count:
        what = f"with the label {edit.label!r} " if edit.label else ""
        text = f"{field}: {edit.activation_set} has no row {what}that is not masked"
        raise InvalidRequest(text, reason="NO_ROWS", field=field)
    values = picked(statistics.mean, message.neurons.indices, site, f"{path}.neurons.indices")
    return MoveTo(tuple(values.tolist()), edit.weight or 1.0)
