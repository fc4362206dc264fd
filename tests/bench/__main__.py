"""`make bench`: every measurement, or those named: "linear edits generate plans extract extract_set beside …"."""

from __future__ import annotations

import sys

from tests.bench import (
    beside,
    edits,
    extract,
    extract_set,
    generate,
    growth,
    linear,
    methods,
    neurox,
    plans,
    redundancy,
    results,
    store,
    transport,
)

# The transport measurement turns the plain models into engines, so it comes after those that need them plain.
BENCHES = {
    "linear": linear.run,
    "edits": edits.run,
    "generate": generate.run,
    "plans": plans.run,
    "extract": extract.run,
    "extract_set": extract_set.run,
    "beside": beside.run,
    "transport": transport.run,
    "store": store.run,
    "redundancy": redundancy.run,
    "methods": methods.run,
    "growth": growth.run,
    "neurox": neurox.run,
    "results": results.run,
}
# No measurement of speed, and it takes an hour.
ONLY_IF_NAMED = {"results"}


def main() -> None:
    for name in sys.argv[1:] or [name for name in BENCHES if name not in ONLY_IF_NAMED]:
        BENCHES[name]()


if __name__ == "__main__":
    main()
