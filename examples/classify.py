"""A CSV file in, a data frame with a label beside each row out.

    OPENAI_API_KEY=... python examples/classify.py

The answers are kept in labels.jsonl: killed in the middle and run again, it pays for no answered row twice.
"""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel

import callgate


class Opinion(BaseModel):
    label: Literal["positive", "negative"]
    reason: str


reviews = pd.read_csv(Path(__file__).with_name("reviews.csv"))
results = callgate.run(
    reviews,
    model="openai/gpt-4o-mini",
    output="labels.jsonl",
    template="What does the customer think of the {product}? {review}",
    schema=Opinion,
    max_tokens=200,
    budget=1.00,
)
for result in results.failed:
    print(f"row {result.line} failed: {result.error}")

print(results.to_pandas()[["product", "label", "reason"]].to_string())
print(f"{len(results)} rows, ${results.cost:.5f}")
