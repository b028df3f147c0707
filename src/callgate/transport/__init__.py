"""Bytes in, bytes out: HTTP, server-sent events, event streams, subprocesses, SDKs; authentication."""
