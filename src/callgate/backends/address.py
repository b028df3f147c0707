"""Finds the address and credential of an endpoint: in its settings, the environment or the hosts table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from callgate.backends.config import EndpointConfig, ServiceEndpointConfig
from callgate.errors import ConfigurationError
from callgate.providers.hosts import (
    HOSTS,
    Host,
    entra_scope,
    fill_region,
    find_host,
    key_scheme,
    read_query,
    resolve_base_url,
)
from callgate.transport.auth import Auth, SigV4Auth, StaticAuth
from callgate.transport.keys import read_key, read_set
from callgate.transport.origin import check_base_url, is_loopback
from callgate.transport.tokens import EntraAuth, GoogleAuth

__all__ = ["Address", "find_address", "host_named"]

AnyConfig = EndpointConfig | ServiceEndpointConfig

_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_LOCATION_VARIABLES = ("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION")
_TOKEN_KINDS = ("sigv4", "google")
_CREDENTIALS = (
    "access_key", "secret_key", "profile", "service_account", "credential", "azure_ad_token_provider",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an endpoint and the authentication of its requests.

    Attributes:
        base_url: Without a slash at its end.
        auth: Returns the headers that hold the credential.
        key_variable: The environment variable of the key; None: the key itself was given, or there is none.
        query: The query of every request, without its question mark.
    """

    base_url: str
    auth: Auth
    key_variable: str | None
    query: str = ""


def host_named(provider: str, base_url: str | None) -> Host | None:
    """The entry of a provider in the hosts table; None for an unknown name with a base URL.

    Raises:
        ConfigurationError: the name is unknown and there is no base URL.
    """
    try:
        return find_host(provider)
    except ConfigurationError:
        if base_url is None:
            raise
        return None


def find_address(config: AnyConfig, host: Host | None, environ: Mapping[str, str]) -> Address:
    """The address of an endpoint.

    Args:
        config: The endpoint's configuration. Its `client_kwargs` may hold the settings of a cloud: `region`,
            `access_key`, `secret_key`, `session_token`, `profile`, `service_account`, `api_version`,
            `credential`, `azure_ad_token`, `azure_ad_token_provider`.
        host: The provider, if it is a known one.
        environ: The environment.

    Raises:
        ConfigurationError: there is no base URL, a required key is missing, or the named variable of the key
            is not set.
    """
    extra = config.client_kwargs if isinstance(config, EndpointConfig) else config.client_constructor_kwargs
    base_url = config.base_url
    if base_url is None and host is not None:
        base_url = resolve_base_url(host, environ)
    if base_url is None:
        if host is not None and host.base_url_env:
            raise ConfigurationError(
                f"{host.provider} has no default address",
                setting="base_url",
                remedy=f"set {host.base_url_env}, or give",
            )
        raise ConfigurationError(
            f"no address for the endpoint {config.name!r}",
            setting="base_url",
            remedy=f"give a provider out of {', '.join(sorted(HOSTS))}, or",
        )
    region = _region(host, extra, environ)
    if "{region}" in base_url:
        base_url = _with_region(base_url, region, config.name)
    base_url, in_url = read_query(base_url, host)
    query = _query(host, {**in_url, **extra})
    base_url = check_base_url(base_url, config.may_go_in_the_clear)
    kind = _auth_kind(config, host, extra)
    key, variable = _find_key(config, host, environ)
    on_this_machine = is_loopback(urlsplit(base_url).hostname or "")
    has_credentials = _has_own_credentials(config, extra)
    if kind == "entra" or (kind in _TOKEN_KINDS and (key is None or has_credentials)):
        check_base_url(base_url, config.allow_http)
        return Address(base_url, _token_auth(kind, base_url, extra, region), None, query)
    if key is None and (token := _given_token(host, extra, environ)) is not None:
        kind, key = "bearer", token
    if key is None:
        if host is not None and host.api_key_required and kind != "none" and not on_this_machine:
            remedy = f"set {variable}, or give" if variable else "give"
            raise ConfigurationError(f"no key for {host.provider}", setting="api_key", remedy=remedy)
        kind = "none"
    elif kind != "none":
        check_base_url(base_url, config.allow_http)
        kind = key_scheme(host, kind, key)
    return Address(base_url, StaticAuth(kind, key), variable, query)


def _has_own_credentials(config: AnyConfig, extra: Mapping[str, Any]) -> bool:
    """True if cloud credentials were given, which override a key in the environment.

    Raises:
        ConfigurationError: both an API key and cloud credentials were given.
    """
    given = [name for name in _CREDENTIALS if extra.get(name) is not None]
    if given and (config.api_key is not None or config.api_key_env is not None):
        raise ConfigurationError(f"give {given[0]} or api_key, not both", setting=given[0])
    return bool(given)


def _token_auth(kind: str, base_url: str, extra: Mapping[str, Any], region: str | None) -> Auth:
    if kind == "sigv4":
        return _aws(extra, region or "us-east-1")
    if kind == "google":
        return GoogleAuth(extra.get("service_account"))
    return EntraAuth(entra_scope(base_url), extra.get("credential") or extra.get("azure_ad_token_provider"))


def _given_token(host: Host | None, extra: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """An access token that was given, or is set in the environment."""
    token = read_key(extra.get("azure_ad_token"), environ)
    if token is None and host is not None and host.bearer_env is not None:
        token = read_set(host.bearer_env, environ)
    return token


def _query(host: Host | None, settings: Mapping[str, Any]) -> str:
    pairs = () if host is None else host.query
    return urlencode([(its, settings[ours]) for ours, its in pairs if settings.get(ours)])


def _auth_kind(config: AnyConfig, host: Host | None, extra: Mapping[str, Any]) -> str:
    if extra.get("credential") is not None or extra.get("azure_ad_token_provider") is not None:
        return "entra"
    if isinstance(config, EndpointConfig) and ("auth_type" in config.model_fields_set or host is None):
        return config.auth_type
    return "bearer" if host is None else host.auth


def _find_key(
    config: AnyConfig, host: Host | None, environ: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """The key and its environment variable. A missing key is None, with the variable that may hold it."""
    if config.api_key_env is not None or config.api_key is not None:
        return config.read_api_key(environ), config.api_key_env
    if host is None:
        return None, None
    for variable in (host.api_key_env, *host.other_api_key_envs):
        if variable and (key := read_set(variable, environ)):
            return key, variable
    return None, host.api_key_env


def _region(host: Host | None, extra: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    given = extra.get("region") or extra.get("location")
    if given:
        return str(given)
    names = _LOCATION_VARIABLES if host is not None and host.auth == "google" else _REGION_VARIABLES
    return next((environ[name] for name in names if environ.get(name)), None)


def _with_region(base_url: str, region: str | None, name: str) -> str:
    if region is None:
        raise ConfigurationError(
            f"the endpoint {name!r} needs a region; set AWS_REGION or GOOGLE_CLOUD_LOCATION, or `region`",
            setting="region",
        )
    return fill_region(base_url, region)


def _aws(extra: Mapping[str, Any], region: str) -> Auth:
    return SigV4Auth(
        region,
        access_key=extra.get("access_key"),
        secret_key=extra.get("secret_key"),
        session_token=extra.get("session_token"),
        profile=extra.get("profile"),
    )
