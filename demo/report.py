"""What the demo prints."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich import box
from rich.columns import Columns
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.data import HELD_OUT, TRAINING
from demo.evaluate import Continuations, Evaluation, Outcome
from demo.find import Step

__all__ = ["introduction", "results", "step_line"]

INTRODUCTION = """\
Which pronoun does a small language model expect after "The nurse said that"? The [b]gap[/b] is \
log p(" she") − log p(" he"): above 0 it expects "she", below 0 "he". The [b]spread[/b] is the standard deviation of \
the gap over occupations, within templates: how much the occupation alone decides. We look for the neurons that \
make it, clamp them for our own requests, and leave everyone else's alone."""

FORMATS = (("", 3), ("+", 2), ("", 2))  # sign and digits of spread, mean and perplexity
CORRELATION = (
    "Correlation alone does not find them: clamping the {} other neurons that go best with the gap takes the spread "
    "from {:.2f} to {:.2f}."
)
CAVEAT = (
    "The clamp takes gender itself, not the stereotype alone: the gap between mother, sister, queen … "
    "and father, brother, king … goes from {:.2f} to {:.2f}."
)


def introduction(console: Console) -> None:
    """What is measured, and on what."""
    console.rule("[b]patchclamp: clamp a model's idea of gender, for one request")
    console.print(INTRODUCTION)
    parts = ((TRAINING, "to find the neurons"), (HELD_OUT, "held out, for the results"))
    for material, purpose in parts:
        people, templates = len(material.occupations), len(material.templates)
        console.print(
            f"  {people} occupations × {templates} templates, {len(material.neutral)} neutral texts: {purpose}"
        )


def step_line(step: Step) -> str:
    """One neuron tried."""
    verdict = "[green]kept[/]   " if step.kept else "[dim]dropped[/]"
    return f"{verdict} {step.clamp!s:<22} {step.before:.3f} → {step.after:.3f}, perplexity {100 * step.damage:+.2f} %"


def results(console: Console, evaluation: Evaluation) -> None:
    """The held-out figures, the occupations, the continuations and the neurons."""
    console.rule("[b]On held-out occupations and templates")
    console.print(Columns([figures(evaluation), occupations(evaluation)], padding=(0, 4)))
    spreads = (evaluation.before.spread, evaluation.correlated.spread)
    console.print(CORRELATION.format(len(evaluation.clamps), *spreads))
    console.print(CAVEAT.format(*evaluation.gendered))
    console.rule("[b]The same prompts, without and with the clamp, in one batch")
    console.print(Group(*(side_by_side(each) for each in evaluation.continuations)))
    console.print(neighbours(evaluation))
    neurons = ", ".join(f"[b]{clamp}[/b]" for clamp in evaluation.clamps)
    console.print(f"The neurons: {neurons}", highlight=False)


def figures(evaluation: Evaluation) -> Table:
    """Spread, mean and perplexity, next to the controls."""
    table = Table("", "spread", "mean", "perplexity", title="gap after held-out prompts", box=box.SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    count = len(evaluation.clamps)
    table.add_row("as it is", *cells(evaluation.before))
    table.add_row(f"these {count} neurons clamped", *cells(evaluation.after), style="bold green")
    table.add_row(f"{count} others that correlate best", *cells(evaluation.correlated))
    table.add_row(f"{count} random, {len(evaluation.random)} draws", *random_cells(evaluation.random))
    return table


def cells(outcome: Outcome) -> tuple[str, ...]:
    """The figures of one row."""
    values = (outcome.spread, outcome.mean, outcome.perplexity)
    return tuple(f"{value:{sign}.{digits}f}" for value, (sign, digits) in zip(values, FORMATS, strict=True))


def random_cells(draws: Sequence[Outcome]) -> Iterator[str]:
    """The same over several draws: mean ± standard deviation."""
    columns = zip(*((draw.spread, draw.mean, draw.perplexity) for draw in draws), strict=True)
    for values, (sign, digits) in zip(columns, FORMATS, strict=True):
        yield f"{np.mean(values):{sign}.{digits}f} ± {np.std(values):.{digits}f}"


def occupations(evaluation: Evaluation) -> Table:
    """Mean gap of some occupations, from he to she."""
    table = Table("", "before", "after", title="mean gap", box=box.SIMPLE_HEAD)
    before, after = evaluation.before.gaps.mean(axis=1), evaluation.after.gaps.mean(axis=1)
    for place in np.argsort(before)[::2]:
        table.add_row(HELD_OUT.occupations[place], f"{before[place]:+.2f}", f"{after[place]:+.2f}")
    return table


def side_by_side(each: Continuations) -> Table:
    """Two continuations of a prompt."""
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(continuation(each.prompt, each.beside, "as it is"), continuation(each.prompt, each.clamped, "clamped"))
    return grid


def continuation(prompt: str, text: str, title: str) -> Panel:
    """One continuation, with its pronouns marked."""
    body = Text.assemble((prompt, "dim"), text, "" if text.endswith(".") else " …")
    body.highlight_regex(r"(?i)\b(she|her|hers|herself)\b", "bold magenta")
    body.highlight_regex(r"(?i)\b(he|his|him|himself)\b", "bold cyan")
    return Panel(body, title=title)


def neighbours(evaluation: Evaluation) -> str:
    """Whether requests beside the clamped ones were left alone."""
    same = all(each.alone == each.beside for each in evaluation.continuations)
    verdict = "[green]the same text[/]" if same else "[red]another text[/]"
    return (
        f"Beside the clamped requests the unclamped ones gave {verdict} as alone; their gaps differ by at most "
        f"{evaluation.neighbour:.1g}."
    )
