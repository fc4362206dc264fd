"""The engine: runs a model for many requests at once, each with its own edits. Knows nothing of gRPC."""
