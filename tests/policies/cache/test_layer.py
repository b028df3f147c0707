"""The cache layer: hits, sharing a request in flight, and what is shared of its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from callgate.call.calling import Calling
from callgate.errors import (
    APIClientError,
    APIConnectionError,
    AuthenticationError,
    DeadlineExceededError,
    RateLimitError,
    ServerError,
)
from callgate.pipeline import Service
from callgate.policies.cache.key import CacheKey
from callgate.policies.cache.layer import Flight, Place, cache_layer, is_known, key_of
from callgate.policies.cache.memory import MemoryCache
from callgate.response import Cost, Delta, Response, ToolCall, ToolCallDelta, Usage
from callgate.testing.clock import run_virtual
from tests.effort import examples

BACKEND = SimpleNamespace(base_url="https://a", dialect=SimpleNamespace(name="chat"), name="a")
Script = Callable[[Calling], Awaitable[Response]]


def ask(number: Any = 1, **facts: Any) -> Calling:
    return Calling({"model": "m", "number": number}, backend=BACKEND, **facts)


class Provider:
    """Answers each call as its script says; by default after a second."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.calls: list[Calling] = []

    async def __call__(self, calling: Calling) -> Response:
        self.calls.append(calling)
        if len(self.calls) <= len(self.scripts):
            return await self.scripts[len(self.calls) - 1](calling)
        number = len(self.calls)
        await asyncio.sleep(1)
        return Response(text=f"answer {number}", usage=Usage(10, 5))


def failing(error: BaseException) -> Script:
    async def fail(_: Calling) -> Response:
        await asyncio.sleep(1)
        raise error

    return fail


def answering(response: Response) -> Script:
    async def answer(_: Calling) -> Response:
        await asyncio.sleep(1)
        return response

    return answer


def outcomes(*calls: Coroutine[Any, Any, Any]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*calls, return_exceptions=True)

    return run_virtual(main())


def texts(found: list[Any]) -> list[Any]:
    return [each.text if isinstance(each, Response) else type(each) for each in found]


class TestHits:
    def test_the_second_time_nothing_is_sent_and_nothing_paid(self) -> None:
        provider = Provider()
        service = cache_layer(MemoryCache())(provider)
        first, second = ask(), ask()
        second.pricer = first.pricer = lambda usage, response: Cost(1.0, 1.0)

        async def main() -> None:
            for calling in (first, second):
                calling.complete(await service(calling), 0)

        run_virtual(main())
        assert len(provider.calls) == 1
        assert (first.cached, second.cached) == (False, True)
        assert second.response == first.response
        assert second.cost == Cost(0.0, 0.0)

    def test_a_stream_of_a_hit_has_reasoning_and_text(self) -> None:
        told: list[Delta] = []

        async def sink(delta: Delta) -> None:
            told.append(delta)

        provider = Provider(answering(Response(text="4", reasoning="2 and 2")))
        service = cache_layer(MemoryCache())(provider)
        plain, streamed = ask(), ask()
        streamed.payload["stream"] = True
        streamed.sink = sink
        run_virtual(_in_turn(service, plain, streamed))
        assert told == [Delta(reasoning="2 and 2"), Delta(text="4")]
        assert streamed.delivered == 2

    def test_a_stream_of_a_hit_has_each_tool_call(self) -> None:
        told: list[Delta] = []

        async def sink(delta: Delta) -> None:
            told.append(delta)

        calls = [ToolCall("1", "f", {"city": "Oslo"}), ToolCall("2", "g", raw_arguments="{no JSON")]
        service = cache_layer(MemoryCache())(Provider(answering(Response(tool_calls=calls))))
        streamed = ask()
        streamed.sink = sink
        (_, second) = run_virtual(_in_turn(service, ask(), streamed))
        assert second.tool_calls == calls
        assert [delta.tool_call for delta in told] == [
            ToolCallDelta(0, "1", "f", '{"city":"Oslo"}'),
            ToolCallDelta(1, "2", "g", "{no JSON"),
        ]

    def test_a_stream_of_an_empty_hit_has_no_delta(self) -> None:
        async def sink(delta: Delta) -> None:
            raise AssertionError("there is nothing to tell")

        service = cache_layer(MemoryCache())(Provider(answering(Response())))
        streamed = ask()
        streamed.sink = sink
        assert run_virtual(_in_turn(service, ask(), streamed)) == [Response(), Response()]

    def test_a_stream_s_answer_is_kept_too(self) -> None:
        provider = Provider()
        service = cache_layer(MemoryCache())(provider)
        streamed, plain = ask(), ask()
        streamed.payload["stream"] = True
        run_virtual(_in_turn(service, streamed, plain))
        assert plain.cached

    def test_a_store_that_is_awaited_is_asked_once_for_all(self) -> None:
        class Remote(MemoryCache):
            __slots__ = ("asked",)

            async def get(self, key: CacheKey, /) -> Response | None:  # type: ignore[override]
                self.asked = getattr(self, "asked", 0) + 1
                await asyncio.sleep(1)
                return MemoryCache.get(self, key)

        store, provider = Remote(), Provider()
        service = cache_layer(store)(provider)
        first, *others = (ask() for _ in range(4))

        async def main() -> None:
            await service(first)
            await asyncio.gather(*(service(each) for each in others))

        run_virtual(main())
        assert len(provider.calls) == 1
        assert store.asked == 2
        assert [each.cached for each in (first, *others)] == [False, True, True, True]


class TestWhatIsKept:
    @pytest.mark.parametrize("error", [ServerError("no"), DeadlineExceededError(), ValueError("no")])
    def test_no_failure(self, error: Exception) -> None:
        provider = Provider(failing(error))
        service = cache_layer(MemoryCache())(provider)
        with pytest.raises(type(error)):
            run_virtual(service(ask()))
        assert run_virtual(service(ask())).text == "answer 2"

    @pytest.mark.parametrize("response", [Response(status_code=500), Response(finish_reason="error")])
    def test_no_answer_that_is_a_failure(self, response: Response) -> None:
        provider = Provider(answering(response))
        service = cache_layer(MemoryCache())(provider)
        first, second = run_virtual(_in_turn(service, ask(), ask()))
        assert first is response
        assert second.text == "answer 2"

    def test_no_call_without_a_key(self) -> None:
        provider = Provider()
        service = cache_layer(MemoryCache(), lambda calling: None)(provider)
        run_virtual(_in_turn(service, ask(), ask()))
        assert len(provider.calls) == 2

    def test_an_answer_that_does_not_fit_only_when_another_one_to_the_same_calling_does(self) -> None:
        def fits(_: Calling, response: Response) -> bool:
            return response.text in ("answer 2", "answer 4")

        def again(calling: Calling) -> Calling:
            calling.payload = {**calling.payload, "complaint": "no"}
            return calling

        async def asks(service: Service, number: int) -> list[str]:
            calling = ask(number)
            first = await service(calling)
            return [first.text, (await service(again(calling))).text]

        async def main() -> list[list[str]]:
            service = cache_layer(MemoryCache(), fits=fits)(Provider())
            found = [await asks(service, 1), await asks(service, 1)]
            calling = ask(2)
            return [*found, [(await service(calling)).text, (await service(calling)).text]]

        # The whole way to an answer that fits is known; what led to none is asked anew.
        assert run_virtual(main()) == [
            ["answer 1", "answer 2"],
            ["answer 1", "answer 2"],
            ["answer 3", "answer 4"],
        ]


class TestSharing:
    def test_identical_calls_in_flight_share_one_request(self) -> None:
        provider = Provider()
        service = cache_layer(MemoryCache())(provider)
        callings = [ask(number % 2) for number in range(20)]
        found = outcomes(*(service(calling) for calling in callings))
        assert len(provider.calls) == 2
        assert texts(found) == ["answer 1", "answer 2"] * 10
        assert [calling.cached for calling in callings] == [False, False] + [True] * 18

    def test_each_gets_an_answer_of_its_own(self) -> None:
        def answer() -> Response:
            return Response(tool_calls=[ToolCall("1", "f", {"x": [1]})], raw={"choices": [{"index": 0}]})

        service = cache_layer(MemoryCache())(Provider(answering(answer())))
        first, second = outcomes(service(ask()), service(ask()))
        second.metadata["mine"] = True
        second.tool_calls[0].name = "changed"
        second.tool_calls[0].arguments["x"].append(2)
        second.raw["choices"][0]["index"] = 1
        assert first == answer()

    def test_what_a_tool_returns_need_not_be_copied(self) -> None:
        handle = threading.Lock()
        service = cache_layer(MemoryCache())(Provider(answering(Response(data=handle, raw=handle))))
        first, second = outcomes(service(ask()), service(ask()))
        assert first.data is handle
        assert second.data is handle

    def test_none_that_comes_while_the_answer_is_being_written_asks_again(self) -> None:
        class Slow(MemoryCache):
            async def put(self, key: CacheKey, response: Response, /) -> None:
                await asyncio.sleep(5)
                await super().put(key, response)

        provider = Provider()
        service = cache_layer(Slow())(provider)

        async def later() -> Response:
            await asyncio.sleep(3)
            return await service(ask())

        outcomes(service(ask()), later())
        assert len(provider.calls) == 1

    def test_pipelines_may_share_their_flights(self) -> None:
        provider, flights = Provider(), dict[bytes, Flight]()
        one = cache_layer(MemoryCache(), flights=flights)(provider)
        two = cache_layer(MemoryCache(), flights=flights)(provider)
        outcomes(one(ask()), two(ask()))
        assert len(provider.calls) == 1
        assert flights == {}

    def test_a_flight_on_another_loop_is_not_waited_for(self) -> None:
        provider, flights = Provider(), dict[bytes, Flight]()
        service = cache_layer(MemoryCache(), flights=flights)(provider)
        other_loop = asyncio.new_event_loop()
        key = key_of(ask())
        assert key is not None
        flights[key.digest] = Flight(other_loop, ())
        assert run_virtual(service(ask())).text == "answer 1"
        other_loop.close()

    def test_a_flight_that_was_replaced_leaves_its_successor_alone(self) -> None:
        flights: dict[bytes, Flight] = {}
        service = cache_layer(MemoryCache(), flights=flights)(Provider())

        async def main() -> None:
            leading = asyncio.create_task(service(ask()))
            await asyncio.sleep(0)
            ((digest, _),) = flights.items()
            flights[digest] = successor = Flight(asyncio.get_running_loop(), ())
            await leading
            assert flights == {digest: successor}

        run_virtual(main())


class TestTheLeaderFails:
    def test_an_error_of_the_request_is_copied_to_all_waiting_calls(self) -> None:
        error = ServerError("down", status_code=503, retry_after=2.0)
        provider = Provider(failing(error))
        service = cache_layer(MemoryCache())(provider)
        found = outcomes(*(service(ask()) for _ in range(3)))
        assert len(provider.calls) == 1
        assert [(type(each), str(each), each.retry_after) for each in found] == [
            (ServerError, "503: down", 2.0)
        ] * 3
        assert len({id(each) for each in found}) == 3
        assert found[1].__cause__ is error

    def test_an_error_is_shared_by_calls_of_the_same_pipeline_only(self) -> None:
        """Another pipeline has a key of its own, say, and its first call leads."""
        provider = Provider(failing(AuthenticationError("wrong key")))
        store, flights = MemoryCache(), dict[bytes, Flight]()
        one, two = (cache_layer(store, flights=flights)(provider) for _ in range(2))
        callings = [ask() for _ in range(4)]
        found = outcomes(one(callings[0]), two(callings[1]), one(callings[2]), two(callings[3]))
        assert texts(found) == [AuthenticationError, "answer 2", AuthenticationError, "answer 2"]
        assert [calling.cached for calling in callings] == [False, False, False, True]

    def test_a_refusal_concerns_one_call_and_the_next_leads(self) -> None:
        provider = Provider(failing(DeadlineExceededError()), failing(DeadlineExceededError()))
        service = cache_layer(MemoryCache())(provider)
        found = outcomes(*(service(ask()) for _ in range(5)))
        assert texts(found) == [DeadlineExceededError, DeadlineExceededError] + ["answer 3"] * 3
        assert len(provider.calls) == 3

    def test_a_bug_of_the_leader_s_own_concerns_one_call(self) -> None:
        provider = Provider(failing(ZeroDivisionError()))
        service = cache_layer(MemoryCache())(provider)
        assert texts(outcomes(service(ask()), service(ask()))) == [ZeroDivisionError, "answer 2"]

    def test_a_stream_that_broke_off_concerns_its_reader_alone(self) -> None:
        async def sink(delta: Delta) -> None:
            pass

        async def breaks(calling: Calling) -> Response:
            await calling.emit(Delta(text="Hel"))
            await asyncio.sleep(1)  # the other one joins meanwhile
            raise APIConnectionError("gone")

        provider = Provider(breaks)
        service = cache_layer(MemoryCache())(provider)
        streamed = ask()
        streamed.sink = sink
        assert texts(outcomes(service(streamed), service(ask()))) == [APIConnectionError, "answer 2"]

    def test_a_cancelled_leader_cancels_no_other_call(self) -> None:
        provider = Provider()
        service = cache_layer(MemoryCache())(provider)

        async def main() -> list[Any]:
            leader, *others = (asyncio.create_task(service(ask())) for _ in range(4))
            await asyncio.sleep(0.5)
            leader.cancel()
            return await asyncio.gather(leader, *others, return_exceptions=True)

        assert texts(run_virtual(main())) == [asyncio.CancelledError] + ["answer 2"] * 3
        assert len(provider.calls) == 2

    def test_a_cancelled_follower_cancels_no_other_call(self) -> None:
        provider = Provider()
        service = cache_layer(MemoryCache())(provider)

        async def main() -> list[Any]:
            leader, follower, other = (asyncio.create_task(service(ask())) for _ in range(3))
            await asyncio.sleep(0.5)
            follower.cancel()
            return await asyncio.gather(leader, follower, other, return_exceptions=True)

        assert texts(run_virtual(main())) == ["answer 1", asyncio.CancelledError, "answer 1"]

    def test_a_follower_cancelled_in_the_moment_it_is_to_lead_passes_it_on(self) -> None:
        provider = Provider()
        service = cache_layer(MemoryCache())(provider)

        async def main() -> list[Any]:
            tasks = [asyncio.create_task(service(ask())) for _ in range(3)]
            await asyncio.sleep(0.5)
            tasks[0].cancel()
            await asyncio.sleep(0)  # it has passed its lead on; the next has not run yet
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        assert texts(run_virtual(main())) == [asyncio.CancelledError, asyncio.CancelledError, "answer 2"]

    def test_cancelled_in_the_moment_it_is_to_lead_with_none_behind_it_leaves_no_flight(self) -> None:
        flights: dict[bytes, Flight] = {}
        service = cache_layer(MemoryCache(), flights=flights)(Provider())

        async def main() -> list[Any]:
            tasks = [asyncio.create_task(service(ask())) for _ in range(2)]
            await asyncio.sleep(0.5)
            tasks[0].cancel()
            await asyncio.sleep(0)
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert flights == {}
            return [await service(ask())]  # it would wait for ever for a leader

        assert texts(run_virtual(main())) == ["answer 2"]

    @pytest.mark.parametrize(
        "end",
        [
            lambda flight: flight.land(Response(text="4")),
            lambda flight: flight.crash(ServerError("no"), BACKEND),
        ],
    )
    def test_a_follower_cancelled_as_it_gets_its_answer_is_cancelled(
        self, end: Callable[[Flight], None]
    ) -> None:
        async def main() -> None:
            flight = Flight(asyncio.get_running_loop(), ())
            follower, other = (asyncio.create_task(flight.join(BACKEND)) for _ in range(2))
            await asyncio.sleep(0)
            end(flight)
            follower.cancel()
            await asyncio.wait([follower, other])
            assert follower.cancelled()
            assert not other.cancelled()
            assert other.exception() or other.result() is not None

        run_virtual(main())

    def test_a_leader_cancelled_while_it_stores_still_answers_the_others(self) -> None:
        class Slow(MemoryCache):
            async def put(self, key: CacheKey, response: Response, /) -> None:
                await asyncio.sleep(5)

        provider = Provider()
        service = cache_layer(Slow())(provider)

        async def main() -> list[Any]:
            leader, follower = (asyncio.create_task(service(ask())) for _ in range(2))
            await asyncio.sleep(3)
            leader.cancel()
            return await asyncio.gather(leader, follower, return_exceptions=True)

        assert texts(run_virtual(main())) == [asyncio.CancelledError, "answer 1"]
        assert len(provider.calls) == 1

    def test_when_all_are_cancelled_nothing_is_left_behind(self) -> None:
        flights: dict[bytes, Flight] = {}
        service = cache_layer(MemoryCache(), flights=flights)(Provider())

        async def main() -> None:
            tasks = [asyncio.create_task(service(ask())) for _ in range(3)]
            await asyncio.sleep(0.5)
            for task in reversed(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        run_virtual(main())
        assert flights == {}


@examples(60)
@given(st.data())
def test_with_any_failures_and_cancellations_each_call_ends_once_and_no_flight_is_left(
    data: st.DataObject,
) -> None:
    scripts = data.draw(
        st.lists(
            st.sampled_from(
                [
                    failing(ServerError("no")),
                    failing(DeadlineExceededError()),
                    failing(RateLimitError("slowly")),
                    answering(Response(text="ok")),
                ]
            ),
            max_size=6,
        )
    )
    cancelled = data.draw(st.lists(st.tuples(st.integers(0, 11), st.sampled_from([0.5, 1.0, 1.5, 2.0]))))
    flights: dict[bytes, Flight] = {}
    provider = Provider(*scripts)
    service = cache_layer(MemoryCache(), flights=flights)(provider)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(service(ask(number % 2))) for number in range(12)]
        loop = asyncio.get_running_loop()
        for index, at in cancelled:
            loop.call_later(at, tasks[index].cancel)
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = run_virtual(main())
    assert flights == {}
    ended = {index for index, _ in cancelled}
    for index, each in enumerate(found):
        assert isinstance(each, Response | APIClientError) or index in ended
    assert len(provider.calls) <= 12


class Shared(MemoryCache):
    """Two of these around one `common` store are as the caches of two processes."""

    def __init__(
        self, common: MemoryCache, holders: dict[bytes, asyncio.Lock], *, patient: bool = True
    ) -> None:
        super().__init__()
        self.common = common
        self.holders = holders
        self.patient = patient
        self.claimed = 0

    def get(self, key: CacheKey, /) -> Response | None:
        return self.common.get(key)

    async def put(self, key: CacheKey, response: Response, /) -> None:
        await self.common.put(key, response)

    async def claim(self, key: CacheKey, /) -> bool:
        holder = self.holders.setdefault(key.digest, asyncio.Lock())
        if holder.locked() and not self.patient:
            return False
        await holder.acquire()
        self.claimed += 1
        return True

    def release(self, key: CacheKey, /) -> None:
        self.claimed -= 1
        self.holders[key.digest].release()


class TestManyProcesses:
    def test_of_all_that_miss_the_same_one_asks_and_the_others_take_its_answer(self) -> None:
        common, holders = MemoryCache(), dict[bytes, asyncio.Lock]()
        provider = Provider()
        stores = [Shared(common, holders) for _ in range(3)]
        callings = [ask() for _ in stores]
        found = outcomes(
            *(cache_layer(store)(provider)(calling) for store, calling in zip(stores, callings, strict=True))
        )
        assert texts(found) == ["answer 1"] * 3
        assert [calling.cached for calling in callings] == [False, True, True]
        assert [store.claimed for store in stores] == [0, 0, 0]

    def test_when_the_one_that_asks_fails_the_next_asks(self) -> None:
        common, holders = MemoryCache(), dict[bytes, asyncio.Lock]()
        provider = Provider(failing(ServerError("no")))
        one, other = Shared(common, holders), Shared(common, holders)
        found = outcomes(cache_layer(one)(provider)(ask()), cache_layer(other)(provider)(ask()))
        assert texts(found) == [ServerError, "answer 2"]
        assert (one.claimed, other.claimed) == (0, 0)

    def test_a_call_cancelled_while_it_waits_or_sends_holds_no_lock(self) -> None:
        common, holders = MemoryCache(), dict[bytes, asyncio.Lock]()
        provider = Provider()
        stores = [Shared(common, holders) for _ in range(3)]

        async def main() -> list[Any]:
            tasks = [asyncio.create_task(cache_layer(store)(provider)(ask())) for store in stores]
            await asyncio.sleep(0.5)
            tasks[1].cancel()
            tasks[0].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        assert texts(run_virtual(main())) == [asyncio.CancelledError, asyncio.CancelledError, "answer 2"]
        assert [store.claimed for store in stores] == [0, 0, 0]

    def test_a_call_that_waited_too_long_sends_and_releases_no_lock(self) -> None:
        common, holders = MemoryCache(), dict[bytes, asyncio.Lock]()
        provider = Provider()
        one, hasty = Shared(common, holders), Shared(common, holders, patient=False)
        found = outcomes(cache_layer(one)(provider)(ask()), cache_layer(hasty)(provider)(ask()))
        assert texts(found) == ["answer 1", "answer 2"]
        assert (one.claimed, hasty.claimed) == (0, 0)

    def test_a_claim_had_at_once_and_a_store_that_is_awaited(self) -> None:
        class Remote(Shared):
            async def get(self, key: CacheKey, /) -> Response | None:  # type: ignore[override]
                await asyncio.sleep(0.1)
                return self.common.get(key)

            def claim(self, key: CacheKey, /) -> bool:  # type: ignore[override]
                self.claimed += 1
                return True

            def release(self, key: CacheKey, /) -> None:
                self.claimed -= 1

        store = Remote(MemoryCache(), {})
        assert texts(outcomes(cache_layer(store)(Provider())(ask()))) == ["answer 1"]
        assert store.claimed == 0


class TestIsKnown:
    def test_by_the_store_or_a_request_on_its_way_on_the_same_loop(self) -> None:
        store = MemoryCache()
        flights: dict[bytes, Flight] = {}
        service = cache_layer(store, flights=flights)(Provider())
        elsewhere = asyncio.new_event_loop()

        def places(calling: Calling) -> list[Place]:
            key = key_of(calling)
            assert key is not None
            return [Place(store, flights, key)]

        async def main() -> None:
            assert not await is_known(places(ask()))
            on_its_way = asyncio.create_task(service(ask()))
            await asyncio.sleep(0.5)
            assert await is_known(places(ask()))
            assert not await is_known(places(ask(2)))
            await on_its_way
            assert flights == {}
            assert await is_known(places(ask()))
            key = key_of(ask(2))
            assert key is not None
            flights[key.digest] = Flight(elsewhere, ())
            assert not await is_known(places(ask(2)))

        run_virtual(main())
        elsewhere.close()


class TestKeyOf:
    def test_address_dialect_request_path_and_sample(self) -> None:
        keys = [
            key_of(ask()),
            key_of(ask(2)),
            key_of(ask(http_path="completions")),
            key_of(ask(sdk_method_name="chat.create")),
            key_of(ask(metadata={"sample": 1})),
        ]
        elsewhere = ask()
        elsewhere.backend = SimpleNamespace(base_url="https://b", dialect=BACKEND.dialect)
        keys.append(key_of(elsewhere))
        assert len({key.digest for key in keys if key}) == 6
        assert key_of(ask()) == key_of(ask(metadata={"row": 7}))

    def test_what_else_the_answer_depends_on_and_no_credential(self) -> None:
        def asked(headers: dict[str, str] | None = None, method: str | None = None, **facts: Any) -> CacheKey:
            calling = ask(headers=headers, method=method)
            calling.backend = SimpleNamespace(**vars(BACKEND), cache_facts=facts)
            key = key_of(calling)
            assert key is not None
            return key

        plain = key_of(ask())
        assert plain == asked()
        assert plain == asked(headers={"Authorization": "Bearer one"}), "another key finds the same answer"
        assert plain == asked(method="POST"), "the usual one, as it is noted on a calling that was sent"
        others = [
            asked(headers={"Anthropic-Beta": "files"}),
            asked(headers={"Anthropic-Beta": "other"}),
            asked(method="GET"),
            asked(method="DELETE"),
            asked(path="/users"),
            asked(query="api-version=1"),
        ]
        assert len({key.digest for key in [plain, *others]}) == 7
        assert asked(headers={"anthropic-beta": "files"}) == asked(headers={"anthropic-beta": "files"})
        assert asked(headers={"Anthropic-Beta": "files"}) in others

    def test_a_backend_may_name_an_origin_that_outlives_its_port(self) -> None:
        one, two = ask(), ask()
        one.backend = SimpleNamespace(
            base_url="http://127.0.0.1:1", cache_origin="local", dialect=BACKEND.dialect
        )
        two.backend = SimpleNamespace(
            base_url="http://127.0.0.1:2", cache_origin="local", dialect=BACKEND.dialect
        )
        assert key_of(one) == key_of(two)

    def test_a_backend_without_an_address_is_known_by_kind_and_name(self) -> None:
        class Thermometer:
            name = "kitchen"

        kitchen, hall = (
            Calling({"unit": "C"}, backend=Thermometer()),
            Calling({"unit": "C"}, backend=Thermometer()),
        )
        assert key_of(kitchen) == key_of(hall)
        hall.backend.name = "hall"
        assert key_of(kitchen) != key_of(hall)

    def test_what_is_not_to_be_cached_has_none(self) -> None:
        assert key_of(ask(metadata={"cache": False})) is None
        assert key_of(Calling("text", backend=BACKEND)) is None
        assert key_of(ask(object())) is None


async def _in_turn(service: Service, *callings: Calling) -> list[Response]:
    return [await service(calling) for calling in callings]
