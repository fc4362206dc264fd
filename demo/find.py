"""Finding the neurons that make the gap, on the training part alone.

Correlation proposes, intervention decides:

1. Record every feed-forward neuron on the training prompts, and take its peak in each sentence.
2. Shortlist the neurons whose peak goes with the gap, and those that also are quiet in neutral text.
3. Clamp each of them alone and score again: most do nothing.
4. Add the best one by one; keep one only if the spread falls and neutral text hardly suffers.
5. Once more from 1 with the clamp applied, for what is left of the gap.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np

from demo.clamp import Clamp
from demo.data import Material, Prompts
from demo.lab import Lab
from demo.recording import Recording
from demo.spread import Floats, centred, correlation, spread

__all__ = ["Search", "Step"]

ROUNDS = 2
SHORTLISTED = 40
ADDED_AT_ONCE = 6
MOST_NEURONS = 10
SMALLEST_FALL = 0.02  # of the spread, as a part of it
LARGEST_DAMAGE = 0.005  # nats a token of neutral text, about as many parts of the perplexity
HUGE = 5.0  # standard deviation in neutral text: clamping such a neuron wrecks the model
FLOOR = 0.05  # keeps neurons that never fire in neutral text from winning by division


@dataclass(frozen=True)
class Step:
    """One neuron tried on top of those kept before.

    Attributes:
        clamp: The neuron.
        before: Spread of the gap over the training prompts without it.
        after: The same with it.
        damage: Nats a token of neutral training text that all clamps together cost.
        kept: Whether it stays.
    """

    clamp: Clamp
    before: float
    after: float
    damage: float
    kept: bool


@dataclass(eq=False)
class Search:
    """The search and what it has found so far.

    Attributes:
        clamps: The neurons kept.
        correlated: The neurons whose peak goes best with the gap while nothing is clamped, best first.
    """

    lab: Lab
    material: Material
    tell: Callable[[str], None]
    clamps: list[Clamp] = field(default_factory=list)
    correlated: list[Clamp] = field(default_factory=list)
    _gaps: Floats = field(init=False)

    def run(self) -> Iterator[Step]:
        """Searches, and gives each neuron that was tried on top of others."""
        self._gaps = self.lab.gaps(self._prompts)
        for _ in range(ROUNDS):
            self.tell(f"recording {self._mean.size:,} neurons on {len(self._prompts)} prompts")
            shortlist = self._shortlist(self._recording_now())
            self.tell(f"clamping each of {len(shortlist)} shortlisted neurons alone")
            best = self._best(shortlist)
            self.tell("adding the best one by one (spread in training, neutral text)")
            yield from self._add(best)

    @cached_property
    def recording(self) -> Recording:
        """Activations on the training prompts, nothing clamped."""
        return self.lab.record(self._prompts.texts)

    def clamp(self, neuron: int) -> Clamp:
        """The clamp of a neuron at its mean over the training prompts."""
        site, index = self.recording.place(neuron)
        return Clamp(site, index, round(float(self._mean[neuron]), 3))

    @cached_property
    def _prompts(self) -> Prompts:
        return self.material.prompts()

    @cached_property
    def _mean(self) -> Floats:
        return self.recording.mean()

    @cached_property
    def _quiet(self) -> Floats:
        return self.lab.record(self.material.neutral).deviation()

    @cached_property
    def _nats(self) -> float:
        return self.lab.log_perplexity(self.material.neutral)

    def _recording_now(self) -> Recording:
        return self.lab.record(self._prompts.texts, self.clamps) if self.clamps else self.recording

    def _shortlist(self, recording: Recording) -> list[Clamp]:
        by_correlation, by_selectivity = self._rankings(recording)
        if not self.correlated:
            self.correlated = [self.clamp(int(neuron)) for neuron in by_correlation[: 2 * MOST_NEURONS]]
        taken = {self.recording.neuron(clamp.site, clamp.index) for clamp in self.clamps}
        alternately = chain.from_iterable(zip(by_correlation, by_selectivity, strict=True))
        neurons = [int(neuron) for neuron in dict.fromkeys(alternately) if neuron not in taken]
        return [self.clamp(neuron) for neuron in neurons[:SHORTLISTED]]

    def _rankings(self, recording: Recording) -> tuple[list[int], list[int]]:
        templates = self._prompts.templates
        tracking = np.abs(correlation(recording.peaks(), self._gaps, templates))
        swings = recording.peaks(self._mean)
        selective = np.square(correlation(swings, self._gaps, templates)) * self._swing(swings)
        return self._usable(tracking), self._usable(selective)

    def _swing(self, peaks: Floats) -> Floats:
        return np.asarray(centred(peaks, self._prompts.templates).std(axis=0) / (self._quiet + FLOOR))

    def _usable(self, scores: Floats) -> list[int]:
        order = np.argsort(-scores, kind="stable")
        return [int(neuron) for neuron in order[self._quiet[order] < HUGE]]

    def _best(self, shortlist: Sequence[Clamp]) -> list[Clamp]:
        sample = self.material.mixture(self._gaps)
        now, *alone = self.lab.together(
            lambda clamps: spread(self.lab.gaps(sample, clamps), sample.templates),
            [self.clamps, *([*self.clamps, clamp] for clamp in shortlist)],
        )
        order = np.argsort(alone, kind="stable")[:ADDED_AT_ONCE]
        return [shortlist[place] for place in order if alone[place] < now * (1 - SMALLEST_FALL)]

    def _add(self, candidates: Sequence[Clamp]) -> Iterator[Step]:
        for candidate in candidates:
            if len(self.clamps) == MOST_NEURONS:
                return
            yield self._try(candidate)

    def _try(self, candidate: Clamp) -> Step:
        clamps = [*self.clamps, candidate]
        gaps = self.lab.gaps(self._prompts, clamps)
        damage = self.lab.log_perplexity(self.material.neutral, clamps) - self._nats
        before, after = (spread(each, self._prompts.templates) for each in (self._gaps, gaps))
        kept = after < before * (1 - SMALLEST_FALL) and damage < LARGEST_DAMAGE
        if kept:
            self.clamps, self._gaps = clamps, gaps
        return Step(candidate, before, after, damage, kept)
