"""The plain HTTP client, without models: also decorators, rate limiters, `alcall` and `save_to_file`."""
