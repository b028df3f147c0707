"""What a model is made of: whatever can take one call and give one answer."""
