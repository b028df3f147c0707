"""The Amazon Bedrock dialects: Converse, and InvokeModel for Claude."""
