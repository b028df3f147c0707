"""The service behind https://api.example.com in the guides of `docs/`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.documents.http_service import Answer, Request

__all__ = ["ExampleService"]

_USERS: dict[str, dict[str, Any]] = {"1": {"id": 1, "name": "Ada"}, "2": {"id": 2, "name": "Alan"}}


class ExampleService:
    """Users, orders, reports and files; one path is busy at first, one is broken."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()

    def __call__(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        self._asked[path] += 1
        kind, _, name = path.strip("/").partition("/")
        answer: Answer = getattr(self, f"_{kind}", self._unknown)(request, name, self._asked[path])
        return answer

    def _users(self, request: Request, name: str, count: int) -> Answer:
        if request.method == "POST":
            return 201, {}, {**request.json, "id": 3}
        if not name:
            admins = "role=admin" in request.path
            return 200, {}, [_USERS["1"]] if admins else list(_USERS.values())
        if name in _USERS:
            return 200, {}, _USERS[name]
        return 404, {}, {"message": f"there is no user {name}"}

    def _orders(self, request: Request, name: str, count: int) -> Answer:
        return (201, {}, {**request.json, "id": count}) if request.method == "POST" else (200, {}, [])

    def _busy(self, request: Request, name: str, count: int) -> Answer:
        if count == 1:
            return 429, {"Retry-After": "0.05"}, {"message": "slow down"}
        if count == 2:
            return 503, {}, {"message": "not yet"}
        return 200, {}, {"served": "at the third attempt"}

    def _broken(self, request: Request, name: str, count: int) -> Answer:
        return 500, {}, {"message": "it is broken"}

    def _reports(self, request: Request, name: str, count: int) -> Answer:
        return (503, {}, {}) if count == 1 else (200, {}, {"report": name, "attempts": count})

    def _files(self, request: Request, name: str, count: int) -> Answer:
        return 200, {}, "month,total\nmarch,7\n"

    def _data(self, request: Request, name: str, count: int) -> Answer:
        return 200, {}, {"path": request.path}

    def _unknown(self, request: Request, name: str, count: int) -> Answer:
        return 404, {}, {"message": f"there is nothing at {request.path}"}
