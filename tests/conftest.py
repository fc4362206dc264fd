"""One thread a process: the tests' models are too small for more, and the machine is shared."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
