"""The command line: `patchclamp-analysis`. Each group of commands is a module in `commands` and a line in `_app`."""

from __future__ import annotations

import sys

import typer

from .errors import AnalysisError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit code: 0 done, 1 it failed (one line on stderr), 2 wrong usage."""
    try:
        app = _app()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("patchclamp"):
            raise
        return _complain(f"needs the analysis extra ({error.name} is missing): pip install 'patchclamp[analysis]'")
    try:
        app(arguments, prog_name="patchclamp-analysis")
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 0
    except (AnalysisError, ImportError) as error:
        return _complain(str(error))
    except OSError as error:
        what = error.strerror or str(error)
        return _complain(f"{error.filename}: {what}" if error.filename else what)
    return 0


def _app() -> typer.Typer:
    from .commands.analyze import analyze
    from .commands.convert import convert
    from .commands.evaluation import compare, evaluate
    from .commands.extract import extract, merge_shards
    from .commands.methods import methods, rank
    from .commands.neurons import clusters, top_words
    from .commands.plot import plot
    from .commands.sets import show

    app = typer.Typer(
        help="Analyse the neurons of language models, offline: no server is asked.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command()(extract)
    app.command("merge")(merge_shards)
    app.command()(convert)
    app.command()(show)
    app.command()(methods)
    app.command()(rank)
    app.command()(analyze)
    app.command()(evaluate)
    app.command()(compare)
    app.command()(plot)
    app.command()(clusters)
    app.command()(top_words)
    return app


def _complain(message: str) -> int:
    sys.stderr.write(f"patchclamp-analysis: {' '.join(message.splitlines())}\n")
    return 1
