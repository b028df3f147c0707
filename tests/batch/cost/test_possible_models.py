"""Each model that may answer a row sends it in its own way, and the call itself stays as it is."""

from __future__ import annotations

import asyncio
from typing import Any

from callgate.batch.cost.possible_models import most_attempts, possible_calls, shared_calls
from callgate.call.calling import Calling
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.policies.retry.config import RetryConfig


def model(name: str | None, provider: str = "openai", **settings: Any) -> iModel:
    own = {} if name is None else {"model": name}
    return iModel(provider=provider, api_key="k", **own, **settings)


def call(one: Caller) -> Calling:
    async def main() -> Calling:
        return await one.create_calling(request_payload={"model": "the row's", "messages": []})

    return asyncio.run(main())


def names(calls: list[Calling]) -> list[str]:
    return [one.payload["model"] for one in calls]


def test_one_model_takes_the_call_as_it_is() -> None:
    one = model("a")
    calling = call(one)
    assert shared_calls(one, calling) == [(one, calling)]
    assert names([calling]) == ["the row's"]


def test_those_who_share_send_their_own_model_where_they_have_one() -> None:
    members = [model("a"), model("b", provider="groq"), model(None)]
    spread = Spread([members[0], Spread(members[1:])])
    calling = call(spread)
    shared = shared_calls(spread, calling)
    assert [member for member, _ in shared] == members
    assert names([one for _, one in shared]) == ["a", "b", "the row's"]
    assert [one.backend for _, one in shared] == [member.backend for member in members]
    assert names([calling]) == ["the row's"]
    assert possible_calls(spread, calling)[0].payload == shared[0][1].payload


def test_fallbacks_may_answer_and_do_not_share() -> None:
    one = model("a", fallbacks=[model("b"), Spread([model("c"), model("d", fallbacks=[model("e")])])])
    calling = call(one)
    assert [member for member, _ in shared_calls(one, calling)] == [one]
    assert names(possible_calls(one, calling)) == ["the row's", "b", "c", "d"]


def test_nobody_s_hooks_are_told_of_a_call_that_is_not_made() -> None:
    made: list[Calling] = []
    hooks = HookRegistry({HookPhase.PreEventCreate: made.append})
    spread = Spread([model("a", hook_registry=hooks)])
    possible_calls(spread, call(spread))
    assert made == []


def retrying(retries: int, **settings: Any) -> iModel:
    return model("m", retry_config=RetryConfig(max_retries=retries) if retries else None, **settings)


def attempts(one: Caller, schema: Any = None) -> int:
    async def main() -> int:
        request = {"model": "m", "messages": []}
        return most_attempts(one, await one.create_calling(request_payload=request, response_schema=schema))

    return asyncio.run(main())


def test_how_often_a_call_is_sent_at_most() -> None:
    assert attempts(model("m")) == 4  # a model tries again three times unless told otherwise
    assert attempts(retrying(0)) == 1
    assert attempts(retrying(2)) == 3
    assert attempts(retrying(2, hedge=0.05)) == 3 * 3  # two others beside each
    assert attempts(retrying(2, hedge=0.05), {"type": "object"}) == 3 * 3 * 3  # asked three times
    assert attempts(retrying(2, fallbacks=[retrying(0), retrying(4)])) == 3 + 1 + 5
    assert attempts(Spread([retrying(2)])) == 3
    # However many there are, the largest policy bounds the attempts of a call.
    assert attempts(Spread([retrying(2), retrying(4, fallbacks=[retrying(6)])])) == 5
    assert attempts(retrying(1, fallbacks=[Spread([retrying(2), retrying(0)])])) == 2 + 3
