"""Hedging: a second attempt beside one that is slow; the first response wins."""
