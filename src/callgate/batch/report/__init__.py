"""What a batch came to: read from its output, and shown as text, as JSON or as a page."""
