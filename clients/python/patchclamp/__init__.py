"""Client of patchclamp, a service that hosts transformer models and lets callers read and clamp their neurons.

>>> from patchclamp import Client, ablate, scale
>>> with Client("localhost:8470") as client:
...     edits = [ablate("layers.10.neurons[17,40]"), scale("layers.3.heads[0:64]", 0.5)]
...     print(client.generate("The nurse said that", interventions=edits).text())

`Client` and `AsyncClient` have the same methods: `generate`, `score`, `classify`, `fill_mask`, `extract`, `models` and
`model`; for what the server keeps `corpora`, `activation_sets` and `operations`; and `analysis`, which ranks neurons,
judges rankings, trains probes and says what neurons stand for. Rules that label words are in `patchclamp.rules`. The
wire's own messages are in `patchclamp.v1`; their `Intervention` is accepted wherever one is.
"""

from patchclamp import rules
from patchclamp._activation_files import ActivationSetFile
from patchclamp._activation_sets import ActivationSet, ActivationStatistics, TokenFilter
from patchclamp._activations import SentenceActivations
from patchclamp._analyses import Analysis
from patchclamp._async.activation_sets import AsyncActivationSets
from patchclamp._async.analyses import AsyncAnalyses
from patchclamp._async.analysis import AsyncAnalysisClient
from patchclamp._async.client import AsyncClient
from patchclamp._async.corpora import AsyncCorpora
from patchclamp._async.operations import AsyncOperation, AsyncOperations
from patchclamp._async.probes import AsyncProbes
from patchclamp._async.rankings import AsyncRankings
from patchclamp._async.streams import AsyncExtraction, AsyncGenerationStream
from patchclamp._classification import Classification, Classifications, ClassScore, WordClassification
from patchclamp._corpora import AnnotatedSentence, Corpus, CorpusContent, LabelLayer, LabelLevel
from patchclamp._corpus_sources import CorpusSource
from patchclamp._exceptions import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    IncompleteTable,
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
from patchclamp._masks import FilledMask, FilledTexts
from patchclamp._methods import Method, MethodAnswer, MethodKind, MethodParameter
from patchclamp._models import Limits, Model, ModelHead, ModelKind, Module, RefusedSite, Site
from patchclamp._neurons import Neurons, ScoredNeuron
from patchclamp._operations import OperationMetadata
from patchclamp._parsing import parse_intervention
from patchclamp._positions import Condition, Positions
from patchclamp._probes import ClassEvaluation, Probe, ProbeEvaluation
from patchclamp._progress import Progress
from patchclamp._rankings import Ranking, RankingComparison
from patchclamp._receipts import Applied, AppliedEdit
from patchclamp._redundancy import Redundancy
from patchclamp._rules import Rule
from patchclamp._scores import Score, Scores
from patchclamp._sentences import Pair
from patchclamp._sync.activation_sets import ActivationSets
from patchclamp._sync.analyses import Analyses
from patchclamp._sync.analysis import AnalysisClient
from patchclamp._sync.client import Client
from patchclamp._sync.corpora import Corpora
from patchclamp._sync.operations import Operation, Operations
from patchclamp._sync.probes import Probes
from patchclamp._sync.rankings import Rankings
from patchclamp._sync.streams import Extraction, GenerationStream
from patchclamp._tables import Table
from patchclamp._top_words import NeuronWords, WordScore
from patchclamp._version import __version__

__all__ = [
    "Aborted",
    "ActivationSet",
    "ActivationSetFile",
    "ActivationSets",
    "ActivationStatistics",
    "AlreadyExists",
    "Analyses",
    "Analysis",
    "AnalysisClient",
    "AnnotatedSentence",
    "Applied",
    "AppliedEdit",
    "AsyncActivationSets",
    "AsyncAnalyses",
    "AsyncAnalysisClient",
    "AsyncClient",
    "AsyncCorpora",
    "AsyncExtraction",
    "AsyncGenerationStream",
    "AsyncOperation",
    "AsyncOperations",
    "AsyncProbes",
    "AsyncRankings",
    "Cancelled",
    "ClassEvaluation",
    "ClassScore",
    "Classification",
    "Classifications",
    "Client",
    "Condition",
    "Corpora",
    "Corpus",
    "CorpusContent",
    "CorpusSource",
    "DataLoss",
    "DeadlineExceeded",
    "Extraction",
    "FailedPrecondition",
    "FilledMask",
    "FilledTexts",
    "FinishReason",
    "Generation",
    "GenerationStream",
    "IncompleteTable",
    "Internal",
    "Intervention",
    "Interventions",
    "InvalidArgument",
    "LabelLayer",
    "LabelLevel",
    "Limits",
    "Method",
    "MethodAnswer",
    "MethodKind",
    "MethodParameter",
    "Model",
    "ModelHead",
    "ModelKind",
    "Module",
    "NeuronWords",
    "Neurons",
    "NotFound",
    "NotationError",
    "Operation",
    "OperationMetadata",
    "Operations",
    "OutOfRange",
    "Pair",
    "PatchclampError",
    "PermissionDenied",
    "Positions",
    "Probe",
    "ProbeEvaluation",
    "Probes",
    "Progress",
    "ProtocolError",
    "Ranking",
    "RankingComparison",
    "Rankings",
    "Redundancy",
    "RefusedSite",
    "ResourceExhausted",
    "Rule",
    "Score",
    "ScoredNeuron",
    "Scores",
    "SentenceActivations",
    "Site",
    "StatusError",
    "Table",
    "Token",
    "TokenFilter",
    "TokenLogprob",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "Usage",
    "WordClassification",
    "WordScore",
    "__version__",
    "ablate",
    "add",
    "clip",
    "interventions_from_json",
    "interventions_to_json",
    "parse_intervention",
    "patch",
    "project_out",
    "rules",
    "scale",
    "set_",
    "set_to_mean",
]
