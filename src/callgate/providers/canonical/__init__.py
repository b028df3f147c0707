"""The canonical request and response format, and how a dialect reads and writes it."""
