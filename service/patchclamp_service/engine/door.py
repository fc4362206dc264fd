"""At the door: what requests of every kind are checked against. Nothing here runs the model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from .checks import check_texts, checked_plan
from .errors import InvalidRequest, Unsupported
from .model import LoadedModel
from .plan import Plan
from .requests import Head, Intervention, Limits, ModelKind
from .scheduler import Sequence as TokenSequence
from .scheduler import Work
from .site_map import Site, SiteMap
from .text import Content, Text, Tokens

__all__ = ["Door", "at_most", "check_words", "width_of"]

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# Plans that callers are likely to share: small ones, with the same edits everywhere.
_KEPT_PLANS, _KEPT_NEURONS = 128, 20_000
_ABLE = {
    Head.LANGUAGE: "Generate, Score",
    Head.MASKED_LANGUAGE: "FillMask",
    Head.SEQUENCE_CLASSIFICATION: "Classify",
    Head.TOKEN_CLASSIFICATION: "Classify",
}


class Door:
    """One model, its limits, and the checks that all kinds of requests share. Any thread may call."""

    def __init__(self, model: LoadedModel, sites: SiteMap, text: Text, limits: Limits, *, shares: bool) -> None:
        self.model = model
        self.sites = sites
        self.text = text
        self.limits = limits
        self.shares = shares
        """Whether items with the same prompt can share it."""
        self._plans: OrderedDict[tuple[Intervention, ...], Plan] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def two_sided(self) -> bool:
        """Whether a prompt is read by an encoder, and a decoder writes."""
        return self.model.kind is ModelKind.ENCODER_DECODER

    def needs(self, what: str, heads: Sequence[Head], needed: str, reason: str) -> None:
        """Unsupported unless the model has one of the heads."""
        if self.model.head in heads:
            return
        able = _ABLE.get(self.model.head)
        can = f"{able} and ExtractActivations" if able else "ExtractActivations only"
        raise Unsupported(
            f"{what} needs {needed}; this {type(self.model.module).__name__} can be asked for {can}",
            reason=reason,
            field="model",
        )

    def expand(self, patterns: Sequence[str], field: str) -> tuple[Site, ...]:
        """The sites that some names and patterns stand for, each once."""
        found = [
            site for place, pattern in enumerate(patterns) for site in self.sites.expand(pattern, f"{field}[{place}]")
        ]
        if not found:
            raise InvalidRequest("at least one site", reason="NO_SITES", field=field)
        return tuple(dict.fromkeys(found))

    def check_values(self, values: int, dtype: str, field: str, name: str) -> None:
        """A number of values against a limit in bytes."""
        at_most(values * _BYTES[dtype], getattr(self.limits, name), "bytes of activations", name, field)

    def check_tokens(self, tokens: int, field: str) -> None:
        """Tokens of all parts of a request."""
        at_most(tokens, self.limits.request_tokens, "tokens", "request_tokens", field)

    def check_sentence(self, ids: Sequence[int], field: str) -> None:
        """One sentence, as it runs."""
        if not ids:
            raise InvalidRequest("the sentence has no token", reason="EMPTY_PROMPT", field=field)
        if len(ids) > self.limits.context_tokens:
            raise InvalidRequest(
                f"the sentence has {len(ids)} tokens; context_tokens = {self.limits.context_tokens} are the limit",
                reason="PROMPT_TOO_LONG",
                field=field,
            )

    def whole(self, tokens: Tokens, work: Work, number: int) -> TokenSequence:
        """A sentence of a work that runs whole: in one pass, unless the model reads forwards only."""
        return TokenSequence(
            tokens.ids,
            work,
            prompt_length=len(tokens.ids),
            atomic=self.model.kind is not ModelKind.DECODER,
            number=number,
            types=tokens.types,
        )

    def plan(
        self,
        interventions: tuple[Intervention, ...],
        texts: Sequence[tuple[Sequence[int], int]],
        *,
        grows: bool,
        part: bool = False,
    ) -> Plan:
        """The plan of a request, checked against its texts: (tokens that run, how many are the prompt). Callers of the
        same interventions share it, and with it their blocks of rows. `part`: as in ExtractRequest."""
        with self._lock:
            plan = self._plans.get(interventions)
        if plan is None:
            plan = checked_plan(interventions, self.sites, self.text.vocabulary, self.limits)
            self._keep(interventions, plan)
        if plan:
            check_texts(plan, texts, grows=grows, part=part)
        return plan

    def _keep(self, interventions: tuple[Intervention, ...], plan: Plan) -> None:
        if plan.edited_neurons > _KEPT_NEURONS or not plan.everywhere:
            return
        with self._lock:
            self._plans[interventions] = plan
            if len(self._plans) > _KEPT_PLANS:
                self._plans.popitem(last=False)


def width_of(sites: Iterable[Site]) -> int:
    """Neurons of some sites together."""
    return sum(site.width for site in sites)


def at_most(count: int, limit: int, what: str, name: str, field: str) -> None:
    """InvalidRequest that names the limit, if it is exceeded."""
    if count > limit:
        raise InvalidRequest(
            f"{count} {what} are more than the limit {name} = {limit}", reason="LIMIT_EXCEEDED", field=field
        )


def check_words(content: Content, field: str) -> None:
    """No word is blank."""
    for number, word in enumerate(content if isinstance(content, tuple) else ()):
        if not word.strip():
            raise InvalidRequest(
                "a word is empty or blank", reason="EMPTY_WORD", field=f"{field}.words.words[{number}]"
            )
