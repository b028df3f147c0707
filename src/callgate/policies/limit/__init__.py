"""The limiter: requests, tokens and concurrency admitted at the rate of the quota, in FIFO order."""
