"""`make demo`: serves a model, finds the neurons that carry its idea of gender, clamps them and shows what changes."""

import time
from pathlib import Path

from patchclamp import Client
from rich.console import Console

from demo import plot, record, report
from demo.data import TRAINING
from demo.evaluate import Evaluation, evaluate
from demo.find import Search
from demo.lab import Lab
from demo.service import running_service

JSON = Path("demo.json")
PICTURE = Path("demo.png")


class Diary:
    """Prints lines with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def write(self, line: str) -> None:
        """One line."""
        self._console.print(f"[dim]{self.seconds:6.1f} s[/] {line}", highlight=False)


def main() -> None:
    """The whole story."""
    console = Console()
    report.introduction(console)
    diary = Diary(console)
    evaluation = experiment(diary)
    report.results(console, evaluation)
    record.save(JSON, evaluation, diary.seconds)
    plot.save(PICTURE, evaluation)
    diary.write(f"figures in {JSON}, picture in {PICTURE}")


def experiment(diary: Diary) -> Evaluation:
    """Serves, searches on the training part, and measures on the held-out part."""
    diary.write("starting the service (the first start converts the model)")
    with running_service() as address, Client(address) as client:
        diary.write(f"serving SmolLM2-135M on {address}")
        lab = Lab(client)
        search = Search(lab, TRAINING, diary.write)
        for step in search.run():
            diary.write(report.step_line(step))
        diary.write("measuring the held-out part, and controls beside it")
        return evaluate(lab, search)


if __name__ == "__main__":
    main()
