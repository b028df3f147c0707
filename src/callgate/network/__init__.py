"""The plain HTTP client of the documents, and what goes with it: decorators, rate limiters, helpers."""
