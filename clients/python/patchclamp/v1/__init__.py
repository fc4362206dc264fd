"""Generated stubs of the contract: `patchclamp.v1.inference_pb2` and its like. Written by `make gen`."""
