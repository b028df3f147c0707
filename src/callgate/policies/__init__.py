"""One folder for each policy: its mechanism, without I/O, and the thin layer that applies it to a call."""
