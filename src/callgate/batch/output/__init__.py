"""The output of a batch.

`journal` appends a line for each result; the next run resumes from these (`completed_keys`). `sinks` writes
the other formats from the journal when a run ends. `paths` names the files beside OUTPUT, and `report` adds
an output up.
"""
