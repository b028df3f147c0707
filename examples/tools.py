"""The model calls Python functions until it can answer.

OPENAI_API_KEY=... python examples/tools.py
"""

import asyncio

from callgate import iModel

STOCK = {"kettle": 3, "lamp": 0}


async def count_in_stock(product: str) -> int:
    """How many pieces of a product are in stock."""
    return STOCK.get(product, 0)


async def main() -> None:
    async with iModel("openai/gpt-4o-mini") as model:
        question = [{"role": "user", "content": "Can I buy a lamp, or else a kettle?"}]
        run = await model.run_tools(question, [count_in_stock])
        for message in run.messages:
            if message["role"] == "tool":
                print(f"{message['name']} -> {message['content']}")
        print(run.text)
        print(f"{len(run.callings)} calls, {run.usage.total_tokens} tokens")


asyncio.run(main())
