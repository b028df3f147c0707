"""Follows a redirect: the next request, without credentials and body if it goes to another origin."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from callgate.errors import APIClientError
from callgate.transport.encoding import Prepared
from callgate.transport.http import HttpAnswer
from callgate.transport.origin import is_loopback, origin_of

__all__ = ["MAX_REDIRECTS", "REDIRECTS", "redirected", "without_credentials"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 10

# Only these are sent to another origin, because any other header may hold a credential.
_HARMLESS = frozenset({"accept", "accept-language", "content-type", "range", "user-agent"})


def without_credentials(headers: dict[str, str]) -> dict[str, str]:
    """The headers that may be sent to an origin that was not chosen by the user.

    >>> without_credentials({"authorization": "Bearer x", "accept": "text/html", "x-my-token": "x"})
    {'accept': 'text/html'}
    """
    return {name: value for name, value in headers.items() if name in _HARMLESS}


def redirected(request: Prepared, answer: HttpAnswer) -> Prepared:
    """The request that follows the redirect.

    303 becomes a GET, and so do 301 and 302 of a POST, as in all browsers. Credentials are not sent to
    another origin.

    Raises:
        APIClientError: there is no valid Location, it is plain HTTP after HTTPS, it holds a password, or a
            body would be sent to another origin.
    """
    where = urljoin(request.url, answer.headers.get("location", ""))
    here, there = origin_of(request.url), origin_of(where)
    parts = urlsplit(where)

    def refuse(why: str) -> APIClientError:
        return APIClientError(
            f"{here} redirects to {there}, which is not followed: {why}",
            status_code=answer.status,
            headers=answer.headers,
        )

    if "location" not in answer.headers or parts.scheme not in ("http", "https") or not parts.hostname:
        raise refuse("it names no URL to go to")
    if parts.username is not None or parts.password is not None:
        raise refuse("its URL holds a user name or password")
    if here.startswith("https:") and parts.scheme == "http" and not is_loopback(parts.hostname):
        raise refuse("it leads from https to http")
    method, body, headers = request.method, request.body, dict(request.headers)
    if (answer.status == 303 and method != "HEAD") or (answer.status in (301, 302) and method == "POST"):
        method, body = "GET", None
        headers.pop("content-type", None)
    if here != there:
        if body is not None:
            raise refuse("the body would go to another origin")
        headers = without_credentials(headers)
    return Prepared(method, where, headers, body)
