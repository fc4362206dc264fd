"""Sets of real models on real text, on a sample; `python -m tests.bench.extract_set check` takes all of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_service.activations.extraction import extract_corpus
from patchclamp_service.activations.extraction_spec import ExtractionSpec
from patchclamp_service.engine.engine import Engine
from patchclamp_service.engine.model import ModelSpec, load_model
from patchclamp_service.engine.sites import build_site_map

from tests.service.activations.reference import SITES, differences, ud_ewt
from tests.tiny import CACHE


@pytest.mark.parametrize(("name", "every"), [("minilm-l6", 20), ("smollm2-135m", 80)])
async def test_a_set_is_what_transformers_gives(tmp_path: Path, name: str, every: int) -> None:
    corpus = ud_ewt(tmp_path / "corpus", every)
    engine_model, plain = (load_model(ModelSpec.parse(name), cache=CACHE) for _ in range(2))
    engine = Engine(engine_model, build_site_map(engine_model))
    engine.start()
    try:
        await extract_corpus(engine, corpus, ExtractionSpec(SITES), tmp_path / "set.h5", lambda *_: None)
    finally:
        engine.stop()
    with ActivationSet.open(tmp_path / "set.h5") as found:
        assert max(differences(plain, found, corpus)) < 1e-4
        assert found.rows == corpus.summary.words
        assert found.label_counts("upos") == Counter(tag for each in corpus for tag in each.labels["upos"])
        assert not found.masked.any()
        assert all(np.abs(found.site(site)).max(axis=1).min() > 0 for site in found.sites)
