"""Who runs next: plain objects, no tensors.

A request becomes a `Work` of one or more `Sequence`s of tokens. Each pass through the model takes one token of every
sequence that is decoding and fills up with prompt tokens, going round the works so that each of them is served. What
a pass computes of a sequence is a `Segment`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

__all__ = ["Budget", "Scheduler", "Segment", "Sequence", "Slot", "Work"]


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for one sequence in the key-value cache: a row of the pool whose rows hold `capacity` tokens."""

    capacity: int
    index: int


@dataclass(slots=True, eq=False)
class Sequence:
    """Tokens to run from left to right. `ids` grows while it decodes; `computed` of them have been run."""

    ids: list[int]
    work: Work
    prompt_length: int
    computed: int = 0
    slot: Slot | None = None
    parent: Sequence | None = None
    """The sequence this one continues (scored continuations of one prompt); its tokens are not run again."""
    children: list[Sequence] = field(default_factory=list)
    capacity: int = 0
    """Cache tokens to reserve before it starts; 0: reserved only if it does not fit into one pass."""
    decoding: bool = False
    atomic: bool = False
    """Must run in one pass: bidirectional attention. What is generated after it, and continuations, need not."""
    number: int = 0
    """Which part of its work it is: the sentence, the item."""
    types: list[int] = field(default_factory=list)
    """Token types of a pair; empty: all 0."""

    @property
    def base(self) -> int:
        """Position of `ids[0]`."""
        return self.parent.length if self.parent else 0

    @property
    def length(self) -> int:
        """Position after the last token known so far."""
        return self.base + len(self.ids)

    @property
    def remaining(self) -> int:
        """Tokens known and not yet run."""
        return len(self.ids) - self.computed

    @property
    def family_remaining(self) -> int:
        """The same with all continuations."""
        return self.remaining + sum(child.remaining for child in self.children)


@dataclass(slots=True, eq=False)
class Segment:
    """Consecutive tokens of one sequence within one pass; `row` is the flat index of the first, set by the runner."""

    sequence: Sequence
    start: int
    count: int
    row: int = 0

    @property
    def position(self) -> int:
        """Logical position of the first token."""
        return self.sequence.base + self.start

    @property
    def ids(self) -> list[int]:
        """The tokens."""
        return self.sequence.ids[self.start : self.start + self.count]

    @property
    def ends(self) -> bool:
        """Whether the sequence has no token left to run after it."""
        return self.start + self.count == len(self.sequence.ids)


@dataclass(slots=True, eq=False)
class Work:
    """A request in the engine: its sequences that wait for their turn, and whether it is still wanted."""

    pending: deque[Sequence] = field(default_factory=deque)
    tokens: int = 0
    """Tokens it counts for in the admission budget."""
    interactive: bool = False
    """Generates: its sequence holds a slot and decodes."""
    cancelled: bool = False
    background: bool = False
    """Runs only in passes of its own, when the engine allows one (see `pace`)."""
    paused: bool = False
    """Its reader is behind: no new sequences for now."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a pass and the cache may hold; see `requests.Limits`."""

    batch_tokens: int = 512
    prefill_tokens: int = 128
    running: int = 16
    cache_tokens: int = 65_536


class Scheduler:
    """Decides what the next pass runs.

    Nothing is lost: a work stays until it is removed. None starves: works take turns, waiting generations start in
    their order. The budget is kept: a pass holds at most `running` decoding rows and as many prompt tokens as the
    budget says, save for one that cannot be cut and is larger by itself.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._waiting: deque[Work] = deque()
        self._turns: deque[Work] = deque()
        self._background: deque[Work] = deque()
        self._decoding: list[Sequence] = []
        self._slots: dict[int, set[int]] = {}
        self._claims: list[Sequence] = []
        self.cache_tokens_used = 0

    def add(self, work: Work) -> None:
        """Takes a work in; a generation waits for a slot."""
        (self._waiting if work.interactive else self._background if work.background else self._turns).append(work)

    def remove(self, work: Work) -> list[Slot]:
        """Forgets a work and returns the slots it held, which are free at once."""
        for queue in (self._waiting, self._turns, self._background):
            if work in queue:
                queue.remove(work)
        self._claims = [claim for claim in self._claims if claim.work is not work]
        held = [sequence for sequence in self._held(work) if sequence.slot]
        self._decoding = [sequence for sequence in self._decoding if sequence.work is not work]
        work.pending.clear()
        return [self._free(sequence) for sequence in held]

    def _held(self, work: Work) -> list[Sequence]:
        return [*work.pending, *(sequence for sequence in self._decoding if sequence.work is work)]

    @property
    def idle(self) -> bool:
        """Whether there is nothing to run."""
        return not (self._decoding or self.blocked or self.has_background)

    @property
    def blocked(self) -> bool:
        """Whether someone waits whom the last pass did not serve: for room, which background work may hold."""
        return bool(self._waiting) or any(self._ready(self._turns))

    @property
    def has_background(self) -> bool:
        """Whether background work could run."""
        return any(self._ready(self._background))

    @property
    def decoding(self) -> list[Sequence]:
        """The sequences that decode, in the order of their slots."""
        return self._decoding

    def next_pass(self) -> list[Segment]:
        """The segments of the next pass: decoding rows first, then prompts."""
        self._start_waiting()
        decode = [Segment(sequence, sequence.computed, 1) for sequence in self._decoding]
        room = self._budget.prefill_tokens if decode else self._budget.batch_tokens
        return decode + self._fill(self._turns, room)

    def background_pass(self, room: int | None = None) -> list[Segment]:
        """The segments of a pass of background work, of at most `room` tokens; None: of as many as a pass may hold."""
        most = self._budget.batch_tokens
        return self._fill(self._background, most if room is None else min(room, most))

    def done(self, segments: Iterable[Segment]) -> None:
        """Books what a pass has computed. Sequences that generate go on decoding; others leave when they end."""
        for segment in segments:
            sequence = segment.sequence
            sequence.computed += segment.count
            if sequence.decoding or sequence.remaining:
                continue
            if sequence.work.interactive:
                self._to_decoding(sequence)
            elif not sequence.parent and not sequence.family_remaining:
                self._finish(sequence)
            elif sequence.parent and not sequence.parent.family_remaining:
                self._finish(sequence.parent)

    def move(self, sequence: Sequence, slot: Slot) -> None:
        """Books that a sequence's cache now lies in another free slot of the same pool."""
        assert sequence.slot is not None
        self._slots[slot.capacity].remove(sequence.slot.index)
        self._slots[slot.capacity].add(slot.index)
        sequence.slot = slot
        self._decoding.sort(key=_slot_order)

    # --- cache slots

    def _start_waiting(self) -> None:
        while self._waiting:
            sequence = self._waiting[0].pending[0]
            if self._interactive_count() >= self._budget.running or not self._reserve(sequence, sequence.capacity):
                return
            self._turns.append(self._waiting.popleft())

    def _interactive_count(self) -> int:
        return len(self._decoding) + sum(work.interactive for work in self._turns)

    def _reserve(self, sequence: Sequence, tokens: int) -> bool:
        capacity = pool_capacity(tokens)
        full = self.cache_tokens_used + capacity > self._budget.cache_tokens
        if self._waits_behind(sequence) or (full and self.cache_tokens_used):
            if sequence not in self._claims:
                self._claims.append(sequence)
            return False
        if sequence in self._claims:
            self._claims.remove(sequence)
        taken = self._slots.setdefault(capacity, set())
        index = next(index for index in range(len(taken) + 1) if index not in taken)
        taken.add(index)
        self.cache_tokens_used += capacity
        sequence.slot = Slot(capacity, index)
        return True

    def _waits_behind(self, sequence: Sequence) -> bool:
        """Whether another sequence was refused room before this one asked. Room is given in the order of asking, or
        those who ask for much would never find it."""
        for claim in self._claims:
            if claim is sequence:
                return False
            after = claim.work.background and not sequence.work.background
            if not (after or claim.work.paused or claim.work.cancelled):
                return True
        return False

    def _free(self, sequence: Sequence) -> Slot:
        slot = sequence.slot
        assert slot is not None
        self._slots[slot.capacity].remove(slot.index)
        self.cache_tokens_used -= slot.capacity
        sequence.slot = None
        return slot

    # --- filling a pass with prompts

    def _ready(self, works: Iterable[Work]) -> Iterator[Work]:
        return (work for work in works if work.pending and not work.cancelled and self._may_go_on(work))

    def _may_go_on(self, work: Work) -> bool:
        # What holds a slot is finished even if the reader is behind, so that the slot is free for others.
        return not work.paused or work.pending[0].slot is not None

    def _fill(self, turns: deque[Work], room: int) -> list[Segment]:
        segments: list[Segment] = []
        left = room
        for work in list(self._ready(turns)):
            taken = self._take(work, left, room, alone=not segments)
            if taken:
                segments += taken
                left -= sum(segment.count for segment in taken)
                turns.remove(work)
                turns.append(work)
            if left <= 0:
                break
        return segments

    def _take(self, work: Work, left: int, room: int, *, alone: bool) -> list[Segment]:
        segments: list[Segment] = []
        for sequence in work.pending:
            taken = self._take_sequence(sequence, left, room, alone=alone and not segments)
            if not taken:
                break
            segments += taken
            left -= sum(segment.count for segment in taken)
        return segments

    def _take_sequence(self, sequence: Sequence, left: int, room: int, *, alone: bool) -> list[Segment]:
        """A whole family if it fits; else a chunk, for which the sequence needs a slot."""
        if sequence.slot is None:
            whole = sequence.atomic and not sequence.children
            if sequence.family_remaining <= left or (whole and alone):
                self._claims = [claim for claim in self._claims if claim is not sequence]
                return _whole(sequence)
            # What fits into a fresh pass waits for one; what never fits is cut into chunks.
            if whole or sequence.family_remaining <= room or left <= 0:
                return []
            if not self._reserve(sequence, sequence.length):
                return []
        return _chunk(sequence, left, alone=alone)

    def _to_decoding(self, sequence: Sequence) -> None:
        sequence.decoding = True
        sequence.work.pending.remove(sequence)
        self._turns.remove(sequence.work)
        self._decoding.append(sequence)
        self._decoding.sort(key=_slot_order)

    def _finish(self, sequence: Sequence) -> None:
        sequence.work.pending.remove(sequence)
        if sequence.slot:
            self._free(sequence)


def pool_capacity(tokens: int) -> int:
    """Capacity of the pool a sequence belongs to: 512, 2048, 8192, …; few sizes, so that rows of one pool attend in
    one operation, and short sequences do not pay for long ones."""
    capacity = 512
    while capacity < tokens:
        capacity *= 4
    return capacity


def _slot_order(sequence: Sequence) -> tuple[int, int]:
    assert sequence.slot is not None
    return sequence.slot.capacity, sequence.slot.index


def _whole(sequence: Sequence) -> list[Segment]:
    family = (sequence, *sequence.children)
    return [Segment(member, member.computed, member.remaining) for member in family if member.remaining]


def _chunk(sequence: Sequence, left: int, *, alone: bool) -> list[Segment]:
    segments: list[Segment] = []
    for member in (sequence, *sequence.children):
        count = min(member.remaining, left)
        if (member.parent or member.atomic) and count < member.remaining:
            # A continuation has no room of its own in the cache: it runs whole, by itself if need be.
            if segments or not alone:
                break
            count = member.remaining
        if count > 0:
            segments.append(Segment(member, member.computed, count))
            left -= count
        if left <= 0:
            break
    return segments
