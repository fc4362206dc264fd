"""What commands write: files that appear whole, all of them at the end, the report last; and what they print."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from ..errors import BadData
from ..files.whole_files import write_together
from ..plots import Plot, image

__all__ = ["check_outputs", "console", "distinct", "file_names", "is_folder", "plot_files", "versions", "write_files"]

_WIDEST = 10_000


def check_outputs(paths: Iterable[Path], suffixes: Sequence[str], *, folders: bool = False) -> None:
    """BadData for what cannot be written, before anything is computed."""
    for path in paths:
        if folders and (is_folder(path) or not suffixes):
            _check_folder(path)
        elif path.suffix not in suffixes or path.is_dir():
            kinds = " or ".join(filter(None, [", ".join(suffixes[:-1]), suffixes[-1]]))
            raise BadData(f"must be a {kinds} file{', or a folder' if folders else ''}", where=str(path))
        elif not path.parent.is_dir():
            raise BadData("there is no such folder", where=str(path.parent))
        else:
            _check_writable(path.parent)


def _check_folder(path: Path) -> None:
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise BadData("is a file, and a folder is to be written", where=str(there))
    _check_writable(there)


def _check_writable(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadData(f"nothing can be written into this folder: {error.strerror}", where=str(folder)) from None


def is_folder(path: Path) -> bool:
    """Whether a path that may not be there yet is meant as a folder: it has no suffix."""
    return path.is_dir() or not path.suffix


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Makes the folder if need be, and writes files into it, together. Others stay."""
    folder.mkdir(parents=True, exist_ok=True)
    write_together({folder / name: content for name, content in contents.items()})


def console() -> Console:
    """For tables on standard output; into a file or a pipe they go as wide as they are."""
    return Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else _WIDEST)


def plot_files(plots: Iterable[Plot], *, data: bool) -> dict[str, bytes]:
    """Each plot as PNG and SVG, with `data` as CSV too."""
    files = {}
    for plot in plots:
        files[f"{plot.name}.png"] = image(plot.figure, "png")
        files[f"{plot.name}.svg"] = image(plot.figure, "svg")
        if data:
            files[f"{plot.name}.csv"] = plot.data.to_csv(index=False).encode()
    return files


def file_names(paths: Sequence[Path]) -> list[str]:
    """Names of files to tell them apart by, as short as may be."""
    stems, names = [path.stem for path in paths], [path.name for path in paths]
    return stems if len(set(stems)) == len(stems) else distinct(names)


def distinct(names: Sequence[str]) -> list[str]:
    """The names; those that come several times are numbered."""
    numbers = [names[:place].count(name) + 1 for place, name in enumerate(names)]
    return [f"{name} {number}" if names.count(name) > 1 else name for name, number in zip(names, numbers, strict=True)]


def versions() -> str:
    """What a result was made with."""
    found = {"Python": platform.python_version()}
    for name in ("patchclamp", "numpy", "scipy", "scikit-learn", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(f"{name} {version}" for name, version in found.items())
