"""Several models as one: the quota of all is used, and a broken one costs a handful of calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import (
    APIConnectionError,
    AuthenticationError,
    CircuitBreakerOpenError,
    ConfigurationError,
    ContentFilterError,
    DeadlineExceededError,
    InvalidRequestError,
    QuotaExhaustedError,
    QuotaTooSmallError,
    RateLimitError,
    ResourceNotFoundError,
    RetryAfterTooLongError,
    ServerError,
)
from callgate.executor.executor import Executor
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.registry import ServiceRegistry
from callgate.model.spread import Spread
from callgate.policies.cache.memory import MemoryCache
from callgate.policies.limit.quota import Quota
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.response import Response, Usage
from callgate.testing import Options, SimulatedProvider, VirtualClock
from callgate.testing.clock import run_virtual
from callgate.testing.memory import MemoryTransport
from tests.composition.scripted_model import breaker, make_backend
from tests.policies.scripted_service import After, Scripted, Streamed, now

DOWN = ServerError("down", status_code=500)
WRONG_KEY = AuthenticationError("wrong key", status_code=401)


def member(name: str, *steps: Any, model: dict[str, Any] | None = None, **backend: Any) -> iModel:
    made = make_backend(*steps, **{"retry": None, **backend})
    made.name = name
    return iModel(backend=made, **{"limit_concurrency": None, **(model or {})})


def calls_of(model: Caller) -> int:
    assert isinstance(model, iModel)
    assert isinstance(model.backend, Scripted)
    return len(model.backend.at)


def at_simulator(
    provider: SimulatedProvider, key: str, model: str = "gpt-4o-mini", **settings: Any
) -> iModel:
    return iModel(
        provider="openai",
        model=model,
        base_url=MemoryTransport.base_url,
        api_key=key,
        transport=MemoryTransport(provider),
        **settings,
    )


async def ask(model: Caller, calls: int, at_once: int) -> list[Calling]:
    """So many different calls."""
    ended: list[Calling] = []
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            ended.append(await model.invoke(messages=[{"role": "user", "content": f"Call {number}"}]))

    await asyncio.gather(*(work() for _ in range(at_once)))
    return ended


# --- the quota of all -----------------------------------------------------------------------------------


def test_two_keys_with_600_a_minute_give_1200_and_meet_no_429() -> None:
    clock = VirtualClock()
    provider = SimulatedProvider(
        Options(requests_per_minute=600, latency=0.5, latency_sigma=0.5), clock=clock.time
    )

    async def main() -> None:
        models = [at_simulator(provider, key, limit_requests=600) for key in ("sk-one", "sk-two")]
        async with Spread(models) as model:
            began = now()
            ended = await ask(model, 2400, at_once=100)
            minutes = (now() - began) / 60.0
        assert all(calling.answer is not None for calling in ended)
        assert provider.stats.requests == 2400
        assert [key.refused for key in provider.stats.keys.values()] == [0, 0]
        assert [key.requests for key in provider.stats.keys.values()] == [1200, 1200]
        assert 1200 * 0.99 < 2400 / minutes < 1200 * 1.05

    clock.run(main())


def test_each_key_is_used_by_its_own_quota() -> None:
    async def main() -> None:
        small = member("small", After(0.1, "x"), model={"limit_requests": 60})
        large = member("large", After(0.1, "x"), model={"limit_requests": 600})
        async with Spread([small, large]) as model:
            await ask(model, 2000, at_once=50)
        assert calls_of(small) == pytest.approx(2000 / 11, rel=0.05)

    run_virtual(main())


def test_a_key_whose_tokens_run_out_gets_fewer_calls() -> None:
    answer = Response(text="x", usage=Usage(900, 100))

    async def main() -> None:
        small = member("small", After(0.1, answer), model={"limit_tokens": 60_000})
        large = member("large", After(0.1, answer), model={"limit_tokens": 6_000_000})
        async with Spread([small, large]) as model:
            ended = await ask(model, 500, at_once=10)
        waited = [calling.sent_at - calling.made_at for calling in ended if calling.sent_at is not None]
        # Only those that went before the size of a call was known stood in the small one's line.
        assert sum(seconds > 0.0 for seconds in waited) <= 10
        assert calls_of(small) + calls_of(large) == 500

    run_virtual(main())


def test_among_free_ones_the_one_with_fewer_calls_in_flight_is_taken() -> None:
    async def main() -> None:
        slow, quick = member("slow", After(9.0, "x")), member("quick", After(1.0, "x"))
        async with Spread([slow, quick]) as model:
            await ask(model, 100, at_once=10)
        assert calls_of(slow) < calls_of(quick)

    run_virtual(main())


def test_the_request_has_the_defaults_of_the_model_that_answers() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        provider = SimulatedProvider(Options(), clock=clock)
        broken = at_simulator(SimulatedProvider(Options(keys=["other"]), clock=clock), "sk-one")
        async with Spread([broken, at_simulator(provider, "sk-two", temperature=0.5)]) as model:
            calling = await model.invoke(messages=[{"role": "user", "content": "x"}])
        assert calling.response.text
        assert calling.payload["model"] == "gpt-4o-mini"
        assert calling.payload["temperature"] == 0.5
        assert calling.cost is not None
        assert len(calling.attempts) == 2

    run_virtual(main())


def test_a_model_that_a_call_names_holds_at_every_key() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        provider = SimulatedProvider(Options(), clock=clock)
        broken = at_simulator(SimulatedProvider(Options(keys=["other"]), clock=clock), "sk-one")
        async with Spread([broken, at_simulator(provider, "sk-two")]) as model:
            calling = await model.invoke(model="gpt-4.1", messages=[{"role": "user", "content": "x"}])
        assert calling.response.model == "gpt-4.1"
        assert calling.cost is not None
        assert calling.cost.total == pytest.approx(
            (2.0 * calling.usage.input_tokens + 8.0 * calling.usage.output_tokens) / 1e6
        )

    run_virtual(main())


def test_endpoints_of_different_models_each_ask_for_their_own() -> None:
    async def main() -> None:
        provider = SimulatedProvider(Options(), clock=asyncio.get_running_loop().time)
        models = [at_simulator(provider, f"sk-{name}", model=name) for name in ("gpt-4o", "gpt-4.1")]
        async with Spread(models) as model:
            answers = await asyncio.gather(
                *(model.invoke(model="o3", messages=[{"role": "user", "content": str(n)}]) for n in range(4))
            )
        assert {calling.response.model for calling in answers} == {"gpt-4o", "gpt-4.1"}

    run_virtual(main())


def test_the_facts_of_one_call_go_with_it_wherever_it_goes() -> None:
    async def main() -> None:
        first, second = member("first", WRONG_KEY), member("second", "fine")
        async with Spread([first, second]) as model:
            calling = await model.invoke(prompt="x", http_path="special", metadata={"row": 7})
        assert isinstance(second.backend, Scripted)
        assert calling.http_path == "special"
        assert calling.metadata == {"row": 7}
        assert second.backend.callings == [calling]

    run_virtual(main())


# --- the broken ones ------------------------------------------------------------------------------------


def test_a_key_that_is_refused_costs_a_handful_of_calls_and_loses_none() -> None:
    clock = VirtualClock()
    provider = SimulatedProvider(Options(keys=["sk-good"], latency=0.2), clock=clock.time)

    async def main() -> None:
        good, bad = (at_simulator(provider, key, limit_requests=600) for key in ("sk-good", "sk-bad"))
        async with Spread([bad, good]) as model:
            ended = await ask(model, 1000, at_once=8)
            assert list(model.ejected) == [bad]
        assert all(calling.answer is not None for calling in ended)
        assert provider.stats.requests - 1000 <= 4

    clock.run(main())


def test_calls_that_wait_for_a_broken_endpoint_go_to_another() -> None:
    async def main() -> None:
        broken = member("broken", After(1.0, WRONG_KEY), model={"limit_concurrency": 1})
        good = member("good", After(1.0, "fine"), model={"limit_concurrency": 1})
        async with Spread([broken, good]) as model:
            ended = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(20)))
            assert [calling.answer is not None for calling in ended] == [True] * 20
            # The place of the first was taken by the next before anybody knew.
            assert calls_of(broken) == 2
            assert model.limiter.waiting == 0

    run_virtual(main())


def test_a_line_that_others_share_is_left_alone() -> None:
    async def main() -> None:
        executor = Executor(concurrency_limit=1, requests_rate=None)
        async with executor:
            shared = {"executor": executor, "limit_concurrency": None}
            broken = member("broken", After(1.0, WRONG_KEY), model=shared)
            other = member("other", After(1.0, "fine"), model=shared)
            async with Spread([broken, member("good", "fine")]) as model:
                first = asyncio.ensure_future(model.invoke(prompt="1"))
                await asyncio.sleep(0)
                waiting = asyncio.ensure_future(other.invoke(prompt="2"))
                assert (await first).answer is not None
                assert (await waiting).answer is not None

    run_virtual(main())


@pytest.mark.parametrize(
    ("error", "failures", "rest"),
    [
        (WRONG_KEY, 1, 300.0),
        (QuotaExhaustedError("no credit", status_code=429), 1, 300.0),
        (RetryAfterTooLongError("tomorrow", retry_after=5000.0), 1, 5000.0),
        (CircuitBreakerOpenError("open", retry_after=12.0), 1, 12.0),
        (CircuitBreakerOpenError("open"), 1, 30.0),
        (DOWN, 3, 30.0),
        (APIConnectionError("nobody listens", surely_unsent=True), 3, 30.0),
        (ResourceNotFoundError("no such model", status_code=404), 3, 30.0),
        (AuthenticationError("not this one", status_code=403), 3, 30.0),
    ],
)
def test_a_model_is_left_out_for_a_while_and_tried_again(error: Any, failures: int, rest: float) -> None:
    async def main() -> None:
        broken = member("broken", *[error] * failures, "well again")
        async with Spread([broken, member("good", After(1.0, "fine"))]) as model:
            for attempt in range(failures):
                if attempt and error.surely_unsent:
                    await asyncio.sleep(5.0)  # an endpoint that could not be reached is avoided so long
                assert not model.ejected
                assert (await model.invoke(prompt="x")).response.text == "fine"
            left_out = now()
            assert model.ejected[broken] is error
            for _ in range(5):
                assert (await model.invoke(prompt="x")).completed_by == "good"
            await asyncio.sleep(left_out - 1.0 + rest - now() - 0.5)
            assert (await model.invoke(prompt="x")).completed_by == "good"
            await asyncio.sleep(1.0)
            assert (await model.invoke(prompt="x")).completed_by == "broken"
            assert not model.ejected

    run_virtual(main())


def test_an_endpoint_that_fails_after_its_ejection_is_ejected_at_once() -> None:
    async def main() -> None:
        broken = member("broken", DOWN)
        async with Spread([broken, member("good", "fine")]) as model:
            await ask(model, 10, at_once=1)
            assert calls_of(broken) == 3
            await asyncio.sleep(31.0)
            await ask(model, 10, at_once=1)
            assert calls_of(broken) == 4

    run_virtual(main())


def test_failures_between_answers_eject_no_endpoint() -> None:
    async def main() -> None:
        shaky = member("shaky", *[DOWN, DOWN, "fine"] * 10)
        async with Spread([shaky, member("good", After(5.0, "fine"))]) as model:
            await ask(model, 20, at_once=1)
            assert not model.ejected

    run_virtual(main())


@pytest.mark.parametrize(
    "error",
    [InvalidRequestError("400"), ContentFilterError("no"), DeadlineExceededError("late"), KeyError("bug")],
)
def test_what_is_about_the_call_itself_is_raised_at_once(error: Exception) -> None:
    async def main() -> None:
        other = member("other", "fine")
        async with Spread([member("first", error), other]) as model:
            assert (await model.invoke(prompt="x")).error is error
            assert not model.ejected
        assert calls_of(other) == 0

    run_virtual(main())


def test_calls_move_away_from_lasting_429s_without_an_ejection() -> None:
    async def main() -> None:
        async with Spread([member("busy", RateLimitError("busy")), member("good", "fine")]) as model:
            for _ in range(5):
                assert (await model.invoke(prompt="x")).answer is not None
            assert not model.ejected

    run_virtual(main())


def test_a_call_too_large_for_one_quota_goes_to_a_larger_one() -> None:
    async def main() -> None:
        small = member("small", "x", model={"limit_tokens": 100})
        large = member("large", "fine", model={"limit_tokens": 10_000})
        async with Spread([small, large]) as model:
            for _ in range(5):
                assert (await model.invoke(prompt="x", num_api_tokens_needed=500)).completed_by == "large"
            assert not model.ejected
            assert isinstance(
                (await model.invoke(prompt="x", num_api_tokens_needed=50_000)).error, QuotaTooSmallError
            )

    run_virtual(main())


def test_a_breaker_of_a_model_sends_its_calls_elsewhere_until_it_lets_one_through() -> None:
    async def main() -> None:
        guarded = member(
            "guarded", DOWN, "well", circuit_breaker=breaker(failure_threshold=1, recovery_time=20.0)
        )
        async with Spread([guarded, member("good", After(1.0, "fine"))]) as model:
            ended = await ask(model, 10, at_once=1)
            assert all(calling.completed_by == "good" for calling in ended)
            assert calls_of(guarded) == 1
            await asyncio.sleep(20.0)
            assert (await model.invoke(prompt="x")).completed_by == "guarded"

    run_virtual(main())


# --- none left ------------------------------------------------------------------------------------------


def test_when_no_key_is_left_the_last_error_stands_and_nothing_more_is_sent() -> None:
    async def main() -> None:
        models = [member("first", WRONG_KEY), member("second", QuotaExhaustedError("no credit"))]
        async with Spread(models) as model:
            ended = [await model.invoke(prompt="x") for _ in range(5)]
            assert [type(calling.error) for calling in ended] == [QuotaExhaustedError] * 5
            assert ended[0].error is not None
            assert ended[0].error.__notes__ == ["before it: AuthenticationError: 401: wrong key"]
            assert ended[1].error is not ended[2].error  # tracebacks of their own
            assert len(ended[1].attempts) == 0
            assert [calls_of(each) for each in models] == [1, 1]
            assert repr(model) == "<Spread 'first + second' of 2, ejected: first, second>"

    run_virtual(main())


def test_a_key_exhausted_during_a_stream_ends_it_with_that_error() -> None:
    out_of_credit = QuotaExhaustedError("no credit left", status_code=429)
    spread = Spread([member("a", Streamed(("Once",), out_of_credit))])

    async def main() -> None:
        with pytest.raises(QuotaExhaustedError):
            async for _ in spread.invoke_stream(prompt="x"):
                pass
        assert list(spread.ejected) == list(spread.models)
        later = (await spread.invoke(prompt="y")).error
        assert isinstance(later, QuotaExhaustedError)
        assert later.__cause__ is out_of_credit

    run_virtual(main())


def test_while_all_are_out_for_what_passes_the_one_that_is_due_first_is_tried() -> None:
    async def main() -> None:
        first, second = member("first", *[DOWN] * 3, "fine"), member("second", DOWN)
        async with Spread([first, second]) as model:
            for _ in range(3):
                assert isinstance((await model.invoke(prompt="x")).error, ServerError)
            assert len(model.ejected) == 2
            assert (await model.invoke(prompt="x")).response.text == "fine"

    run_virtual(main())


# --- every way to call ----------------------------------------------------------------------------------


def test_a_stream_goes_elsewhere_until_its_first_piece_has_left() -> None:
    async def main() -> None:
        broken = member("broken", DOWN, Streamed(("One",), DOWN))
        good = member("good", Streamed(("Two",), "Two"))
        async with Spread([broken, good]) as model:
            heard = [str(chunk) async for chunk in model.invoke_stream(prompt="x")]
            assert heard[0] == "Two"
            parts = []
            with pytest.raises(ServerError):
                async for chunk in model.invoke_stream(prompt="x"):
                    parts.append(str(chunk))
            assert parts == ["One"]

    run_virtual(main())


def test_submitted_calls_wait_in_the_lines_of_the_models() -> None:
    async def main() -> None:
        models = [member(name, After(1.0, "x"), model={"limit_concurrency": 5}) for name in ("a", "b")]
        async with Spread(models, queue_capacity=10) as model:
            began = now()
            callings = [model.submit(prompt=str(n)) for n in range(1000)]
            await asyncio.sleep(0.5)
            assert len(asyncio.all_tasks()) <= 10 + 10 + 1
            for calling in callings:
                await calling
            assert now() - began == pytest.approx(100.0)
        assert [calls_of(each) for each in models] == [500, 500]

    run_virtual(main())


def test_leaving_by_an_error_ends_the_calls_in_flight() -> None:
    async def main() -> None:
        slow = member("slow", After(100.0, "x"))
        with pytest.raises(KeyError):
            async with Spread([slow]) as model:
                calling = model.submit(prompt="x")
                await asyncio.sleep(1.0)
                raise KeyError
        assert calling.cancelled
        assert now() == 1.0
        assert slow.limiter.in_flight == 0
        with pytest.raises(RuntimeError, match="closed"):
            await slow.invoke(prompt="x")

    run_virtual(main())


def test_hooks_of_its_own_see_each_call_once() -> None:
    async def main() -> None:
        seen: list[str | None] = []
        hooks = HookRegistry()
        hooks.register(HookPhase.PostInvocation, lambda calling: seen.append(calling.completed_by))
        models = [member("first", WRONG_KEY), member("second", "fine")]
        async with Spread(models, hook_registry=hooks) as model:
            await model.invoke(prompt="x")
        assert seen == ["second"]

    run_virtual(main())


def test_a_deadline_bounds_all_tries_together() -> None:
    async def main() -> None:
        models = [member("first", After(3.0, DOWN)), member("second", After(10.0, "fine"))]
        async with Spread(models) as model:
            calling = await model.invoke(prompt="x", poll_timeout=5.0)
            assert isinstance(calling.error, DeadlineExceededError)
            assert now() == 5.0

    run_virtual(main())


def test_equal_calls_in_flight_share_one_whichever_model_they_went_to() -> None:
    async def main() -> None:
        store = MemoryCache()
        models = [member("same", After(1.0, "x"), model={"cache": store}) for _ in range(2)]
        async with Spread(models) as model:
            await asyncio.gather(*(model.invoke(prompt="x") for _ in range(10)))
        assert sum(calls_of(each) for each in models) == 1

    run_virtual(main())


@pytest.mark.parametrize("inside_another", [False, True])
def test_what_one_model_was_asked_for_is_not_asked_of_another(inside_another: bool) -> None:
    async def main() -> None:
        store = MemoryCache()
        one, two = (member(name, After(1.0, name), model={"cache": store}) for name in ("one", "two"))
        plain = member("plain", After(1.0, "plain"))
        models = [plain, Spread([one, two])] if inside_another else [one, two]
        async with Spread(models) as model:
            # The first goes to whoever is free, the second to the other.
            busy = [asyncio.create_task(model.invoke(prompt=each)) for each in "ab"]
            await asyncio.sleep(0.5)
            together = await asyncio.gather(*(model.invoke(prompt="b") for _ in range(10)))
            first, second = await asyncio.gather(*busy)
            assert first.completed_by != second.completed_by
            known = second if second.completed_by != "plain" else first
            assert all(calling.answer is not None for calling in together)
            asked = calls_of(one) + calls_of(two) + calls_of(plain)
            again = await model.invoke(**known.request)
        assert again.cached
        assert again.answer == known.answer
        assert calls_of(one) + calls_of(two) + calls_of(plain) == asked
        if not inside_another:
            assert asked == 2

    run_virtual(main())


def test_a_call_that_leaves_a_line_is_not_asked_for_at_both_places() -> None:
    """Those who shared its request go on where they wait; it may as well wait for them."""

    async def main() -> None:
        alone = {"cache": MemoryCache(), "limit_concurrency": 1}
        slow, quick = (
            member("slow", After(5.0, "x"), model=alone),
            member("quick", After(0.5, "y"), model=alone),
        )
        async with Spread([slow, quick]) as model:
            ended = await asyncio.gather(
                *(model.invoke(prompt=str(number)) for number in range(30) for _ in range(3))
            )
        assert all(calling.answer is not None for calling in ended)
        assert calls_of(slow) + calls_of(quick) == 30

    run_virtual(main())


def test_a_model_that_is_left_out_still_gives_what_it_has_in_its_cache() -> None:
    async def main() -> None:
        broken = member("broken", "known", WRONG_KEY, model={"cache": MemoryCache()})
        async with Spread([broken, member("other", "x")]) as model:
            first = await model.invoke(prompt="a")
            await ask(model, 2, at_once=2)
            assert broken in model.ejected
            again = await model.invoke(prompt="a")
        assert (first.completed_by, again.completed_by) == ("broken", None)
        assert again.cached

    run_virtual(main())


def test_it_may_stand_in_for_another_model() -> None:
    async def main() -> None:
        async with Spread([member("a", WRONG_KEY), member("b", "fine")], name="both") as spread:
            first = member("first", DOWN, model={"fallbacks": [spread]})
            calling = await first.invoke(prompt="x")
            assert calling.response.text == "fine"
            assert calling.completed_by == "b"

    run_virtual(main())


def test_it_may_be_part_of_a_larger_one() -> None:
    async def main() -> None:
        inner = Spread([member("a", WRONG_KEY), member("b", WRONG_KEY)])
        async with Spread([inner, member("c", "fine")]) as model:
            for _ in range(3):
                assert (await model.invoke(prompt="x")).response.text == "fine"

    run_virtual(main())


def test_it_goes_on_in_another_event_loop() -> None:
    broken = member("broken", WRONG_KEY, "well again")
    model = Spread([broken, member("good", "fine")])

    async def main() -> str | None:
        return (await model.invoke(prompt="x")).completed_by

    assert run_virtual(main()) == "good"
    assert run_virtual(main()) == "broken"


# --- what there is to see -------------------------------------------------------------------------------


def test_the_limiters_are_seen_as_one() -> None:
    async def main() -> None:
        limits: dict[str, Any] = {"limit_concurrency": 2, "limit_requests": 60, "limit_tokens": 60_000}
        a = member("a", After(5.0, "x"), model=limits)
        b = member("b", After(5.0, "x"), model={**limits, "limit_requests": 5, "capacity_refresh_time": 1})
        async with Spread([a, b]) as model:
            assert model.limiter.expected_wait() == 0.0
            tasks = [asyncio.ensure_future(model.invoke(prompt="x")) for _ in range(4)]
            await asyncio.sleep(0)
            view = model.limiter
            assert (view.in_flight, view.waiting, view.bottleneck) == (4, 0, None)
            tasks += [asyncio.ensure_future(model.invoke(prompt="x")) for _ in range(4)]
            await asyncio.sleep(0)
            assert (view.in_flight, view.waiting, view.bottleneck) == (4, 4, "concurrency")
            assert view.expected_wait() > 0.0
            seen = view.snapshot()
            assert (seen.name, seen.waiting, seen.in_flight, seen.concurrency) == ("a + b", 4, 4, 4)
            assert seen.requests is not None
            assert seen.requests.quota == Quota(60 + 300, 60.0)
            assert not seen.requests.learned
            await asyncio.gather(*tasks)

    run_virtual(main())


def test_one_without_bounds_makes_the_whole_without_bounds() -> None:
    async def main() -> None:
        models = [member("a", "x", model={"limit_requests": 60, "limit_concurrency": 3}), member("b", "x")]
        async with Spread(models) as model:
            seen = model.limiter.snapshot()
            assert (seen.requests, seen.tokens, seen.concurrency) == (None, None, None)

    run_virtual(main())


def test_name_and_tags_are_those_of_its_models() -> None:
    a, b = member("x", "1", model={"tags": ["llm", "cheap"]}), member("x", "2", model={"tags": ["llm"]})
    assert Spread([a, b]).name == "x"
    assert Spread([a, b]).tags == {"llm"}
    assert Spread([a, b], name="both", tags=["t"]).name == "both"
    assert Spread([a, b], tags=["t"]).tags == {"t"}
    assert repr(Spread([a])) == "<Spread 'x' of 1, ejected: none>"


def test_it_is_registered_like_any_model() -> None:
    registry = ServiceRegistry()
    spread = Spread([member("a", "fine")], name="all keys")
    assert registry.get(registry.register(spread)) is registry.get("all keys") is spread


def test_none_or_the_same_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        Spread([])
    one = member("x", "1")
    with pytest.raises(ConfigurationError, match="twice"):
        Spread([one, one])
