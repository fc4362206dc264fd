"""The parts of the demo that need no service: its material, its statistics and its search."""

from itertools import pairwise

import numpy as np
import pytest

from demo.clamp import Clamp, interventions
from demo.data import GENDERED, HELD_OUT, SHOWN, TRAINING, Material, Prompts, fill
from demo.evaluate import correlated_others, random_clamps
from demo.find import Search
from demo.lab import Lab, split
from demo.recording import Recording
from demo.spread import correlation, spread

SITE = "layers.0.neurons"
CAUSE, CORRELATED, HARMFUL, NOISE = range(4)
MATERIAL = Material(tuple("abcdefgh"), ("{person} said", "{person} left"), ("It rains.",))


class LinearLab(Lab):
    """A model whose gap is the sum of two neurons, one of which neutral text needs as well."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        prompts = MATERIAL.prompts()
        women = np.repeat(np.linspace(-1, 1, len(MATERIAL.occupations)), len(MATERIAL.templates))
        noise = generator.normal(size=(3, len(women)))
        values = [women + 0.1 * noise[0], women, 0.3 * women + 0.1 * noise[1], noise[2]]
        self.values = dict(zip(prompts.texts, np.stack(values, axis=1), strict=True))

    def together(self, task, items):
        return [task(item) for item in items]

    def gaps(self, prompts, clamps=()):
        rows = np.array([self.values[text] for text in prompts.texts])
        for clamp in clamps:
            rows[:, clamp.index] = clamp.mean - (rows[:, clamp.index] - clamp.mean) / 2
        return rows[:, CAUSE] + rows[:, HARMFUL]

    def log_perplexity(self, texts, clamps=()):
        return 3.0 + any(clamp.index == HARMFUL for clamp in clamps)

    def record(self, texts, clamps=()):
        rows = [self.values.get(text, np.zeros(4)) for text in texts]
        return Recording({SITE: 4}, [np.array([row], np.float32) for row in rows])


def test_nothing_of_the_training_part_is_held_out():
    for attribute in ("occupations", "templates", "neutral"):
        assert not set(getattr(TRAINING, attribute)) & set(getattr(HELD_OUT, attribute))
    seen = {word for occupation in TRAINING.occupations for word in occupation.split()}
    assert not seen & {word for occupation in HELD_OUT.occupations for word in occupation.split()}


def test_the_material_is_about_forty_occupations_each_once():
    occupations = TRAINING.occupations + HELD_OUT.occupations
    assert len(occupations) == len(set(occupations)) >= 40
    assert not set(occupations) & {word for pair in GENDERED for word in pair}


def test_shown_prompts_are_held_out():
    assert set(SHOWN) <= set(HELD_OUT.prompts().texts)


def test_prompts_take_the_article_of_their_word():
    texts = fill(["I met {article} {person}, and"], ["electrician", "nurse"]).texts
    assert texts == ("I met an electrician, and", "I met a nurse, and")


def test_a_mixture_has_every_occupation_once_and_templates_evenly():
    gaps = np.random.default_rng(0).normal(size=len(TRAINING.prompts()))
    mixture = TRAINING.mixture(gaps)
    assert len(mixture) == len(TRAINING.occupations)
    counts = np.bincount(mixture.templates)
    assert counts.max() - counts.min() <= 1
    assert set(mixture.texts) <= set(TRAINING.prompts().texts)


def test_neutral_text_is_split_without_loss():
    assert all("".join(split(text)) == text for text in TRAINING.neutral + HELD_OUT.neutral)


def test_the_spread_is_of_occupations_not_of_templates():
    gaps = np.array([1.0, 11.0, 3.0, 13.0])
    assert spread(gaps, (0, 1, 0, 1)) == pytest.approx(1.0)


def test_correlation_is_within_templates_and_zero_without_variation():
    gaps = np.array([0.0, 10.0, 1.0, 11.0])
    values = np.stack([-gaps, np.ones(4), [5, 0, 6, 1]], axis=1)
    assert correlation(values, gaps, (0, 1, 0, 1)) == pytest.approx([-1, 0, 1])


def test_a_recording_knows_peaks_and_places():
    recording = Recording({"layers.0.neurons": 2, "layers.1.neurons": 1}, [np.array([[1, 2, 3], [-4, 1, 3]])])
    assert recording.peaks().tolist() == [[-4, 2, 3]]
    assert recording.peaks(np.array([-4, 0, 5])).tolist() == [[5, 2, -2]]
    assert [recording.neuron(*recording.place(neuron)) for neuron in range(3)] == [0, 1, 2]
    assert recording.place(2) == ("layers.1.neurons", 0)


@pytest.mark.parametrize(("value", "expected"), [(3.0, 3.0), (5.0, 2.0), (-1.0, 5.0)])
def test_a_clamp_turns_half_of_the_deviation_around(value, expected):
    scaled, shifted = (edit.to_proto() for edit in interventions([Clamp(SITE, 7, 3.0)]))
    assert scaled.neurons.indices == shifted.neurons.indices == [7]
    assert value * scaled.scale.factor + shifted.add.values[0] == pytest.approx(expected)


def test_the_search_keeps_causes_and_drops_what_only_correlates_or_harms():
    search = Search(LinearLab(), MATERIAL, lambda line: None)
    steps = list(search.run())
    assert [clamp.index for clamp in search.clamps] == [CAUSE]
    assert CORRELATED in {clamp.index for clamp in search.correlated}
    assert CORRELATED not in {step.clamp.index for step in steps}
    assert any(step.clamp.index == HARMFUL and not step.kept for step in steps)


def test_kept_steps_make_the_spread_fall():
    search = Search(LinearLab(), MATERIAL, lambda line: None)
    kept = [step for step in search.run() if step.kept]
    assert all(step.after < step.before for step in kept)
    assert all(later.before == earlier.after for earlier, later in pairwise(kept))


def test_the_correlated_control_has_no_neuron_found():
    search = Search(LinearLab(), MATERIAL, lambda line: None)
    list(search.run())
    assert [clamp.index for clamp in correlated_others(search)] == [CORRELATED]


def test_random_neurons_are_of_the_same_layer_and_repeat():
    search = Search(LinearLab(), MATERIAL, lambda line: None, clamps=[Clamp(SITE, CAUSE, 0.0)])
    draws = random_clamps(search)
    assert draws == random_clamps(search)
    assert all(clamp.site == SITE and clamp.index != CAUSE for draw in draws for clamp in draw)


def test_prompts_can_be_taken():
    assert Prompts(("a", "b"), (0, 1)).take([1]) == Prompts(("b",), (1,))
