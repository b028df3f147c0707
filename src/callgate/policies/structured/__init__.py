"""Structured responses: a response that does not match its schema is requested again."""
