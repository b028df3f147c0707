"""The cache: stored responses, and one request for identical calls in flight (single-flight)."""
