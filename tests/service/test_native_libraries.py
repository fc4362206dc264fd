"""What PyTorch's libraries find in the environment when a server or the offline extraction imports them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from patchclamp_service.native_libraries import prepare_environment

NAMES = ("OMP_WAIT_POLICY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back at the end
        monkeypatch.delenv(name)
    return monkeypatch


def test_all_is_set(bare: pytest.MonkeyPatch) -> None:
    prepare_environment()
    assert [os.environ[name] for name in NAMES] == ["PASSIVE", "64", "64"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_there_stays(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv(name, "7")
    prepare_environment()
    assert os.environ[name] == "7"


@pytest.mark.parametrize("module", ["patchclamp_service.__main__", "patchclamp_service.offline"])
def test_who_calls_it_has_not_imported_torch_yet(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
