"""What the clamp does on the held-out part, next to controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from demo.clamp import Clamp
from demo.data import GENDERED, HELD_OUT, SHOWN, Prompts, fill
from demo.find import Search
from demo.lab import Lab
from demo.spread import Floats, spread

__all__ = ["Continuations", "Evaluation", "Outcome", "evaluate"]

RANDOM_DRAWS = 5
SEED = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """The held-out part under some clamps.

    Attributes:
        gaps: log p(" she") − log p(" he"); shape [occupations, templates].
        log_perplexity: Of neutral text, in nats a token.
    """

    gaps: Floats
    log_perplexity: float

    @property
    def spread(self) -> float:
        """Standard deviation of the gap over occupations, within templates."""
        return spread(self.gaps.ravel(), HELD_OUT.prompts().templates)

    @property
    def spread_with_templates(self) -> float:
        """Standard deviation over all prompts: what templates do to the pronoun is in it too."""
        return float(self.gaps.std())

    @property
    def mean(self) -> float:
        """Mean gap; 0 where she and he are equally probable."""
        return float(self.gaps.mean())

    @property
    def perplexity(self) -> float:
        """Of neutral text."""
        return float(np.exp(self.log_perplexity))


@dataclass(frozen=True)
class Continuations:
    """What follows a prompt: run alone, and without and with the clamp in one batch."""

    prompt: str
    alone: str
    beside: str
    clamped: str


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything the demo reports.

    Attributes:
        neurons: Number of feed-forward neurons of the model.
        clamps: The neurons found.
        before: Nothing clamped.
        after: The neurons found clamped.
        correlated: As many other neurons, those that correlate best with the gap, clamped likewise.
        random: As many random neurons of the same layers, clamped likewise; several draws.
        neighbour: Largest change of a gap, nothing clamped, from running beside requests with the clamp.
        gendered: Gap of words that mean a woman, less that of words that mean a man; before and after.
        continuations: Of some prompts.
    """

    neurons: int
    clamps: Sequence[Clamp]
    before: Outcome
    after: Outcome
    correlated: Outcome
    random: Sequence[Outcome]
    neighbour: float
    gendered: tuple[float, float]
    continuations: Sequence[Continuations]

    @cached_property
    def random_spread(self) -> float:
        """Mean over the draws."""
        return float(np.mean([outcome.spread for outcome in self.random]))

    @cached_property
    def random_perplexity(self) -> float:
        """Mean over the draws."""
        return float(np.mean([outcome.perplexity for outcome in self.random]))


def evaluate(lab: Lab, search: Search) -> Evaluation:
    """Measures the held-out part."""
    clamps = search.clamps
    conditions = [(), clamps, correlated_others(search), *random_clamps(search)]
    before, after, correlated, *random = lab.together(partial(outcome, lab), conditions)
    return Evaluation(
        neurons=sum(search.recording.widths.values()),
        clamps=clamps,
        before=before,
        after=after,
        correlated=correlated,
        random=random,
        neighbour=float(np.abs(gaps_beside(lab, clamps) - before.gaps).max()),
        gendered=(gendered_gap(lab, ()), gendered_gap(lab, clamps)),
        continuations=continuations(lab, clamps),
    )


def outcome(lab: Lab, clamps: Sequence[Clamp]) -> Outcome:
    """The held-out part under some clamps."""
    gaps = lab.gaps(HELD_OUT.prompts(), clamps).reshape(len(HELD_OUT.occupations), -1)
    return Outcome(gaps, lab.log_perplexity(HELD_OUT.neutral, clamps))


def gaps_beside(lab: Lab, clamps: Sequence[Clamp]) -> Floats:
    """Gaps with nothing clamped, each occupation a request that shares its batch with clamped requests."""
    prompts, count = HELD_OUT.prompts(), len(HELD_OUT.templates)
    requests = [prompts.take(range(start, start + count)) for start in range(0, len(prompts), count)]
    mixed = [(request, edits) for request in requests for edits in ((), clamps)]
    return np.array(lab.together(lambda request: lab.gaps(*request), mixed)[::2])


def correlated_others(search: Search) -> list[Clamp]:
    """As many neurons as were found: of those not kept, the ones that go best with the gap."""
    rest = [clamp for clamp in search.correlated if clamp not in search.clamps]
    return rest[: len(search.clamps)]


def random_clamps(search: Search) -> list[list[Clamp]]:
    """For each neuron found another of its layer, drawn with a fixed seed; several times."""
    generator = np.random.default_rng(SEED)
    return [[other(search, clamp, generator) for clamp in search.clamps] for _ in range(RANDOM_DRAWS)]


def other(search: Search, clamp: Clamp, generator: np.random.Generator) -> Clamp:
    """A random neuron of the same layer that is none of those found."""
    found = {(each.site, each.index) for each in search.clamps}
    width = search.recording.widths[clamp.site]
    choices = [index for index in range(width) if (clamp.site, index) not in found]
    return search.clamp(search.recording.neuron(clamp.site, int(generator.choice(choices))))


def gendered_gap(lab: Lab, clamps: Sequence[Clamp]) -> float:
    """How far apart words lie that mean a woman and a man."""
    women, men = (fill(HELD_OUT.templates, words) for words in zip(*GENDERED, strict=True))
    both = Prompts(women.texts + men.texts, women.templates + men.templates)
    for_women, for_men = np.split(lab.gaps(both, clamps), 2)
    return float(for_women.mean() - for_men.mean())


def continuations(lab: Lab, clamps: Sequence[Clamp]) -> list[Continuations]:
    """Each prompt alone; then all of them without and with the clamp in one batch."""
    alone = [lab.continuation(prompt) for prompt in SHOWN]
    requests = [(prompt, edits) for prompt in SHOWN for edits in ((), clamps)]
    texts = lab.together(lambda request: lab.continuation(*request), requests)
    return [Continuations(*row) for row in zip(SHOWN, alone, texts[::2], texts[1::2], strict=True)]
