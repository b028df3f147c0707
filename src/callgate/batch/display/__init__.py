"""What is shown while a batch runs: a panel on a terminal, an output of a notebook, or lines in a log."""
