"""What the package offers by name, and what the README says of it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import patchclamp_analysis
import pytest

from tests.analysis.commands.planted_sets import planted_set

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", patchclamp_analysis.__all__)
def test_every_name_is_there(name):
    assert getattr(patchclamp_analysis, name) is not None
    assert name in dir(patchclamp_analysis)


def test_another_name_is_not():
    with pytest.raises(AttributeError, match="no attribute 'Rankings'"):
        _ = patchclamp_analysis.Rankings


def test_the_readme_s_script_runs(tmp_path, monkeypatch, capsys):
    found = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (script,) = [block for block in found if "from patchclamp_analysis import" in block]
    planted_set(tmp_path / "train.h5", 300, 0)
    planted_set(tmp_path / "dev.h5", 200, 1)
    (tmp_path / "script.py").write_text(script.replace("NOUN", "noun"))  # as the planted classes are called
    monkeypatch.chdir(tmp_path)
    runpy.run_path("script.py")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert "ScoredNeuron" in capsys.readouterr().out
