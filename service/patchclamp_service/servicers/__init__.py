"""One file per gRPC service: check, convert, call the engine, yield. No status code is named here."""
