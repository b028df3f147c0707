"""The batch engine: rows in, answers out, nothing paid twice.

A row's way: `input.sources` reads it, `input.requests` makes its request, a `Workers` task takes it from its
`Feed`, the `Runner` calls for it, and the result is pushed into a sink: in `BatchRun` the journal. `Engine`
starts runs; its `run` is the one place where results are pulled from an iterator.
"""
