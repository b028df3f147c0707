"""Observation: ends the calling and runs the hooks, which cannot change a result."""
