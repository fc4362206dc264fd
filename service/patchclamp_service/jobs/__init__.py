"""Long-running operations, and the processes and threads that work on them."""
