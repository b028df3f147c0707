"""The simulated provider: turns requests into plans. No I/O; the clock is passed in."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from callgate.testing.simulator.access import Access
from callgate.testing.simulator.answer_maker import AnswerMaker
from callgate.testing.simulator.answers import Answer, Ask
from callgate.testing.simulator.dialects import DIALECTS, OPENAI_CHAT, Dialect, Refusal, Reply, Request
from callgate.testing.simulator.faults import STATUS_FAULTS, apply_fault, draw, refusal_for
from callgate.testing.simulator.headers import quota_headers, retry_after_headers
from callgate.testing.simulator.model_list import models_page
from callgate.testing.simulator.options import Options
from callgate.testing.simulator.plan import Chunk, Plan
from callgate.testing.simulator.quota import Account, Debit, Shortage
from callgate.testing.simulator.schemas import schema_error
from callgate.testing.simulator.stats import KeyStats, Stats, Utilisation, content_of

__all__ = ["SimulatedProvider"]

_JSON = ("content-type", "application/json")
_CHARS_PER_TOKEN = 4
_KNOWN_PATHS = 1024
_DEFAULT_MODELS = ("sim-small", "sim-large")


class _Ticket:
    """The open reservations of one accepted request."""

    __slots__ = ("account", "debits", "entry", "finished", "reserved", "settlement", "used")

    def __init__(
        self, account: Account, debits: dict[str, Debit], used: Utilisation, entry: list[float]
    ) -> None:
        self.account = account
        self.debits = debits
        self.used = used
        self.entry = entry
        self.reserved = entry[1]
        self.settlement: dict[str, float] | None = None
        """Tokens used, when the accounting corrects the reservation."""
        self.finished = False


class SimulatedProvider:
    """A provider of language models without a socket: quotas, faults, answers and counts.

    `clock` returns monotonic seconds; `epoch` is its zero in seconds since 1970. Each API key has its own
    quotas, enforced strictly.

    >>> now = 0.0
    >>> provider = SimulatedProvider(Options(requests_per_minute=1), clock=lambda: now)
    >>> body = b'{"model": "m", "messages": [{"role": "user", "content": "Hello"}]}'
    >>> def post():
    ...     return provider.handle("POST", "/v1/chat/completions", {"authorization": "Bearer k"}, body)
    >>> post().status, post().status
    (200, 429)
    >>> now = 60.0
    >>> post().status
    200
    >>> provider.stats.accepted, provider.stats.refused
    (2, 1)
    """

    def __init__(
        self, options: Options | None = None, *, clock: Callable[[], float], epoch: float = 1_767_225_600.0
    ) -> None:
        self.options = options = options or Options()
        self.stats = Stats(
            options.window_seconds,
            options.requests_per_minute,
            options.tokens_per_minute,
            options.max_contents,
        )
        self._clock = clock
        self._epoch = epoch
        self._rng = random.Random(options.seed)
        self._draws = bool(options.faults) or (options.latency > 0 and options.latency_sigma > 0)
        self._answers = AnswerMaker(options)
        self._accounts: dict[str, Account] = {}
        self._routes: dict[str, tuple[Dialect, Mapping[str, str]] | None] = {}
        named = {
            "requests": options.requests_per_minute,
            "tokens": options.tokens_per_minute,
            "input_tokens": options.input_tokens_per_minute,
            "output_tokens": options.output_tokens_per_minute,
        }
        self._limits = {name: limit for name, limit in named.items() if limit is not None}
        self._access = Access(options, self._wall)

    def reset(self) -> None:
        """Reset quotas, counts and the position in scripted answers."""
        self._accounts.clear()
        self._answers.restart()
        self.stats.reset()

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Plan:
        """The plan for a request that arrives now. `headers` have lower-case names.

        Errors are plans too: nothing is raised for a bad request. Pass each plan to `finish` when it has been
        performed or abandoned.
        """
        path, _, query = path.partition("?")
        route = self._route(path)
        if route is None or method != "POST":
            return self._resource(method, path, query, headers, body)
        dialect, names = route
        key = self._access.owner(headers)
        counts = self.stats.open(key)
        counts.requests += 1
        try:
            plan = self._answer(dialect, Request(path, headers, {}, names, body, method, query), key, counts)
        except Refusal as refusal:
            plan = self._refuse(dialect, refusal, key)
        counts.by_status[plan.status] += 1
        return plan

    def finish(self, plan: Plan, *, delivered: bool = True) -> None:
        """Settle the tokens used and release the request's concurrency slot. Idempotent.

        `delivered` is false when the client disconnected before the end. The answer is still billed.
        """
        ticket = plan.ticket
        if not isinstance(ticket, _Ticket) or ticket.finished:
            return
        ticket.finished = True
        ticket.account.leave()
        self.stats.running -= 1
        if ticket.settlement is not None:
            ticket.account.settle(self._clock(), ticket.debits, ticket.settlement)
            ticket.used.correct(ticket.entry, ticket.settlement["tokens"] - ticket.reserved)
        if not delivered:
            self.stats.abandoned += 1

    def _route(self, path: str) -> tuple[Dialect, Mapping[str, str]] | None:
        if path in self._routes:
            return self._routes[path]
        found = None
        for dialect in DIALECTS:
            if match := dialect.paths.fullmatch(path):
                groups = match.groupdict().items()
                found = (dialect, {name: unquote(value) for name, value in groups if value})
                break
        if len(self._routes) < _KNOWN_PATHS:  # paths come from the client: the cache must be bounded
            self._routes[path] = found
        return found

    def _account(self, key: str) -> Account:
        account = self._accounts.get(key)
        if account is None:
            options = self.options
            account = Account.open(
                self._limits,
                kind=options.window,
                period=options.window_seconds,
                concurrency=options.concurrency,
            )
            self._accounts[key] = account
        return account

    def _answer(self, dialect: Dialect, request: Request, key: str, counts: KeyStats) -> Plan:
        """Check, admit and answer a request, in a provider's order. Raises Refusal."""
        self._access.check(dialect.auth, request, key)
        request.body = _parsed(request.raw)
        ask = dialect.read(request)
        _check_schemas(ask)
        content = content_of({**request.body, **request.names} if request.names else request.body)
        ask.attempt = self.stats.arrived(content)
        if self.options.models is not None and ask.model not in self.options.models:
            raise Refusal(
                404, "not_found", f"The model `{ask.model}` does not exist or you do not have access to it."
            )
        self._measure(ask)
        if dialect.counts_only:
            return _page(200, dialect.whole(Reply(ask, [Answer()], f"{content:016x}", 0)))
        ticket = self._admit(ask, key, counts)
        try:
            plan = self._made(dialect, ask, content, counts, ticket)
        except Refusal as refusal:
            plan = self._refuse(dialect, refusal, key)
        plan.ticket = ticket
        return plan

    def _measure(self, ask: Ask) -> None:
        """Count the input tokens. Raises Refusal when they exceed the model's context."""
        chars = ask.input_chars
        if ask.tools:
            chars += len(orjson.dumps(ask.body.get("tools")))
        ask.input_tokens = max(1, -(-chars // _CHARS_PER_TOKEN))
        limit = self.options.context_tokens
        if limit is not None and ask.input_tokens + (ask.max_tokens or 0) > limit:
            raise Refusal(
                400,
                "context_length",
                f"This model's maximum context length is {limit} tokens. However, you requested "
                f"{ask.input_tokens + (ask.max_tokens or 0)} tokens ({ask.input_tokens} in the messages, "
                f"{ask.max_tokens or 0} in the completion).",
                param="messages",
            )

    def _admit(self, ask: Ask, key: str, counts: KeyStats) -> _Ticket:
        now, options = self._clock(), self.options
        written = 0
        if options.accounting != "actual":
            wanted = ask.max_tokens if ask.max_tokens is not None else options.assumed_output_tokens
            written = wanted * ask.choices
        account, tokens = self._account(key), ask.input_tokens + written
        admitted = account.admit(now, {"requests": 1, **_token_amounts(ask.input_tokens, written)})
        if isinstance(admitted, Shortage):
            counts.refused += 1
            raise _over_quota(admitted, ask.model)
        counts.accepted += 1
        entry = counts.used.add(now, tokens)
        self.stats.running += 1
        self.stats.most_running = max(self.stats.most_running, self.stats.running)
        return _Ticket(account, admitted, counts.used, entry)

    def _made(self, dialect: Dialect, ask: Ask, content: int, counts: KeyStats, ticket: _Ticket) -> Plan:
        """The plan of an admitted request, with its fault applied. Raises Refusal."""
        options, fault, latency = self.options, None, self.options.latency
        if self._draws:
            self._rng.seed((options.seed << 96) ^ (ask.attempt << 64) ^ content)
            fault = draw(options.faults, self._rng)
            if options.latency_sigma:
                latency *= self._rng.lognormvariate(0.0, options.latency_sigma)
        if fault in STATUS_FAULTS:
            self.stats.faults[fault] += 1
            raise refusal_for(int(fault), wait=options.fault_retry_after if fault == "429" else None)
        answers = self._answers.make(ask, content)
        for answer in answers:
            if answer.status != 200:
                raise refusal_for(answer.status, answer.message, answer.retry_after)
            fault = answer.fault or fault
        reply = Reply(ask, answers, f"{content:016x}{ask.attempt:04x}", int(self._epoch + self._clock()))
        self._bill(reply, content, counts, ticket)
        plan = self._planned(dialect, reply, 0.0 if options.quick else latency, ticket)
        if fault is not None:
            self.stats.faults[fault] += 1
            apply_fault(fault, plan, dialect, options)
            if fault == "reset":
                plan.status = 0
        return plan

    def _bill(self, reply: Reply, content: int, counts: KeyStats, ticket: _Ticket) -> None:
        options = self.options
        read, written, cached = reply.ask.input_tokens, reply.output_tokens, reply.cached_tokens
        counts.input_tokens += read
        counts.output_tokens += written
        counts.cached_tokens += cached
        cached_price = options.input_price if options.cached_price is None else options.cached_price
        dollars = (
            (read - cached) * options.input_price + cached * cached_price + written * options.output_price
        )
        counts.bill += dollars / 1e6
        self.stats.made(content)
        if options.accounting != "reserve":
            ticket.settlement = _token_amounts(read, written)

    def _planned(self, dialect: Dialect, reply: Reply, latency: float, ticket: _Ticket) -> Plan:
        now, speed = self._clock(), self.options.tokens_per_second
        headers = [(dialect.request_id_header, "req_" + reply.number)]
        family = self.options.headers or dialect.header_family
        headers += quota_headers(family, ticket.account, now, self._epoch + now)
        if family == "anthropic" and ticket.account.windows:
            # The real API sends it with successful answers too, where a client has to ignore it.
            headers.append(("retry-after", "60"))
        if reply.ask.stream:
            pace = 0.0 if speed is None or self.options.quick else 1 / speed
            chunks = [Chunk(event.data, event.tokens * pace) for event in dialect.stream(reply)]
            headers.append(("content-type", dialect.stream_type))
            return Plan(200, headers, chunks, latency)
        if speed is not None and not self.options.quick:
            latency += reply.output_tokens / speed
        body = dialect.whole(reply)
        headers.append(_JSON)
        return Plan(200, headers, (Chunk(body),), latency, content_length=len(body))

    def _refuse(self, dialect: Dialect, refusal: Refusal, key: str) -> Plan:
        now = self._clock()
        forms = self.options.retry_after_forms
        forms = dialect.retry_after if forms is None else forms
        extra, body = dialect.error(refusal, forms)
        headers = [_JSON, *extra]
        if key in self._accounts:
            family = self.options.headers or dialect.header_family
            headers += quota_headers(family, self._accounts[key], now, self._epoch + now)
        if refusal.wait is not None:
            headers += retry_after_headers(forms, refusal.wait, self._epoch + now)
        status = dialect.status(refusal)
        return Plan(status, headers, (Chunk(body),), content_length=len(body))

    def _wall(self) -> float:
        return self._epoch + self._clock()

    def _resource(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Plan:
        """Paths that are no model call: the model list and the simulator's own pages."""
        if method in ("GET", "HEAD") and path == "/":
            dialects = [dialect.name for dialect in DIALECTS]
            return _json(200, {"simulator": "callgate", "dialects": dialects, "stats": "/stats"})
        if (method, path) == ("GET", "/stats"):
            return _json(200, self.stats.as_dict(contents="contents=1" in query))
        if (method, path) == ("POST", "/reset"):
            self.reset()
            return _json(200, {"reset": True})
        if method == "GET" and path.endswith("/models"):
            if not self._access.known(self._access.owner(headers)):
                return self._refuse(OPENAI_CHAT, refusal_for(401), "")
            return _json(200, models_page(self.options.models or _DEFAULT_MODELS, path, headers))
        if (method, path) == ("POST", "/token"):
            status, page = self._access.token_page(body)
            return _json(status, page)
        known = self._route(path) is not None
        message = f"{method} is not allowed on {path}." if known else f"Invalid URL ({method} {path})"
        code = "method_not_allowed" if known else "unknown_url"
        return self._refuse(OPENAI_CHAT, Refusal(405 if known else 404, "invalid", message, code=code), "")


def _token_amounts(read: int, written: int) -> dict[str, float]:
    return {"tokens": read + written, "input_tokens": read, "output_tokens": written}


def _check_schemas(ask: Ask) -> None:
    fault = "" if ask.json_schema is None else schema_error(ask.json_schema)
    for tool in ask.tools:
        fault = fault or schema_error(tool.parameters, f"tool {tool.name!r}")
    if fault:
        raise Refusal(400, "invalid", f"Invalid schema: {fault}")


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid", f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "invalid", "The JSON body of a request has to be an object.")
    return body


def _over_quota(short: Shortage, model: str) -> Refusal:
    unit = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}.get(
        short.quota, short.quota
    )
    message = f"Rate limit reached for {model} on {unit}: Limit {short.limit:g}, Used {short.used:g}, "
    message += f"Requested {short.requested:g}."
    if short.wait == float("inf"):
        message += " The request is larger than the whole limit: make it smaller."
        return Refusal(429, "rate_limit", message, quota=short.quota)
    message += f" Please try again in {short.wait:.3f}s."
    return Refusal(429, "rate_limit", message, wait=short.wait, quota=short.quota)


def _json(status: int, content: Any) -> Plan:
    return _page(status, orjson.dumps(content))


def _page(status: int, body: bytes) -> Plan:
    return Plan(status, [_JSON], (Chunk(body),), content_length=len(body))
