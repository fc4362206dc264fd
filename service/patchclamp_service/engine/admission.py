"""From requests to works: tokenised, checked against the model, or refused with the field that is wrong."""

from __future__ import annotations

from .classifying import ClassifyWork, classification
from .door import Door
from .extracting import ExtractWork, extraction
from .generating import GenerateWork, generation
from .mask_filling import FillMaskWork, mask_filling
from .requests import ClassifyRequest, ExtractRequest, FillMaskRequest, GenerateRequest, Request, ScoreRequest
from .scoring import ScoreWork, scoring
from .stream import Stream

__all__ = ["AnyWork", "admitted"]

AnyWork = GenerateWork | ScoreWork | ExtractWork | ClassifyWork | FillMaskWork


def admitted(door: Door, request: Request, stream: Stream) -> AnyWork:
    """The work that a request is."""
    match request:
        case GenerateRequest():
            return generation(door, request, stream)
        case ScoreRequest():
            return scoring(door, request, stream)
        case ExtractRequest():
            return extraction(door, request, stream)
        case ClassifyRequest():
            return classification(door, request, stream)
        case FillMaskRequest():
            return mask_filling(door, request, stream)
