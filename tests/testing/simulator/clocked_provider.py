"""A simulated provider on a clock that the test moves, and its plans as JSON."""

from __future__ import annotations

import orjson

from callgate.testing.simulator import Options, SimulatedProvider

CHAT = "/v1/chat/completions"


class ClockedProvider:
    """A provider on a clock that the test turns."""

    def __init__(self, **options):
        self.now = 0.0
        self.provider = SimulatedProvider(Options(**options), clock=lambda: self.now)
        self.stats = self.provider.stats

    def post(self, text="Hello", *, key="k", path=CHAT, finish=True, **body):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **body}
        body = {name: value for name, value in body.items() if value is not ...}
        plan = self.provider.handle("POST", path, {"authorization": f"Bearer {key}"}, orjson.dumps(body))
        if finish:
            self.provider.finish(plan)
        return plan


def parsed(plan):
    return orjson.loads(plan.body)


def events(plan):
    lines = [line for line in plan.body.decode().split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [orjson.loads(line.removeprefix("data: ")) for line in lines]
