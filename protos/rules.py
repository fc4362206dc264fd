"""Prints the descriptor set of buf/validate/validate.proto, as the installed protovalidate carries it."""

from __future__ import annotations

import sys

from google.protobuf import descriptor_pb2
from protovalidate._gen.buf.validate import validate_pb

descriptor = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
sys.stdout.buffer.write(descriptor_pb2.FileDescriptorSet(file=[descriptor]).SerializeToString(deterministic=True))
