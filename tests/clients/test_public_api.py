"""The package as a whole: what is public, and that it is complete, documented and light."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import patchclamp
import pytest
from patchclamp import AsyncClient, Client, _exceptions, _neurons, _parsing, _positions

from tests.clients.scripted import services

ROOT = Path(__file__).parents[2]
PACKAGE = Path(patchclamp.__file__).parent

# Each RPC and the method that calls it.
METHODS = {
    "patchclamp.v1.ModelService.ListModels": "models",
    "patchclamp.v1.ModelService.GetModel": "model",
    "patchclamp.v1.InferenceService.Generate": "generate",
    "patchclamp.v1.InferenceService.Score": "score",
    "patchclamp.v1.ActivationService.ExtractActivations": "extract",
}


def test_every_rpc_has_a_method() -> None:
    assert {method.full_name for service in services() for method in service.methods} == set(METHODS)
    for name in METHODS.values():
        assert inspect.isfunction(getattr(AsyncClient, name))
        assert inspect.isfunction(getattr(Client, name))


def test_all_names_what_is_public() -> None:
    public = {
        name for name, value in vars(patchclamp).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(patchclamp.__all__) == public | {"__version__"}
    assert len(patchclamp.__all__) == len(set(patchclamp.__all__))


@pytest.mark.parametrize("name", [name for name in patchclamp.__all__ if callable(getattr(patchclamp, name))])
def test_what_is_public_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(patchclamp, name))


@pytest.mark.parametrize("client", [AsyncClient, Client])
def test_every_method_and_parameter_is_documented(client: type) -> None:
    for name, method in inspect.getmembers(client, inspect.isfunction):
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


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, patchclamp, patchclamp._cli; print(*sys.modules)"
    environment = {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in done.stdout.split()}
    assert modules.isdisjoint({"torch", "transformers", "h5py", "patchclamp_service", "patchclamp_analysis"})


@pytest.mark.parametrize("module", [_neurons, _positions, _parsing])
def test_the_examples_in_the_documentation_are_true(module: object) -> None:
    result = doctest.testmod(module, extraglobs=vars(patchclamp))  # type: ignore[arg-type]
    assert result.failed == 0
    assert result.attempted > 0
