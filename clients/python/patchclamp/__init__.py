"""Client of patchclamp, a service that hosts transformer models and lets callers read and clamp their neurons.

>>> from patchclamp import Client, ablate, scale
>>> with Client("localhost:8470") as client:
...     edits = [ablate("layers.10.neurons[17,40]"), scale("layers.3.heads[0:64]", 0.5)]
...     print(client.generate("The nurse said that", interventions=edits).text())

`Client` and `AsyncClient` have the same methods: `generate`, `score`, `extract`, `models` and `model`. The wire's own
messages are in `patchclamp.v1`; their `Intervention` is accepted wherever one is.
"""

from patchclamp._activations import SentenceActivations
from patchclamp._async.client import AsyncClient
from patchclamp._async.streams import AsyncExtraction, AsyncGenerationStream
from patchclamp._exceptions import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotationError,
    NotFound,
    OutOfRange,
    PatchclampError,
    PermissionDenied,
    ProtocolError,
    ResourceExhausted,
    StatusError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)
from patchclamp._generation import FinishReason, Generation, Token, TokenLogprob, Usage
from patchclamp._intervention_lists import Interventions, interventions_from_json, interventions_to_json
from patchclamp._interventions import (
    Intervention,
    ablate,
    add,
    clip,
    patch,
    project_out,
    scale,
    set_,
    set_to_mean,
)
from patchclamp._models import Limits, Model, ModelKind, Module, RefusedSite, Site
from patchclamp._neurons import Neurons
from patchclamp._parsing import parse_intervention
from patchclamp._positions import Condition, Positions
from patchclamp._receipts import Applied, AppliedEdit
from patchclamp._scores import Score, Scores
from patchclamp._sync.client import Client
from patchclamp._sync.streams import Extraction, GenerationStream
from patchclamp._version import __version__

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Applied",
    "AppliedEdit",
    "AsyncClient",
    "AsyncExtraction",
    "AsyncGenerationStream",
    "Cancelled",
    "Client",
    "Condition",
    "DataLoss",
    "DeadlineExceeded",
    "Extraction",
    "FailedPrecondition",
    "FinishReason",
    "Generation",
    "GenerationStream",
    "Internal",
    "Intervention",
    "Interventions",
    "InvalidArgument",
    "Limits",
    "Model",
    "ModelKind",
    "Module",
    "Neurons",
    "NotFound",
    "NotationError",
    "OutOfRange",
    "PatchclampError",
    "PermissionDenied",
    "Positions",
    "ProtocolError",
    "RefusedSite",
    "ResourceExhausted",
    "Score",
    "Scores",
    "SentenceActivations",
    "Site",
    "StatusError",
    "Token",
    "TokenLogprob",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Usage",
    "__version__",
    "ablate",
    "add",
    "clip",
    "interventions_from_json",
    "interventions_to_json",
    "parse_intervention",
    "patch",
    "project_out",
    "scale",
    "set_",
    "set_to_mean",
]
