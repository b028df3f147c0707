"""Certificates are checked, private authorities can be trusted, and a client certificate is shown."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from callgate.errors import APIConnectionError
from callgate.transport.http import HttpTransport
from tests.transport.raw_server import answer, raw_server, tls_server

pytestmark = pytest.mark.usefixtures("each_loop")


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


def test_checking_is_off_with_verify_false(certificate: Path) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server:
            transport = HttpTransport(verify=False)
            assert (await transport.send("GET", server.url + "/", {})).status == 200
            await transport.close()

    asyncio.run(main())


def test_a_server_without_tls_is_a_connection_error() -> None:
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


def test_a_server_that_wants_a_client_certificate_gets_it(certificate: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    pem = certificate.read_text()
    cut = pem.index("-----BEGIN PRIVATE KEY")
    (tmp_path / "cert.pem").write_text(pem[:cut])
    (tmp_path / "key.pem").write_text(pem[cut:])

    async def main() -> None:
        async with raw_server({"/": answer(b"hi")}, tls=context) as server:
            for given in (certificate, str(certificate), (tmp_path / "cert.pem", tmp_path / "key.pem")):
                transport = HttpTransport(verify=certificate, client_cert=given)
                assert (await transport.send("GET", server.url + "/", {})).body == b"hi"
                await transport.close()
            without = HttpTransport(verify=certificate)
            with pytest.raises(APIConnectionError):
                await without.send("GET", server.url + "/", {})
            await without.close()

    asyncio.run(main())


def test_an_ssl_context_of_the_caller_is_used_as_it_is(certificate: Path) -> None:
    async def main() -> None:
        async with tls_server(certificate) as server:
            transport = HttpTransport(verify=ssl.create_default_context(cafile=str(certificate)))
            assert (await transport.send("GET", server.url + "/", {})).body == b"hi"
            await transport.close()

    asyncio.run(main())
