"""Routing: which endpoint of a pool takes an attempt."""
