"""Requests through proxies: as a whole, through CONNECT, over TLS to the proxy, and through SOCKS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from callgate.errors import APIConnectionError, ConfigurationError
from callgate.transport.http import HttpTransport
from tests.transport.proxy_server import HttpProxy, SocksProxy, running
from tests.transport.raw_server import answer, raw_server, tls_server

pytestmark = pytest.mark.usefixtures("each_loop")


def test_a_plain_request_goes_to_the_proxy_as_a_whole(environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(HttpProxy()) as proxy:
            environment.setenv("HTTP_PROXY", proxy.url)
            environment.setenv("http_proxy", proxy.url)
            transport = HttpTransport()
            assert (await transport.send("GET", "http://api.example/x?y=1", {})).body == b"by proxy"
            await transport.close()
        assert proxy.asked[0].startswith("GET http://api.example/x?y=1 HTTP/1.1\r\nhost: api.example\r\n")
        assert "proxy-authorization: Basic dXNlcjpwQHNz" in proxy.asked[0]

    asyncio.run(main())


def test_tls_goes_through_a_tunnel(certificate: Path, environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server, running(HttpProxy()) as proxy:
            environment.setenv("https_proxy", proxy.url)
            transport = HttpTransport(verify=certificate)
            url = server.url.replace("127.0.0.1", "api.example")
            for _ in range(2):
                got = await transport.send("GET", url + "/", {"x-api-key": "secret"})
                assert got.body == b"hi"
            assert len((await transport.send("GET", url + "/big", {})).body) == 500_000
            await transport.close()
            port = server.url.rpartition(":")[2]
        assert len(proxy.asked) == 1
        assert proxy.asked[0].startswith(f"CONNECT api.example:{port} HTTP/1.1\r\n")
        assert "secret" not in proxy.asked[0]
        assert "proxy-authorization" not in "".join(server.heads).lower()

    asyncio.run(main())


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"502 Bad Gateway"])
def test_the_status_of_a_proxy_that_refuses_is_in_the_error(
    status: bytes, environment: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running(HttpProxy(status)) as proxy:
            environment.setenv("https_proxy", proxy.url)
            transport = HttpTransport()
            with pytest.raises(APIConnectionError, match=status[:3].decode()) as caught:
                await transport.send("GET", "https://api.example/", {})
            assert caught.value.surely_unsent
            assert "p@ss" not in str(caught.value)
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy"])
def test_no_proxy_of_the_environment_serves_this_machine(
    name: str, certificate: Path, environment: pytest.MonkeyPatch
) -> None:
    """It would see the key that is meant for a local server."""

    async def main() -> None:
        async with running(HttpProxy()) as proxy, tls_server(certificate) as secured:
            async with raw_server({"/": answer(b"hi")}) as server:
                environment.setenv(name, proxy.url)
                transport = HttpTransport(verify=certificate)
                for url in (server.url, server.url.replace("127.0.0.1", "localhost"), secured.url):
                    assert (await transport.send("GET", url + "/", {})).body == b"hi"
                await transport.close()
        assert proxy.asked == []

    asyncio.run(main())


def test_trust_env_false_knows_no_proxy(environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(HttpProxy()) as proxy:
            environment.setenv("http_proxy", proxy.url)
            transport = HttpTransport(trust_env=False)
            with pytest.raises(APIConnectionError):
                await transport.send("GET", "http://api.example.invalid/", {})
            await transport.close()
        assert proxy.asked == []

    asyncio.run(main())


def test_a_given_proxy_serves_every_request_this_machine_included(environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(HttpProxy()) as proxy, raw_server({"/": answer(b"direct")}) as server:
            environment.setenv("no_proxy", "*")
            transport = HttpTransport(proxy=proxy.url)
            assert (await transport.send("GET", server.url + "/", {})).body == b"by proxy"
            await transport.close()

    asyncio.run(main())


def test_tls_to_the_proxy_carries_plain_requests_and_tunnels(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def main() -> None:
        async with tls_server(certificate) as server, running(HttpProxy(), tls=context) as proxy:
            transport = HttpTransport(verify=certificate, proxy=proxy.url)
            assert (await transport.send("GET", "http://api.example/x", {})).body == b"by proxy"
            for path, size in (("/", 2), ("/big", 500_000)):
                assert len((await transport.send("GET", server.url + path, {})).body) == size
            await transport.send("POST", server.url + "/", {}, b"y" * 500_000)
            assert server.bodies[-1] == b"y" * 500_000
            await transport.close()
        assert [line.split()[0] for line in proxy.asked] == ["GET", "CONNECT"]

    asyncio.run(main())


def test_the_certificate_of_a_proxy_is_checked(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def main() -> None:
        async with running(HttpProxy(), tls=context) as proxy:
            transport = HttpTransport(proxy=proxy.url)
            with pytest.raises(APIConnectionError, match=r"through the proxy .*certificate is not trusted"):
                await transport.send("GET", "http://api.example/x", {})
            await transport.close()
        assert proxy.asked == []

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["socks5h", "socks5"])
def test_socks_carries_plain_requests_and_tls(scheme: str, certificate: Path) -> None:
    async def main() -> None:
        async with tls_server(certificate) as secured, raw_server({"/": answer(b"hi")}) as server:
            async with running(SocksProxy()) as proxy:
                transport = HttpTransport(verify=certificate, proxy=proxy.url.replace("socks5h", scheme))
                for url in (server.url, secured.url, server.url):
                    assert (await transport.send("GET", url + "/", {})).body == b"hi"
                assert server.heads[0].startswith("GET / HTTP/1.1")
                await transport.close()
        ports = [url.rpartition(":")[2] for url in (server.url, secured.url)]
        assert proxy.asked == [f"user:p@ss 127.0.0.1:{port}" for port in ports]

    asyncio.run(main())


def test_a_socks_proxy_looks_names_up_when_asked_to(environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with raw_server({"/": answer(b"hi")}) as server, running(SocksProxy()) as proxy:
            environment.setenv("all_proxy", proxy.url)
            transport = HttpTransport()
            url = server.url.replace("127.0.0.1", "api.example")
            assert (await transport.send("GET", url + "/", {})).body == b"hi"
            await transport.close()
        assert proxy.asked[0].startswith("user:p@ss api.example:")

    asyncio.run(main())


def test_a_socks_proxy_that_refuses_leaves_the_request_unsent() -> None:
    async def main() -> None:
        async with running(SocksProxy(reply=2)) as proxy:
            transport = HttpTransport(proxy=proxy.url)
            with pytest.raises(APIConnectionError, match=r"through the proxy 127.*refuses") as caught:
                await transport.send("GET", "https://api.example/", {})
            assert caught.value.surely_unsent
            assert "p@ss" not in str(caught.value)
            await transport.close()

    asyncio.run(main())


def test_a_proxy_that_cannot_be_reached_is_named() -> None:
    async def main() -> None:
        for scheme in ("http", "https", "socks5"):
            transport = HttpTransport(proxy=f"{scheme}://127.0.0.1:9")
            with pytest.raises(APIConnectionError, match=r"through the proxy 127\.0\.0\.1:9") as caught:
                await transport.send("GET", "https://api.example/", {})
            assert caught.value.surely_unsent
            await transport.close()

    asyncio.run(main())


def test_socks_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setitem(__import__("sys").modules, "python_socks", None)
        transport: Any = HttpTransport(proxy="socks5://127.0.0.1:9")
        with pytest.raises(ConfigurationError, match=r"pip install 'callgate\[socks\]'") as caught:
            await transport.send("GET", "https://api.example/", {})
        assert caught.value.setting == "proxy"

    asyncio.run(main())
