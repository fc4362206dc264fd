"""The patchclamp server: a gRPC service around an engine that runs transformer models with edited neurons."""
