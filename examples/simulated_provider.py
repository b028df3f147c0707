"""Test a client of your own against a simulated provider with strict quotas and faults. No key, no network.

python examples/simulated_provider.py
"""

from openai import OpenAI

from callgate.testing import Simulator

with (
    Simulator(requests_per_minute=600, faults={"500": 0.1}, seed=7) as provider,
    OpenAI(base_url=provider.base_url, api_key="any", max_retries=5) as client,
):
    for number in range(10):
        answer = client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": f"What is {number} plus {number}?"}]
        )
        assert answer.choices[0].message.content
    stats = provider.stats
print(f"{stats.requests} requests for 10 answers: {dict(stats.by_status)}")
