"""The official SDKs against the simulator, with streams and tools.

Each SDK checks shapes of its own: ids, event order, checksums of frames, usage. None of its retries are on.
"""

from __future__ import annotations

import asyncio
import json
import time

import anthropic
import openai
import pytest

from callgate.testing import Answer, Simulator

boto3 = pytest.importorskip("boto3")
genai = pytest.importorskip("google.genai")

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TIME = {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]}
BOTH = "Use get_weather and get_time."
SECRETS = {"AKIDEXAMPLE": "simulated-secret"}


def run(main, **options):
    async def start():
        async with Simulator(**options) as sim:
            await main(sim)

    asyncio.run(start())


class TestOpenAIChat:
    TOOLS = [  # noqa: RUF012
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in (("get_weather", CITY), ("get_time", TIME))
    ]

    def test_plain_with_tools_and_their_results(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                messages = [{"role": "user", "content": BOTH}]
                first = await client.chat.completions.create(model="m", messages=messages, tools=self.TOOLS)
                calls = first.choices[0].message.tool_calls
                assert [call.function.name for call in calls] == ["get_weather", "get_time"]
                assert json.loads(calls[1].function.arguments)["zone"] in ("UTC", "CET")
                assert first.choices[0].finish_reason == "tool_calls"
                messages.append(first.choices[0].message.model_dump(exclude_none=True))
                messages += [{"role": "tool", "tool_call_id": c.id, "content": f"42 {c.id}"} for c in calls]
                second = await client.chat.completions.create(model="m", messages=messages, tools=self.TOOLS)
                assert f"42 {calls[1].id}" in second.choices[0].message.content
                assert (
                    second.usage.total_tokens == second.usage.prompt_tokens + second.usage.completion_tokens
                )

        run(main)

    def test_streamed_tools_add_up(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                stream = client.chat.completions.stream(
                    model="m",
                    messages=[{"role": "user", "content": BOTH}],
                    tools=self.TOOLS,
                    stream_options={"include_usage": True},
                )
                async with stream as events:
                    final = await events.get_final_completion()
                calls = final.choices[0].message.tool_calls
                assert [call.function.name for call in calls] == ["get_weather", "get_time"]
                assert "city" in json.loads(calls[0].function.arguments)
                assert final.usage.completion_tokens > 0

        run(main)

    def test_parsed_schema(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                answer = await client.chat.completions.create(
                    model="m",
                    messages=[{"role": "user", "content": "When?"}],
                    response_format={"type": "json_schema", "json_schema": {"name": "t", "schema": TIME}},
                )
                assert json.loads(answer.choices[0].message.content)["zone"] in ("UTC", "CET")

        run(main)

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, openai.AuthenticationError),
            (404, openai.NotFoundError),
            (429, openai.RateLimitError),
            (500, openai.InternalServerError),
        ],
    )
    def test_errors_are_the_sdks_own(self, status, error):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                with pytest.raises(error):
                    await client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": "Hello"}]
                    )

        run(main, answers=[status])

    def test_sdk_obeys_retry_after_and_succeeds(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=1) as client:
                await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Hello"}]
                )
            assert sim.stats.by_status == {429: 1, 200: 1}

        run(main, answers=[Answer(status=429, retry_after=0.01)])

    def test_legacy_completions(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                stream = await client.completions.create(model="m", prompt="Once", max_tokens=4, stream=True)
                texts = [chunk.choices[0].text async for chunk in stream]
                assert len("".join(texts).split()) == 4

        run(main)

    def test_azure(self):
        async def main(sim):
            client = openai.AsyncAzureOpenAI(
                api_key="k", azure_endpoint=sim.url, api_version="2024-10-21", max_retries=0
            )
            async with client:
                stream = await client.chat.completions.create(
                    model="my-deployment", messages=[{"role": "user", "content": "Hello"}], stream=True
                )
                chunks = [chunk async for chunk in stream]
                assert chunks[0].choices == []
                assert chunks[-1].model == "my-deployment"

        run(main, requests_per_minute=9)


class TestOpenAIResponses:
    TOOLS = [  # noqa: RUF012
        {"type": "function", "name": name, "parameters": schema, "strict": False}
        for name, schema in (("get_weather", CITY), ("get_time", TIME))
    ]

    def test_plain_and_function_call_output(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                first = await client.responses.create(model="m", input=BOTH, tools=self.TOOLS)
                assert [item.name for item in first.output] == ["get_weather", "get_time"]
                items = [{"role": "user", "content": BOTH}]
                for call in first.output:
                    items.append(call.model_dump(exclude_none=True))
                    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "42"})
                second = await client.responses.create(model="m", input=items, tools=self.TOOLS)
                assert "42; 42" in second.output_text
                assert second.status == "completed"

        run(main)

    def test_streamed_reasoning_and_text(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                stream = client.responses.stream(model="m", input="Hello", reasoning={"effort": "low"})
                async with stream as events:
                    kinds = [event.type async for event in events]
                    final = await events.get_final_response()
                assert kinds[:2] == ["response.created", "response.in_progress"]
                assert kinds[-1] == "response.completed"
                assert "response.reasoning_summary_text.delta" in kinds
                assert final.output_text
                assert final.usage.output_tokens_details.reasoning_tokens == 5

        run(main, reasoning_tokens=5)

    def test_incomplete_at_max_tokens(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                answer = await client.responses.create(model="m", input="Hello", max_output_tokens=16)
                assert answer.status == "incomplete"
                assert answer.incomplete_details.reason == "max_output_tokens"

        run(main, output_tokens=100, output_sigma=0)

    def test_error_in_mid_stream_is_the_last_event(self):
        async def main(sim):
            async with openai.AsyncOpenAI(api_key="k", base_url=sim.base_url, max_retries=0) as client:
                stream = await client.responses.create(model="m", input="Hello", stream=True)
                events = [event async for event in stream]
                assert (events[-1].type, events[-1].code) == ("error", "server_error")

        run(main, faults={"stream_error": 1.0})


ANTHROPIC_TOOLS = [
    {"name": "get_weather", "input_schema": CITY},
    {"name": "get_time", "input_schema": TIME},
]


async def anthropic_round(client):
    """Tools, their results, and a stream with thinking, through any of Anthropic's clients."""
    messages = [{"role": "user", "content": BOTH}]
    first = await client.messages.create(
        model="claude", max_tokens=900, messages=messages, tools=ANTHROPIC_TOOLS
    )
    uses = [block for block in first.content if block.type == "tool_use"]
    assert [use.name for use in uses] == ["get_weather", "get_time"]
    assert uses[1].input["zone"] in ("UTC", "CET")
    assert first.stop_reason == "tool_use"
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": f"42 {use.id}"} for use in uses]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    stream = client.messages.stream(
        model="claude",
        max_tokens=3000,
        thinking={"type": "enabled", "budget_tokens": 2000},
        messages=messages,
        tools=ANTHROPIC_TOOLS,
    )
    async with stream as events:
        final = await events.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert f"42 {uses[1].id}" in final.content[1].text
    assert final.content[0].signature
    assert final.stop_reason == "end_turn"
    return first, final


class TestAnthropic:
    def test_tools_thinking_and_usage(self):
        async def main(sim):
            async with anthropic.AsyncAnthropic(api_key="k", base_url=sim.url, max_retries=0) as client:
                first, final = await anthropic_round(client)
            key = sim.stats.key("k")
            cached = first.usage.cache_read_input_tokens + final.usage.cache_read_input_tokens
            assert cached == key.cached_tokens > 0
            # Anthropic's input_tokens leave out what was read from the cache.
            assert first.usage.input_tokens + final.usage.input_tokens + cached == key.input_tokens
            assert final.usage.output_tokens_details.thinking_tokens == 5

        run(main, reasoning_tokens=5, cached_share=0.5, input_price=1)

    def test_count_tokens_costs_nothing(self):
        async def main(sim):
            async with anthropic.AsyncAnthropic(api_key="k", base_url=sim.url, max_retries=0) as client:
                counted = await client.messages.count_tokens(
                    model="claude", messages=[{"role": "user", "content": "x" * 400}]
                )
            assert counted.input_tokens == 100
            assert sim.stats.accepted == 0

        run(main)

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, anthropic.AuthenticationError),
            (429, anthropic.RateLimitError),
            (529, anthropic.InternalServerError),
        ],
    )
    def test_errors_are_the_sdks_own(self, status, error):
        async def main(sim):
            async with anthropic.AsyncAnthropic(api_key="k", base_url=sim.url, max_retries=0) as client:
                with pytest.raises(error):
                    await client.messages.create(
                        model="claude", max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
                    )

        run(main, answers=[status])

    def test_error_in_mid_stream_is_raised(self):
        async def main(sim):
            async with anthropic.AsyncAnthropic(api_key="k", base_url=sim.url, max_retries=0) as client:
                stream = client.messages.stream(
                    model="claude", max_tokens=99, messages=[{"role": "user", "content": "Hello"}]
                )
                with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                    async with stream as events:
                        await events.get_final_message()

        run(main, faults={"stream_error": 1.0})

    def test_bedrock_client_with_verified_signatures(self):
        async def main(sim):
            client = anthropic.AsyncAnthropicBedrock(
                aws_access_key="AKIDEXAMPLE",
                aws_secret_key=SECRETS["AKIDEXAMPLE"],
                aws_region="us-west-2",
                base_url=sim.url,
                max_retries=0,
            )
            async with client:
                await anthropic_round(client)
            assert sim.stats.key("AKIDEXAMPLE").accepted == 2

        run(main, reasoning_tokens=5, aws_secrets=SECRETS)

    def test_vertex_client(self):
        async def main(sim):
            client = anthropic.AsyncAnthropicVertex(
                region="europe-west1",
                project_id="p",
                access_token="a-token",
                base_url=sim.url + "/v1",
                max_retries=0,
            )
            async with client:
                await anthropic_round(client)

        run(main, reasoning_tokens=5)


class TestGemini:
    TOOLS = [  # noqa: RUF012
        {
            "function_declarations": [
                {"name": "get_weather", "parameters_json_schema": CITY},
                {"name": "get_time", "parameters_json_schema": TIME},
            ]
        }
    ]

    def test_tools_results_and_stream(self):
        config = {"tools": self.TOOLS, "automatic_function_calling": {"disable": True}}
        with Simulator(reasoning_tokens=5) as sim:
            client = genai.Client(api_key="k", http_options={"base_url": sim.url})
            first = client.models.generate_content(model="gemini-x", contents=BOTH, config=config)
            assert [call.name for call in first.function_calls] == ["get_weather", "get_time"]
            types = genai.types
            results = [
                types.Part.from_function_response(name=call.name, response={"result": "42"})
                for call in first.function_calls
            ]
            contents = [
                types.Content(role="user", parts=[types.Part(text=BOTH)]),
                first.candidates[0].content,
                types.Content(role="user", parts=results),
            ]
            config["thinking_config"] = {"include_thoughts": True}
            chunks = list(
                client.models.generate_content_stream(model="gemini-x", contents=contents, config=config)
            )
            client.close()
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or ()]
        assert len([part for part in parts if part.thought]) == 5
        assert '{"result":"42"}; {"result":"42"}' in "".join(part.text for part in parts if not part.thought)
        assert chunks[-1].candidates[0].finish_reason == "STOP"
        usage = chunks[-1].usage_metadata
        assert usage.thoughts_token_count == 5
        assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count + 5

    def test_schema_count_and_errors(self):
        with Simulator(keys=["k"]) as sim:
            client = genai.Client(api_key="k", http_options={"base_url": sim.url})
            schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]}
            config = {"response_mime_type": "application/json", "response_schema": schema}
            answer = client.models.generate_content(model="gemini-x", contents="How many?", config=config)
            assert isinstance(answer.parsed["n"], int)
            assert client.models.count_tokens(model="gemini-x", contents="x" * 40).total_tokens == 10
            wrong = genai.Client(api_key="other", http_options={"base_url": sim.url})
            with pytest.raises(genai.errors.ClientError) as refused:
                wrong.models.generate_content(model="gemini-x", contents="Hello")
            assert refused.value.code == 400
            client.close()
            wrong.close()

    def test_a_429_has_the_delay_in_its_body(self):
        with Simulator(requests_per_minute=1) as sim:
            client = genai.Client(api_key="k", http_options={"base_url": sim.url})
            client.models.generate_content(model="gemini-x", contents="Hello")
            with pytest.raises(genai.errors.ClientError) as refused:
                client.models.generate_content(model="gemini-x", contents="Hello")
            client.close()
        details = refused.value.details["error"]["details"]
        assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")
        assert 50 < float(details[0]["retryDelay"].rstrip("s")) <= 60


def bedrock_client(sim, secret=SECRETS["AKIDEXAMPLE"]):
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=sim.url,
        region_name="us-west-2",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        config=boto3.session.Config(retries={"max_attempts": 1}),
    )


class TestBedrock:
    MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
    TOOLS = {  # noqa: RUF012
        "tools": [
            {"toolSpec": {"name": name, "inputSchema": {"json": schema}}}
            for name, schema in (("get_weather", CITY), ("get_time", TIME))
        ]
    }

    def test_converse_with_tools_and_results(self):
        with Simulator(aws_secrets=SECRETS) as sim:
            client = bedrock_client(sim)
            messages = [{"role": "user", "content": [{"text": BOTH}]}]
            first = client.converse(modelId=self.MODEL, messages=messages, toolConfig=self.TOOLS)
            uses = [block["toolUse"] for block in first["output"]["message"]["content"]]
            assert [use["name"] for use in uses] == ["get_weather", "get_time"]
            assert first["stopReason"] == "tool_use"
            results = [
                {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"json": {"t": 42}}]}}
                for use in uses
            ]
            messages += [first["output"]["message"], {"role": "user", "content": results}]
            second = client.converse(modelId=self.MODEL, messages=messages, toolConfig=self.TOOLS)
            assert '{"t":42}; {"t":42}' in second["output"]["message"]["content"][0]["text"]
            assert second["usage"]["totalTokens"] == sum(
                second["usage"][name] for name in ("inputTokens", "outputTokens")
            )
            client.close()

    def test_converse_stream(self):
        with Simulator(aws_secrets=SECRETS, reasoning_tokens=5, always_reason=True) as sim:
            client = bedrock_client(sim)
            messages = [{"role": "user", "content": [{"text": BOTH}]}]
            answer = client.converse_stream(modelId=self.MODEL, messages=messages, toolConfig=self.TOOLS)
            events = list(answer["stream"])
            answer["stream"].close()
            client.close()
        assert next(iter(events[0])) == "messageStart"
        assert [next(iter(event)) for event in events[-2:]] == ["messageStop", "metadata"]
        deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
        thought = "".join(d["delta"].get("reasoningContent", {}).get("text", "") for d in deltas)
        assert len(thought.split()) == 5
        called = "".join(d["delta"]["toolUse"]["input"] for d in deltas if d["contentBlockIndex"] == 2)
        assert json.loads(called)["zone"] in ("UTC", "CET")

    def test_invoke_model_plain_and_streamed(self):
        body = {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 5,
            "messages": [{"role": "user", "content": "Hello"}],
        }
        with Simulator(aws_secrets=SECRETS) as sim:
            client = bedrock_client(sim)
            plain = client.invoke_model(modelId=self.MODEL, body=json.dumps(body))
            assert json.loads(plain["body"].read())["stop_reason"] == "max_tokens"
            streamed = client.invoke_model_with_response_stream(modelId=self.MODEL, body=json.dumps(body))
            events = [json.loads(event["chunk"]["bytes"]) for event in streamed["body"]]
            streamed["body"].close()
            client.close()
        assert events[0]["type"] == "message_start"
        assert events[-1]["type"] == "message_stop"
        texts = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
        assert len("".join(texts).split()) == 5

    def test_a_wrong_secret_is_refused(self):
        with Simulator(aws_secrets=SECRETS) as sim:
            client = bedrock_client(sim, "another-secret")
            with pytest.raises(client.exceptions.ClientError) as refused:
                client.converse(
                    modelId=self.MODEL, messages=[{"role": "user", "content": [{"text": "Hello"}]}]
                )
            assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"
            client.close()

    @pytest.mark.parametrize(
        ("status", "code"),
        [(429, "ThrottlingException"), (400, "ValidationException"), (500, "InternalServerException")],
    )
    def test_errors_are_the_sdks_own(self, status, code):
        with Simulator(answers=[status, status]) as sim:
            client = bedrock_client(sim)
            with pytest.raises(client.exceptions.ClientError) as refused:
                client.converse(
                    modelId=self.MODEL, messages=[{"role": "user", "content": [{"text": "Hello"}]}]
                )
            assert refused.value.response["Error"]["Code"] == code
            client.close()

    def test_error_in_mid_stream_is_raised(self):
        with Simulator(faults={"stream_error": 1.0}) as sim:
            client = bedrock_client(sim)
            answer = client.converse_stream(
                modelId=self.MODEL, messages=[{"role": "user", "content": [{"text": "Hello"}]}]
            )
            with pytest.raises(boto3.exceptions.botocore.exceptions.EventStreamError):
                list(answer["stream"])
            answer["stream"].close()  # the SDK keeps the connection of a stream that broke
            client.close()


@pytest.fixture(scope="module")
def account():
    """A service account with a fresh key, and the key's public half."""
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives import serialization as form

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode()
    return {"client_email": "me@p.iam.gserviceaccount.com", "private_key": private}, public


class TestGoogleTokens:
    SCOPE = "https://www.googleapis.com/auth/cloud-platform"

    def token(self, sim, info):
        service_account = pytest.importorskip("google.oauth2.service_account")
        requests = pytest.importorskip("google.auth.transport.requests")
        full = {**info, "type": "service_account", "token_uri": sim.url + "/token"}
        credentials = service_account.Credentials.from_service_account_info(full, scopes=[self.SCOPE])
        with requests.requests.Session() as session:
            credentials.refresh(requests.Request(session))
        return credentials.token

    def chat(self, sim, token):
        url = sim.url + "/v1/projects/p/locations/us-central1/endpoints/openapi"
        with openai.OpenAI(api_key=token, base_url=url, max_retries=0) as client:
            return client.chat.completions.create(
                model="meta/llama3-405b-instruct-maas", messages=[{"role": "user", "content": "Hello"}]
            )

    def test_google_auth_gets_a_token_that_vertex_takes(self, account):
        info, public = account
        with Simulator(google_accounts={info["client_email"]: public}) as sim:
            token = self.token(sim, info)
            assert self.chat(sim, token).choices[0].message.content
            assert sim.stats.key(info["client_email"]).accepted == 1
            with pytest.raises(openai.AuthenticationError):
                self.chat(sim, "ya29.of-my-own")

    def test_token_of_another_key_is_refused(self, account):
        exceptions = pytest.importorskip("google.auth.exceptions")
        info, public = account
        other = {**info, "client_email": "other@p.iam.gserviceaccount.com"}
        with (
            Simulator(google_accounts={info["client_email"]: public}) as sim,
            pytest.raises(exceptions.RefreshError, match="account not found"),
        ):
            self.token(sim, other)

    def test_a_token_expires(self, account):
        info, _ = account
        with Simulator(google_token_seconds=0.05) as sim:
            token = self.token(sim, info)
            time.sleep(0.1)
            with pytest.raises(openai.AuthenticationError):
                self.chat(sim, token)
