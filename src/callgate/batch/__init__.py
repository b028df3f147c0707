"""The batch engine: rows in, answers out, nothing paid twice.

`sources` reads rows lazily, `requests` turns a record into a request, `pool` calls with as many at once as
the limiter lets through, `journal` appends what came of it, `engine` and `run` put them together.
"""
