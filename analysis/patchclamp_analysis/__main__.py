"""`python -m patchclamp_analysis`: the same as `patchclamp-analysis`."""

from __future__ import annotations

import sys

from patchclamp_analysis.cli import main

sys.exit(main())
