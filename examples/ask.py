"""One question, the same as typed data, and a streamed answer.

    OPENAI_API_KEY=... python examples/ask.py

Another provider is another name: "anthropic/claude-sonnet-4-5", "ollama/llama3.2", "local/smollm2".
"""

import asyncio

from pydantic import BaseModel

from callgate import APIClientError, iModel


class Moon(BaseModel):
    name: str
    radius_km: int


async def main() -> None:
    async with iModel("openai/gpt-4o-mini", limit_requests=500) as model:
        response = await model.ask("How big is the moon?", max_tokens=100)
        print(response.text, response.usage, response.finish_reason)

        try:
            moon = (await model.ask("Describe the moon.", response_model=Moon)).parsed
        except APIClientError as error:
            print(f"no answer: {error}")
        else:
            print(f"{moon.name} has a radius of {moon.radius_km} km.")

        async for chunk in model.invoke_stream(prompt="Tell a very short story about the moon."):
            print(chunk, end="", flush=True)
        print()


asyncio.run(main())
