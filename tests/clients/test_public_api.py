"""The package as a whole: what is public, and that it is complete, documented and light."""

from __future__ import annotations

import doctest
import inspect
import operator
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import patchclamp
import pytest
from patchclamp import (
    ActivationSets,
    Analyses,
    AnalysisClient,
    AsyncActivationSets,
    AsyncAnalyses,
    AsyncAnalysisClient,
    AsyncClient,
    AsyncCorpora,
    AsyncOperation,
    AsyncOperations,
    AsyncProbes,
    AsyncRankings,
    Client,
    Corpora,
    Operation,
    Operations,
    Probes,
    Rankings,
    _activation_sets,
    _corpus_sources,
    _exceptions,
    _neurons,
    _parsing,
    _positions,
    _rule_notation,
    rules,
)

from tests.clients.halves import Half
from tests.clients.scripted import services

ROOT = Path(__file__).parents[2]
PACKAGE = Path(patchclamp.__file__).parent

# What a client has, and what it keeps under a name.
PARTS = {
    "": (AsyncClient, Client),
    "corpora": (AsyncCorpora, Corpora),
    "activation_sets": (AsyncActivationSets, ActivationSets),
    "analysis": (AsyncAnalysisClient, AnalysisClient),
    "analysis.analyses": (AsyncAnalyses, Analyses),
    "analysis.rankings": (AsyncRankings, Rankings),
    "analysis.probes": (AsyncProbes, Probes),
    "operations": (AsyncOperations, Operations),
}
CLASSES = [part for pair in PARTS.values() for part in pair] + [AsyncOperation, Operation]

# Each RPC and the methods that call it.
METHODS = {
    "patchclamp.v1.ModelService.ListModels": ["models"],
    "patchclamp.v1.ModelService.GetModel": ["model"],
    "patchclamp.v1.InferenceService.Generate": ["generate"],
    "patchclamp.v1.InferenceService.Score": ["score"],
    "patchclamp.v1.InferenceService.Classify": ["classify"],
    "patchclamp.v1.InferenceService.FillMask": ["fill_mask"],
    "patchclamp.v1.ActivationService.ExtractActivations": ["extract"],
    "patchclamp.v1.ActivationService.CreateActivationSet": ["activation_sets.create"],
    "patchclamp.v1.ActivationService.GetActivationSet": ["activation_sets.get"],
    "patchclamp.v1.ActivationService.ListActivationSets": ["activation_sets.list"],
    "patchclamp.v1.ActivationService.DeleteActivationSet": ["activation_sets.delete"],
    "patchclamp.v1.ActivationService.DownloadActivationSet": ["activation_sets.download"],
    "patchclamp.v1.ActivationService.GetActivationStatistics": ["activation_sets.statistics"],
    "patchclamp.v1.CorpusService.UploadCorpus": ["corpora.upload"],
    "patchclamp.v1.CorpusService.AnnotateCorpus": ["corpora.annotate"],
    "patchclamp.v1.CorpusService.SampleCorpus": ["corpora.sample_balanced", "corpora.split"],
    "patchclamp.v1.CorpusService.GetCorpus": ["corpora.get"],
    "patchclamp.v1.CorpusService.ListCorpora": ["corpora.list"],
    "patchclamp.v1.CorpusService.ListCorpusSentences": ["corpora.sentences"],
    "patchclamp.v1.CorpusService.DeleteCorpus": ["corpora.delete"],
    "patchclamp.v1.AnalysisService.ListMethods": ["analysis.methods"],
    "patchclamp.v1.AnalysisService.RankNeurons": ["analysis.rank"],
    "patchclamp.v1.AnalysisService.GetRanking": ["analysis.rankings.get"],
    "patchclamp.v1.AnalysisService.ListRankings": ["analysis.rankings.list"],
    "patchclamp.v1.AnalysisService.DeleteRanking": ["analysis.rankings.delete"],
    "patchclamp.v1.AnalysisService.ExportRanking": ["analysis.rankings.export"],
    "patchclamp.v1.AnalysisService.TrainProbe": ["analysis.train_probe"],
    "patchclamp.v1.AnalysisService.EvaluateProbe": ["analysis.evaluate_probe"],
    "patchclamp.v1.AnalysisService.CompareRankings": ["analysis.rankings.compare"],
    "patchclamp.v1.AnalysisService.FindRedundantNeurons": ["analysis.find_redundant"],
    "patchclamp.v1.AnalysisService.TopWords": ["analysis.top_words"],
    "patchclamp.v1.AnalysisService.GetProbe": ["analysis.probes.get"],
    "patchclamp.v1.AnalysisService.ListProbes": ["analysis.probes.list"],
    "patchclamp.v1.AnalysisService.DeleteProbe": ["analysis.probes.delete"],
    "patchclamp.v1.AnalysisService.AnalyzeActivations": ["analysis.analyze"],
    "patchclamp.v1.AnalysisService.EvaluateRankings": ["analysis.evaluate"],
    "patchclamp.v1.AnalysisService.GetAnalysis": ["analysis.analyses.get"],
    "patchclamp.v1.AnalysisService.ListAnalyses": ["analysis.analyses.list"],
    "patchclamp.v1.AnalysisService.DeleteAnalysis": ["analysis.analyses.delete"],
    "patchclamp.v1.AnalysisService.ExportAnalysis": ["analysis.analyses.export"],
    "google.longrunning.Operations.ListOperations": ["operations.list"],
    "google.longrunning.Operations.GetOperation": ["operations.get"],
    "google.longrunning.Operations.WaitOperation": ["operations.wait"],
    "google.longrunning.Operations.CancelOperation": ["operations.cancel"],
    "google.longrunning.Operations.DeleteOperation": ["operations.delete"],
}


def test_every_rpc_has_a_method() -> None:
    assert {method.full_name for service in services() for method in service.methods} == set(METHODS)
    for path in chain.from_iterable(METHODS.values()):
        part, _, name = path.rpartition(".")
        for owner in PARTS[part]:
            assert inspect.isfunction(getattr(owner, name)), path


async def test_a_client_has_its_parts(half: Half) -> None:
    async with half.client("127.0.0.1:1") as client:
        found = {name: type(operator.attrgetter(name)(client)) for name in PARTS if name}
    assert found == {name: pair[half.client_class is Client] for name, pair in PARTS.items() if name}


def test_all_names_what_is_public() -> None:
    public = {
        name for name, value in vars(patchclamp).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(patchclamp.__all__) == public | {"__version__", "rules"}
    assert len(patchclamp.__all__) == len(set(patchclamp.__all__))


@pytest.mark.parametrize("name", [name for name in patchclamp.__all__ if callable(getattr(patchclamp, name))])
def test_what_is_public_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(patchclamp, name))


@pytest.mark.parametrize("part", CLASSES)
def test_every_method_and_parameter_is_documented(part: type) -> None:
    for name, method in inspect.getmembers(part, inspect.isfunction):
        if not name.startswith("_"):
            for parameter in set(inspect.signature(method).parameters) - {"self"}:
                assert parameter in (inspect.getdoc(method) or ""), f"{name}({parameter})"


def test_the_exception_tree_is_drawn() -> None:
    tree = _exceptions.__doc__ or ""
    assert [name for name in _exceptions.__all__ if name not in tree] == []


def test_the_synchronous_half_is_up_to_date() -> None:
    command = [sys.executable, "clients/python/unasync_client.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert patchclamp.__version__ == project["version"]


@pytest.mark.parametrize(
    ("imports", "heavy"),
    [
        ("patchclamp, patchclamp._cli", {"torch", "transformers", "h5py", "pandas", "datasets"}),
        ("patchclamp, patchclamp._cli", {"patchclamp_service", "patchclamp_analysis"}),
        ("patchclamp", {"rich", "typer"}),
    ],
)
def test_importing_the_package_imports_nothing_heavy(imports: str, heavy: set[str]) -> None:
    code = f"import sys, {imports}; print(*sys.modules)"
    environment = {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in done.stdout.split()}
    assert modules & heavy == set()


@pytest.mark.parametrize(
    "module", [_neurons, _positions, _parsing, _activation_sets, _corpus_sources, _rule_notation, rules]
)
def test_the_examples_in_the_documentation_are_true(module: object) -> None:
    result = doctest.testmod(module, extraglobs=vars(patchclamp))  # type: ignore[arg-type]
    assert result.failed == 0
    assert result.attempted > 0
