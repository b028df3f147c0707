"""Answers kept by content address: the key, the codec, a store in memory and one on disk."""
