"""Prints the descriptor set of what our protos import and pip packages carry: the validation rules of the installed
protovalidate, google.longrunning of the installed googleapis-common-protos."""

from __future__ import annotations

import sys

from google.longrunning import operations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from protovalidate._gen.buf.validate import validate_pb


def with_imports(file: FileDescriptor, found: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    """Adds a file, after those it imports."""
    for imported in file.dependencies:
        with_imports(imported, found)
    if file.name not in found:
        found[file.name] = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)


files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
with_imports(operations_pb2.DESCRIPTOR, files)
rules = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
sys.stdout.buffer.write(
    descriptor_pb2.FileDescriptorSet(file=[*files.values(), rules]).SerializeToString(deterministic=True)
)
