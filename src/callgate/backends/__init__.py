"""Backends make one attempt at a call. `ServiceBackend` is the protocol; endpoints and tools implement it."""
