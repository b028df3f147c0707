"""What a batch writes: the journal it goes on from, tables made of it, and what it all came to."""
