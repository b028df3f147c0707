"""What a batch costs.

`budget` reserves and charges US dollars by the attempt, up to `worst_case`, the most that one can cost.
`ledger` keeps what was spent over all runs on an output. `forecast` estimates a run (`--dry-run`) from
`input_totals`. Prices are in `callgate.model.pricing`; what a request is billed by is in
`providers/<dialect>/bounds.py`.
"""
