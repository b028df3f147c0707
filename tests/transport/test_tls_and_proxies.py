"""TLS is checked, and the proxies that the environment names are used."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from callgate.errors import APIConnectionError, ConfigurationError
from callgate.transport.http import HttpTransport
from callgate.transport.pool import Proxies, Proxy as ProxyFound
from callgate.transport.request_head import read_target
from tests.transport.raw_server import KEEP_OPEN, RawServer, answer, raw_server

pytestmark = pytest.mark.usefixtures("each_loop")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and api.example that nobody else trusts, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "callgate test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("api.example")]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


@asynccontextmanager
async def tls_server(certificate: Path) -> AsyncIterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    answers = {"/": answer(b"hi"), "/slow": KEEP_OPEN, "/big": answer(b"x" * 500_000)}
    async with raw_server(answers, tls=context) as server:
        yield server


def test_tls_works_and_its_connections_are_kept(certificate: Path) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server:
            transport = HttpTransport(verify=certificate)
            for _ in range(3):
                assert (await transport.send("GET", server.url + "/", {})).body == b"hi"
            assert len((await transport.send("GET", server.url + "/big", {})).body) == 500_000
            assert (await transport.send("POST", server.url + "/", {}, b"y" * 500_000)).body == b"hi"
            assert server.bodies[-1] == b"y" * 500_000
            assert server.open == 1
            await transport.close()

    asyncio.run(main())


def test_a_certificate_that_is_not_trusted_ends_the_call_before_anything_is_sent(certificate: Path) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server:
            transport = HttpTransport()
            with pytest.raises(APIConnectionError, match="certificate is not trusted") as caught:
                await transport.send("GET", server.url + "/", {})
            assert caught.value.surely_unsent
            assert not caught.value.retryable
            assert server.heads == []
            await transport.close()

    asyncio.run(main())


def test_a_certificate_for_another_host_is_not_trusted(certificate: Path) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server:
            transport = HttpTransport(verify=certificate)
            with pytest.raises(APIConnectionError, match="certificate is not trusted"):
                await transport.send("GET", server.url.replace("127.0.0.1", "localhost") + "/", {})
            await transport.close()

    asyncio.run(main())


def test_checking_can_be_turned_off_by_saying_so(certificate: Path) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server:
            transport = HttpTransport(verify=False)
            assert (await transport.send("GET", server.url + "/", {})).status == 200
            await transport.close()

    asyncio.run(main())


def test_a_server_without_tls_is_told_apart() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer(b"plain HTTP here", 400))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        transport = HttpTransport()
        with pytest.raises(APIConnectionError) as caught:
            await transport.send("GET", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {})
        assert caught.value.surely_unsent
        await transport.close()
        server.close()

    asyncio.run(main())


def test_cancelling_over_tls_closes_the_connection(certificate: Path) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server:
            transport = HttpTransport(verify=certificate)
            task = asyncio.create_task(transport.send("GET", server.url + "/slow", {}))
            await server.wait_requests(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.wait_open(0)
            await transport.close()

    asyncio.run(main())


# -- proxies


class Proxy:
    """A proxy that notes what it was asked, passes tunnels on (api.example is at 127.0.0.1), and answers
    plain requests itself."""

    def __init__(self, status: bytes = b"200 OK") -> None:
        self.status = status
        self.heads: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            method, where, _ = head.split(" ", 2)
            if method != "CONNECT":
                writer.write(answer(b"by proxy"))
                await reader.read(1)
            elif not self.status.startswith(b"200"):
                writer.write(b"HTTP/1.1 " + self.status + b"\r\n\r\n")
            else:
                host, _, port = where.rpartition(":")
                there = await asyncio.open_connection(host.replace("api.example", "127.0.0.1"), int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\nvia: me\r\n\r\n")
                await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            writer.close()


@asynccontextmanager
async def running(proxy: Proxy) -> AsyncIterator[Proxy]:
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(proxy.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.url = f"http://user:p%40ss@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_plain_request_goes_to_the_proxy_as_a_whole(environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(Proxy()) as proxy:
            environment.setenv("HTTP_PROXY", proxy.url)
            environment.setenv("http_proxy", proxy.url)
            transport = HttpTransport()
            assert (await transport.send("GET", "http://api.example/x?y=1", {})).body == b"by proxy"
            await transport.close()
        assert proxy.heads[0].startswith("GET http://api.example/x?y=1 HTTP/1.1\r\nhost: api.example\r\n")
        assert "proxy-authorization: Basic dXNlcjpwQHNz" in proxy.heads[0]

    asyncio.run(main())


def test_tls_goes_through_a_tunnel(certificate: Path, environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server, running(Proxy()) as proxy:
            environment.setenv("https_proxy", proxy.url)
            transport = HttpTransport(verify=certificate)
            url = server.url.replace("127.0.0.1", "api.example")
            for _ in range(2):
                got = await transport.send("GET", url + "/", {"x-api-key": "secret"})
                assert got.body == b"hi"
            assert len((await transport.send("GET", url + "/big", {})).body) == 500_000
            await transport.close()
            port = server.url.rpartition(":")[2]
        assert len(proxy.heads) == 1
        assert proxy.heads[0].startswith(f"CONNECT api.example:{port} HTTP/1.1\r\n")
        assert "secret" not in proxy.heads[0]
        assert "proxy-authorization" not in "".join(server.heads).lower()

    asyncio.run(main())


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"502 Bad Gateway"])
def test_a_proxy_that_refuses_is_told_of(status: bytes, environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(Proxy(status)) as proxy:
            environment.setenv("https_proxy", proxy.url)
            transport = HttpTransport()
            with pytest.raises(APIConnectionError, match=status[:3].decode()) as caught:
                await transport.send("GET", "https://api.example/", {})
            assert caught.value.surely_unsent
            assert "p@ss" not in str(caught.value)
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy"])
def test_no_proxy_is_asked_for_what_is_on_this_machine(
    name: str, certificate: Path, environment: pytest.MonkeyPatch
) -> None:
    """It would be shown the key that is meant for a local server."""

    async def main() -> None:
        async with running(Proxy()) as proxy, tls_server(certificate) as secured:
            async with raw_server({"/": answer(b"hi")}) as server:
                environment.setenv(name, proxy.url)
                transport = HttpTransport(verify=certificate)
                for url in (server.url, server.url.replace("127.0.0.1", "localhost"), secured.url):
                    assert (await transport.send("GET", url + "/", {})).body == b"hi"
                await transport.close()
        assert proxy.heads == []

    asyncio.run(main())


@pytest.mark.parametrize(
    ("exceptions", "url"),
    [
        ("api.example", "http://api.example:9999/"),
        ("api.example:9999", "http://api.example:9999/"),
        ("api.example:80", "http://api.example/"),
        ("api.example:443", "https://api.example/"),
        (".example", "http://api.example/"),
        ("other.example, 10.0.0.5", "http://10.0.0.5:8000/"),
        ("10.0.0.5:8000", "http://10.0.0.5:8000/"),
        ("fd00::5", "http://[fd00::5]:8000/"),
        ("*", "http://api.example/"),
        ("", "http://localhost:9999/"),
        ("", "https://[::1]:9999/"),
    ],
)
def test_what_no_proxy_names_is_asked_directly(exceptions: str, url: str) -> None:
    proxies = Proxies({"all": "http://proxy.example:3128", "no": exceptions})
    assert proxies.find(read_target(url)) is None


@pytest.mark.parametrize(
    ("exceptions", "url"),
    [
        ("", "http://api.example/"),
        ("api.example:9999", "http://api.example/"),
        ("api.example:80", "https://api.example/"),
        ("localhost", "http://localhost.example/"),
    ],
)
def test_what_no_proxy_does_not_name_is_asked_through_the_proxy(exceptions: str, url: str) -> None:
    proxies = Proxies({"all": "http://u:p%40ss@proxy.example:3128", "no": exceptions})
    assert proxies.find(read_target(url)) == ProxyFound("proxy.example", 3128, "Basic dTpwQHNz")


def test_trust_env_false_knows_no_proxy(environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(Proxy()) as proxy:
            environment.setenv("http_proxy", proxy.url)
            transport = HttpTransport(trust_env=False)
            with pytest.raises(APIConnectionError):
                await transport.send("GET", "http://api.example.invalid/", {})
            await transport.close()
        assert proxy.heads == []

    asyncio.run(main())


@pytest.mark.parametrize(
    "proxy", ["http://h:port", "http://h:0", "http://[::1", "http://" + "a" * 64, "http://"]
)
def test_a_proxy_that_cannot_be_reached_is_a_configuration_error(proxy: str) -> None:
    with pytest.raises(ConfigurationError):
        Proxies({"all": proxy}).find(read_target("https://api.example/"))


def test_an_answer_before_the_end_of_its_request_ends_the_connection(certificate: Path) -> None:
    """Over TLS the rest of the request waits below, in the plain connection."""
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"

    async def main(tls: ssl.SSLContext | None) -> None:
        heads: list[bytes] = []
        end = asyncio.Event()

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(refusal)
            await end.wait()  # the body is left where it is, and the connection open
            writer.transport.abort()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=4096, ssl=tls)
        url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transport = HttpTransport(verify=certificate)
        for body in (b"x" * 20_000_000, b"small"):
            assert (await transport.send("POST", url, {}, body, timeout=30.0)).status == 413
        assert len(heads) == 2  # the second on a connection of its own
        await transport.close()
        end.set()
        server.close()
        await server.wait_closed()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asyncio.run(main(None))
    asyncio.run(main(context))


def test_a_proxy_of_another_kind_is_a_configuration_error(environment: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        environment.setenv("all_proxy", "socks5://127.0.0.1:1080")
        transport = HttpTransport()
        for url in ("http://api.example/", "https://api.example/"):
            with pytest.raises(ConfigurationError, match="socks5"):
                await transport.send("GET", url, {})

    asyncio.run(main())
