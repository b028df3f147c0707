"""Several keys share the calls, each within its own quota. Other endpoints or providers work the same way.

OPENAI_API_KEY=... OPENAI_API_KEY_2=... python examples/several_keys.py
"""

import asyncio
from collections import Counter

from callgate import Spread, iModel

KEYS = ("OPENAI_API_KEY", "OPENAI_API_KEY_2")


async def main() -> None:
    models = [iModel("openai/gpt-4o-mini", name=key, api_key=key, limit_requests=500) for key in KEYS]
    async with Spread(models) as model:
        callings = await asyncio.gather(
            *(model.invoke(prompt=f"What is {number} times {number}?", max_tokens=20) for number in range(20))
        )
    for calling in callings:
        if calling.error is not None:
            print(f"{calling.request_id} failed: {calling.error}")
    print(Counter(calling.completed_by for calling in callings))


asyncio.run(main())
