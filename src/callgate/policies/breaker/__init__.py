"""The circuit breaker: refuses calls to an endpoint that keeps failing."""
