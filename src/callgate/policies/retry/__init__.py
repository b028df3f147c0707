"""Retry: which failures are retried, how often, and how long to back off."""
