"""Fills the cache of the image: `cache_models.py DIRECTORY NAME,NAME`. Each model is checked and loaded once."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from patchclamp_service.engine.model import ModelSpec, load_model


def main(directory: str, names: str) -> None:
    """Loads the models one after another. What is in the cache later is readable by everybody."""
    cache = Path(directory)
    cache.mkdir(parents=True, exist_ok=True)
    for name in names.split(","):
        model = load_model(ModelSpec.parse(name), cache=cache)
        sys.stdout.write(f"cached {name} in {model.load_seconds:.1f} s, sha256:{model.digest}\n")
    shutil.rmtree(cache / "digests", ignore_errors=True)  # kept by inode, which an image does not keep


if __name__ == "__main__":
    main(*sys.argv[1:])
