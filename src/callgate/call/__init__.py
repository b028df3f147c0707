"""One call's whole life: the calling, its attempts, its status, and the facts it shows."""
