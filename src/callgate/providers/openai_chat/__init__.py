"""The OpenAI Chat Completions dialect, which most hosts speak."""
