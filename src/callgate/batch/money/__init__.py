"""What a batch may cost: a budget that holds over all runs, and a forecast without a call."""
