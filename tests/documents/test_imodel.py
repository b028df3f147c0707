"""iModel as the documents define it, without reference to the code.

Every call goes over a real connection to a service on loopback.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from pydantic import SecretStr

from callgate import (
    Calling,
    Endpoint,
    Executor,
    RequestStatus,
    SdkTransportConfig,
    ServiceEndpointConfig,
    iModel,
)
from callgate.testing import Simulator
from tests.documents.http_model import (
    ENDED,
    KEY,
    completing,
    failing,
    service_config,
    with_model,
)
from tests.documents.http_service import Answer, HttpService, Request


async def resolved(value: Any) -> Any:
    """The value, or what it gives when awaited: the documents leave open which of the two some names are."""
    return await value if isinstance(value, Coroutine) else value


# --- iModel(endpoint, executor) --------------------------------------------------------------------------


def test_invoke_returns_when_the_call_has_ended() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(
            request_payload={"prompt": "Write a short poem", "max_tokens": 150, "temperature": 0.7},
            http_path="completions",
            num_api_tokens_needed=200,
            metadata={"request_type": "completion"},
        )
        assert isinstance(event, Calling)
        assert event.status is RequestStatus.COMPLETED
        assert event.response_status_code == 200
        assert event.response_body.get("choices", [{}])[0].get("text", "").strip() == "Roses are red"
        assert event.response_headers["x-request-id"] == "req-7"
        assert event.response_headers.get("X-Request-Id") == "req-7"
        assert event.metadata["request_type"] == "completion"
        assert event.num_api_tokens_needed == 200
        assert len(event.attempts) == 1
        assert event.error is None
        assert event.error_type is None

    with_model(completing, scenario)


def test_the_request_goes_to_the_path_with_key_headers_and_defaults() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        await model.invoke(request_payload={"prompt": "Hi", "max_tokens": 5}, http_path="completions")

    (request,) = with_model(completing, scenario).requests
    assert (request.method, request.path) == ("POST", "/v1/completions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"] == "lionfuncs/0.1.0"
    assert request.headers["content-type"].startswith("application/json")
    assert request.json == {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi", "max_tokens": 5}


def test_the_request_overrides_the_defaults() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        await model.invoke(request_payload={"prompt": "Hi", "model": "another"}, http_path="completions")

    (request,) = with_model(completing, scenario).requests
    assert request.json["model"] == "another"


def test_payload_and_keywords_are_equivalent() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        await model.invoke(request_payload={"prompt": "Hi", "stop": ["."]}, http_path="completions")
        await model.invoke(prompt="Hi", stop=["."], http_path="completions")

    first, second = with_model(completing, scenario).requests
    assert first.json == second.json


def test_the_callers_payload_is_left_alone() -> None:
    payload = {"prompt": "Hi", "nested": {"a": [1]}}
    before = json.dumps(payload)

    async def scenario(model: iModel, _service: HttpService) -> None:
        await model.invoke(request_payload=payload, http_path="completions")

    with_model(completing, scenario)
    assert json.dumps(payload) == before


def test_the_http_method_can_be_set_for_one_call() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(http_path="models", http_method="GET")
        assert event.status is RequestStatus.COMPLETED
        assert event.method == "GET"

    (request,) = with_model(completing, scenario).requests
    assert (request.method, request.path.partition("?")[0]) == ("GET", "/v1/models")


def test_the_event_knows_where_the_call_went() -> None:
    async def scenario(model: iModel, service: HttpService) -> None:
        event = await model.invoke(request_payload={"prompt": "Hi"}, http_path="completions")
        assert event.endpoint_url == f"{service.url}/v1/completions"
        assert event.method == "POST"
        assert event.payload["prompt"] == "Hi"

    with_model(completing, scenario)


def test_calls_of_one_model_run_at_once_up_to_the_executors_limit() -> None:
    async def slowly(request: Request) -> Answer:
        await asyncio.sleep(0.02)
        return completing(request)

    async def scenario(model: iModel, _service: HttpService) -> None:
        await asyncio.gather(*(model.invoke(prompt=str(n), http_path="completions") for n in range(20)))

    service = with_model(slowly, scenario, executor={"concurrency_limit": 4})
    assert service.most_running == 4
    assert len(service.requests) == 20


# --- submit, create_calling, cancelling ------------------------------------------------------------------


def test_submit_returns_at_once_and_the_calling_ends_later() -> None:
    async def scenario(model: iModel, service: HttpService) -> None:
        calling = model.submit(prompt="Hi", http_path="completions")
        assert isinstance(calling, Calling)
        assert calling.status not in ENDED
        assert service.requests == []
        assert await calling is calling
        assert calling.status is RequestStatus.COMPLETED

    with_model(completing, scenario)


def test_a_calling_can_be_made_first_changed_and_invoked_later() -> None:
    async def scenario(model: iModel, service: HttpService) -> None:
        calling: Any = await resolved(model.create_calling(prompt="Hi", http_path="completions"))
        assert calling.status == "pending"
        assert calling.payload["prompt"] == "Hi"
        calling.timeout = 120.0
        await asyncio.sleep(0.01)
        assert service.requests == []
        assert await model.invoke(calling=calling) is calling
        assert calling.status is RequestStatus.COMPLETED
        assert calling.timeout == 120.0

    with_model(completing, scenario)


def test_create_calling_can_be_awaited_as_the_services_document_does() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        calling = await model.create_calling(timeout=30.0, prompt="Hi", http_path="completions")
        assert calling.timeout == 30.0
        assert (await model.invoke(calling)).status is RequestStatus.COMPLETED

    with_model(completing, scenario)


def test_a_submitted_call_can_be_cancelled_and_its_slot_is_free_again() -> None:
    first = True

    async def hanging_once(request: Request) -> Answer:
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(3600)
        return completing(request)

    async def scenario(model: iModel, service: HttpService) -> None:
        calling = model.submit(prompt="Hi", http_path="completions")
        while not service.requests:
            await asyncio.sleep(0.001)
        calling.cancel()
        assert (await calling).status is RequestStatus.FAILED
        assert calling.error_type == "CancelledError"
        assert calling.cancelled is True
        after = await model.invoke(prompt="Hi", http_path="completions")
        assert after.status is RequestStatus.COMPLETED

    with_model(hanging_once, scenario, executor={"concurrency_limit": 1})


def test_cancelling_the_invoking_task_cancels_the_call() -> None:
    first = True

    async def hanging_once(request: Request) -> Answer:
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(3600)
        return completing(request)

    async def scenario(model: iModel, service: HttpService) -> None:
        invoking = asyncio.ensure_future(model.invoke(prompt="Hi", http_path="completions"))
        while not service.requests:
            await asyncio.sleep(0.001)
        invoking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await invoking
        after = await model.invoke(prompt="Hi", http_path="completions")
        assert after.status is RequestStatus.COMPLETED

    with_model(hanging_once, scenario, executor={"concurrency_limit": 1})


# --- iModel(executor, config) and acompletion ------------------------------------------------------------


def config_dict(url: str) -> dict[str, Any]:
    """The configuration of the network client document, with the host of the service."""
    return {
        "base_url": url + "/v1",
        "endpoint": "completions",
        "api_key": KEY,
        "model_name": "gpt-3.5-turbo-instruct",
    }


def test_acompletion_posts_prompt_limits_and_the_configured_model() -> None:
    async def main() -> None:
        async with HttpService(completing) as service, Executor() as executor:
            async with iModel(executor, config_dict(service.url)) as model:
                event = await model.acompletion(
                    prompt="Write a short poem about programming",
                    max_tokens=100,
                    temperature=0.5,
                    num_tokens_to_consume=200,
                    stop=["\n\n"],
                )
            assert event.status is RequestStatus.COMPLETED
            assert event.response_body["choices"][0]["text"] == "  Roses are red  "
            assert event.num_api_tokens_needed == 200
            (request,) = service.requests
            assert (request.method, request.path) == ("POST", "/v1/completions")
            assert request.headers["authorization"] == f"Bearer {KEY}"
            assert request.json == {
                "model": "gpt-3.5-turbo-instruct",
                "prompt": "Write a short poem about programming",
                "max_tokens": 100,
                "temperature": 0.5,
                "stop": ["\n\n"],
            }

    asyncio.run(main())


def test_acompletion_has_the_defaults_of_the_documents() -> None:
    async def main() -> None:
        async with HttpService(completing) as service, Executor() as executor:
            async with iModel(executor, config_dict(service.url)) as model:
                await model.acompletion("Hi")
            assert service.requests[0].json["max_tokens"] == 150
            assert service.requests[0].json["temperature"] == 0.7

    asyncio.run(main())


def test_a_model_from_a_config_needs_no_path() -> None:
    async def main() -> None:
        async with HttpService(completing) as service, Executor() as executor:
            async with iModel(executor, config_dict(service.url)) as model:
                event = await model.invoke(request_payload={"prompt": "Hello, world!"})
            assert event.status is RequestStatus.COMPLETED
            assert service.requests[0].path == "/v1/completions"

    asyncio.run(main())


def test_acompletion_works_on_a_model_over_an_endpoint_too() -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.acompletion(prompt="Hi", http_path="completions")
        assert event.status is RequestStatus.COMPLETED

    (request,) = with_model(completing, scenario).requests
    assert request.json["prompt"] == "Hi"


# --- who owns what ---------------------------------------------------------------------------------------


def test_endpoint_and_executor_can_be_given_by_their_names() -> None:
    async def main() -> None:
        async with HttpService(completing) as service, Executor() as executor:
            async with (
                Endpoint(service_config(service.url)) as endpoint,
                iModel(endpoint=endpoint, executor=executor) as model,
            ):
                event = await model.invoke(prompt="Hi", http_path="completions")
                assert event.status is RequestStatus.COMPLETED
                assert model.executor is executor

    asyncio.run(main())


def test_leaving_the_model_leaves_the_executor_and_the_endpoint_that_were_given_open() -> None:
    async def main() -> None:
        async with HttpService(completing) as service, Executor() as executor:
            endpoint = Endpoint(service_config(service.url))
            for _ in range(2):
                async with iModel(endpoint, executor) as model:
                    event = await model.invoke(prompt="Hi", http_path="completions")
                    assert event.status is RequestStatus.COMPLETED
            assert await resolved(endpoint.get_client()) is not None
            await endpoint.close()

    asyncio.run(main())


def test_an_endpoint_has_one_client_and_none_once_it_is_closed() -> None:
    async def main() -> None:
        async with Endpoint(service_config("http://127.0.0.1:9")) as endpoint:
            assert await resolved(endpoint.get_client()) is await resolved(endpoint.get_client())
        with pytest.raises(RuntimeError):
            await resolved(endpoint.get_client())
        await endpoint.close()

    asyncio.run(main())


def test_two_models_share_the_limits_of_their_executor() -> None:
    async def slowly(request: Request) -> Answer:
        await asyncio.sleep(0.02)
        return completing(request)

    async def main() -> None:
        async with (
            HttpService(slowly) as service,
            Executor(concurrency_limit=3, requests_rate=1000) as executor,
        ):
            async with (
                iModel(executor, config_dict(service.url)) as one,
                iModel(executor, config_dict(service.url)) as other,
            ):
                await asyncio.gather(*(model.invoke(prompt="Hi") for model in [one, other] * 6))
            assert service.most_running == 3

    asyncio.run(main())


# --- iModel(provider=...) --------------------------------------------------------------------------------

MESSAGES = [{"role": "user", "content": "Hello!"}]


def test_a_model_by_provider_name_answers_with_text_usage_and_finish_reason() -> None:
    async def main() -> None:
        async with (
            Simulator(answers=["The answer."]) as sim,
            iModel(
                provider="openai", base_url=sim.base_url, api_key=KEY, limit_requests=50, limit_tokens=100000
            ) as model,
        ):
            calling: Any = await model.invoke(model="gpt-4o-mini", messages=MESSAGES)
            assert calling.status is RequestStatus.COMPLETED
            assert calling.response.data == calling.response.text == "The answer."
            assert calling.response.finish_reason == "stop"
            assert calling.usage.input_tokens > 0
            assert calling.usage.output_tokens > 0
            assert calling.execution.response is calling.response
            assert not calling.cached

    asyncio.run(main())


def test_a_model_by_provider_name_has_the_name_and_tags_of_the_documents() -> None:
    model = iModel(provider="openai", api_key=KEY)
    assert model.name == "openai_chat"
    assert {"llm", "openai"} <= set(model.tags)
    assert iModel(provider="groq", api_key=KEY).name == "groq_chat"


def test_an_unknown_provider_is_a_value_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"(?s)opemai.*openai|openai.*opemai"):
        iModel(provider="opemai", api_key=KEY)


def test_the_model_of_the_constructor_is_used_unless_the_call_names_one() -> None:
    async def main() -> None:
        async with HttpService(failing(400)) as service:
            async with iModel(
                provider="openai", base_url=service.url + "/v1", api_key=KEY, model="gpt-4o-mini"
            ) as model:
                await model.invoke(messages=MESSAGES)
                await model.invoke(messages=MESSAGES, model="gpt-4o")
            assert [request.json["model"] for request in service.requests] == ["gpt-4o-mini", "gpt-4o"]
            assert service.requests[0].path == "/v1/chat/completions"

    asyncio.run(main())


def test_an_upper_case_key_is_the_name_of_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TEST_KEY", KEY)

    async def main() -> None:
        async with HttpService(failing(400)) as service:
            async with iModel(provider="openai", base_url=service.url, api_key="MY_TEST_KEY") as model:
                await model.invoke(model="m", messages=MESSAGES)
            assert service.requests[0].headers["authorization"] == f"Bearer {KEY}"

    asyncio.run(main())


def test_the_key_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(model: iModel, _service: HttpService) -> None:
        event = await model.invoke(prompt="Hi", http_path="completions")
        shown = [repr(model), repr(event), str(event.error), str(event.error_details), str(event.headers)]
        shown += [str(event.logs), repr(service_config("http://127.0.0.1:9")), str(event.error_message)]
        assert KEY not in "".join(shown)

    with caplog.at_level("DEBUG"):
        with_model(failing(401), scenario, retry_config=None)
    assert KEY not in caplog.text


# --- the SDK transport -----------------------------------------------------------------------------------


def test_the_sdk_transport_calls_the_official_sdk() -> None:
    async def main() -> None:
        async with Simulator(answers=["In rhyme."]) as sim, Executor() as executor:
            config = ServiceEndpointConfig(
                name="openai_sdk",
                transport_type="sdk",
                api_key=SecretStr(KEY),
                base_url=sim.base_url,
                sdk_config=SdkTransportConfig(
                    sdk_provider_name="openai", default_sdk_method_name="chat.completions.create"
                ),
                client_constructor_kwargs={"organization": "your-org-id"},
                default_request_kwargs={"model": "gpt-4"},
            )
            async with Endpoint(config) as endpoint, iModel(endpoint, executor) as model:
                event = await model.invoke(request_payload={"messages": MESSAGES}, num_api_tokens_needed=200)
                assert event.status is RequestStatus.COMPLETED, event.error
                assert event.response_body["choices"][0]["message"]["content"] == "In rhyme."
                named = await model.invoke(
                    request_payload={"messages": MESSAGES}, sdk_method_name="chat.completions.create"
                )
                assert named.status is RequestStatus.COMPLETED

    asyncio.run(main())
