"""JSON schemas: the strict form that is sent, and the check of a response against the whole schema."""
