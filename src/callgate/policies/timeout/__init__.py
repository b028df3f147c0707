"""Deadlines and timeouts: one timer for the whole call, one for each attempt."""
