"""The Vertex AI dialects: the OpenAI-compatible endpoint, and Claude by rawPredict."""
