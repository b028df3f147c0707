"""The executor: a limiter, a queue, and the lifetime of the calls in it."""
