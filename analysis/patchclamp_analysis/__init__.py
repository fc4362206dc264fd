"""Offline analysis of neurons: arrays and files in, rankings and tables out. No server, no gRPC, no transformers."""
