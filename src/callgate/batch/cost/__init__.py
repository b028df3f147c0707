"""What a batch costs: the budget, the ledger over all runs, the forecast."""
