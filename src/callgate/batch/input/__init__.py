"""The input of a batch.

`sources` reads rows of a file of any format (`files` opens it, `records` parses it), `record_source` rows of
objects in memory; `requests` makes the request of each row, and `feed` hands the rows to the workers.
"""
