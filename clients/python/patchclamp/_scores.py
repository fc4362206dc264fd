"""What `score` answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchclamp._exceptions import ProtocolError
from patchclamp._receipts import Applied
from patchclamp.v1 import inference_pb2

__all__ = ["Score", "Scores"]


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """The score of one continuation after its prompt.

    Attributes:
        logprob: Natural logarithm of the continuation's probability: the sum of `token_logprobs`.
        token_logprobs: The same for each of its tokens given those before it; float32 of shape [tokens].
        token_ids: The tokens of the continuation.
    """

    logprob: float
    token_logprobs: npt.NDArray[np.float32]
    token_ids: tuple[int, ...]

    @classmethod
    def from_proto(cls, message: inference_pb2.ItemScore) -> Score:
        """From the wire's form."""
        return cls(message.logprob, np.array(message.token_logprobs, np.float32), tuple(message.token_ids))


class Scores(list[Score]):
    """One score a pair, in their order.

    Attributes:
        applied: What was done to the activations, added up over the pairs.
    """

    def __init__(self, scores: Iterable[Score], applied: Applied) -> None:
        super().__init__(scores)
        self.applied = applied

    @classmethod
    def from_proto(cls, message: inference_pb2.ScoreResponse, pair_count: int) -> Scores:
        """From the wire's form.

        Raises:
            ProtocolError: There is not one score a pair.
        """
        if len(message.scores) != pair_count:
            raise ProtocolError(f"{len(message.scores)} scores came for {pair_count} pairs")
        return cls(map(Score.from_proto, message.scores), Applied.from_proto(message.applied))
