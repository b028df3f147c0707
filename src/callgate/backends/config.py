"""The configurations of endpoints: pydantic models, validated when they are created.

No configuration shows a key: it is a `SecretStr`, errors do not quote the input, and the serialized form has
only the name of the key's environment variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from callgate.backends.option_check import refuse_unknown
from callgate.errors import ConfigurationError
from callgate.headers import mask_headers
from callgate.policies.retry.config import RetryConfig
from callgate.providers.host import Host
from callgate.providers.hosts import HOSTS, read_query
from callgate.transport.http import HTTP_SETTINGS
from callgate.transport.keys import (
    ENVIRONMENT,
    Hidden,
    check_key_variable,
    hide,
    hide_secrets,
    hide_user,
    is_surely_a_name,
    key_variable,
    read_key,
    without_secrets,
)
from callgate.transport.origin import check_base_url, check_headers

__all__ = [
    "CLIENT_SETTINGS",
    "CLOUD_SETTINGS",
    "ApiKey",
    "EndpointConfig",
    "HttpTransportConfig",
    "SdkTransportConfig",
    "ServiceEndpointConfig",
    "make_config",
]

AuthType = Literal["bearer", "basic", "x-api-key", "x-goog-api-key", "api-key", "entra", "none"]

CLIENT_SETTINGS = tuple(name for name in HTTP_SETTINGS if name != "read_timeout")
"""The settings of the HTTP transport that have no field of their own."""
CLOUD_SETTINGS = ("region", "location", "project", "access_key", "secret_key", "session_token", "profile",
                  "service_account", "api_version", "credential", "azure_ad_token",
                  "azure_ad_token_provider")  # fmt: skip
"""The settings of endpoints in a cloud."""


def _as_secret(value: Any) -> Any:
    return SecretStr(Hidden(value.strip())) if isinstance(value, str) else value


ApiKey = Annotated[SecretStr | str | None, AfterValidator(_as_secret)]
"""A key, or the name of the environment variable that holds it. A string becomes a `SecretStr`."""


class _Config(BaseModel):
    """The base of both configurations: the key and the headers, which are not shown."""

    model_config = ConfigDict(hide_input_in_errors=True)

    api_key: ApiKey = None
    api_key_env: str | None = Field(default=None, description="The variable that holds the key.")
    default_headers: dict[str, str] = Field(default_factory=dict)
    allow_http: bool = Field(default=False, description="Permit plain HTTP to another machine.")

    def __init__(self, **fields: Any) -> None:
        # Hidden before the call of pydantic, whose frames a traceback may show.
        fields = hide_secrets(fields)
        super().__init__(**fields)

    @model_validator(mode="before")
    @classmethod
    def _distinguish_names_from_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and (name := key_variable(data.get("api_key"))) is not None:
            return {**data, "api_key": None, "api_key_env": name}
        return data

    @field_validator("api_key_env")
    @classmethod
    def _is_a_variable(cls, name: str | None) -> str | None:
        name = hide(name)
        return None if name is None else check_key_variable(name)

    @field_validator("default_headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        headers = hide_secrets(headers)
        check_headers(headers)
        return headers

    @field_serializer("api_key")
    def _no_key(self, _: SecretStr | str | None) -> None:
        return None

    @field_serializer("default_headers")
    def _no_credentials(self, headers: dict[str, str]) -> dict[str, str]:
        masked = mask_headers(headers)
        return {name: value for name, value in headers.items() if masked[name] == value}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # Also a key that was set after the validation.
        shown: dict[str | None, Callable[[Any], Any]] = {
            "api_key": _as_secret,
            "api_key_env": lambda name: name if is_surely_a_name(name) else hide(name),
            "base_url": hide_user,
            "default_headers": mask_headers,
            "kwargs": hide_secrets,
            "default_request_kwargs": hide_secrets,
        }
        for name, value in super().__repr_args__():
            yield name, shown[name](value) if name in shown else value

    @property
    def may_go_in_the_clear(self) -> bool:
        """True if plain HTTP to another machine is permitted: by `allow_http`, or because no credential was
        given.

        A key in the provider's environment variable is not known here.
        """
        holds_key = self.api_key is not None or self.api_key_env is not None
        if getattr(self, "auth_type", None) == "none":
            holds_key = False
        return self.allow_http or not (
            holds_key or mask_headers(self.default_headers) != self.default_headers
        )

    def read_api_key(self, environ: Mapping[str, str] = ENVIRONMENT) -> str | None:
        """The key, from its environment variable if one was named; None if none was given.

        Raises:
            ConfigurationError: the named variable is not set.
        """
        what = f"the endpoint {getattr(self, 'name', '')!r}"
        return read_key(self.api_key, environ, what=what, variable=self.api_key_env) or None


def _check_settings(setting: str, given: Mapping[str, Any], host: Host | None = None) -> None:
    """Refuse settings that are neither the transport's nor a cloud's."""
    of_host = () if host is None else tuple(ours for ours, _ in host.query)
    refuse_unknown(setting, given, (*CLIENT_SETTINGS, *CLOUD_SETTINGS, *of_host))


class HttpTransportConfig(BaseModel):
    """The HTTP side of an endpoint.

    >>> HttpTransportConfig().method
    'POST'
    """

    model_config = ConfigDict(extra="forbid")

    method: str = "POST"

    @field_validator("method")
    @classmethod
    def _upper(cls, method: str) -> str:
        if not method.isalpha():
            raise ValueError("method must be an HTTP method, as POST")
        return method.upper()


class SdkTransportConfig(BaseModel):
    """The official SDK that an endpoint calls.

    >>> SdkTransportConfig(sdk_provider_name="openai").default_sdk_method_name is None
    True
    """

    model_config = ConfigDict(extra="forbid")

    sdk_provider_name: str
    default_sdk_method_name: str | None = None


class ServiceEndpointConfig(_Config):
    """One service, reached over HTTP or through an official SDK.

    Args:
        name: The name in messages.
        transport_type: "http" (needs `base_url`) or "sdk" (needs `sdk_config`).
        api_key: A key, or the name of the environment variable that holds it.
        base_url: The address; https, or http on this machine (elsewhere without a key, or with `allow_http`).
        timeout: Timeout of one attempt in seconds.
        read_timeout: Seconds without a single byte after which an attempt fails; None: no limit.
        default_headers: Sent with every request.
        client_constructor_kwargs: Settings of the `HttpTransport` (`verify`, `client_cert`, `proxy`, ...), or
            of the SDK's client.
        http_config, sdk_config: Settings of one of the two transports.
        default_request_kwargs: Fields of every request that has no such field.

    Raises:
        pydantic.ValidationError: (a ValueError) a field is unknown or invalid.

    >>> ServiceEndpointConfig(name="chat", transport_type="http", base_url="https://api.openai.com/v1/").base_url
    'https://api.openai.com/v1'
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    transport_type: Literal["http", "sdk"]
    base_url: str | None = None
    timeout: float = Field(default=60.0, gt=0)
    read_timeout: float | None = Field(default=None, gt=0)
    client_constructor_kwargs: dict[str, Any] = Field(default_factory=dict, repr=False)
    http_config: HttpTransportConfig | None = None
    sdk_config: SdkTransportConfig | None = None
    default_request_kwargs: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_what_its_transport_needs(self) -> Self:
        if self.base_url is not None:
            self.base_url = check_base_url(self.base_url, self.may_go_in_the_clear)
        elif self.transport_type == "http":
            raise ValueError("an endpoint with transport_type 'http' needs a base_url")
        if self.transport_type == "sdk" and self.sdk_config is None:
            raise ValueError("an endpoint with transport_type 'sdk' needs an sdk_config")
        if self.transport_type == "sdk" and self.read_timeout is not None:
            raise ValueError("an SDK has its own timeouts; set them in client_constructor_kwargs")
        if self.transport_type == "http":
            _check_settings("client_constructor_kwargs", self.client_constructor_kwargs)
            if self.http_config is None:
                self.http_config = HttpTransportConfig()
        return self

    @field_serializer("client_constructor_kwargs")
    def _plain_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return without_secrets(settings, deep=True)

    @field_serializer("default_request_kwargs")
    def _plain_requests(self, settings: dict[str, Any]) -> dict[str, Any]:
        return without_secrets(settings)


class EndpointConfig(_Config):
    """One path of one provider.

    Unknown fields are defaults of every request (`model="gpt-4o-mini"`), as are those in `kwargs`.

    Args:
        name: The name in messages.
        provider: A name of the hosts table, which has its dialect and address, or any other name.
        base_url: The provider's address; None: that of the hosts table. https, or http on this machine
            (elsewhere without a key, or with `allow_http`). It may have only a query that the hosts table
            lists for the provider (Azure's `?api-version=`).
        endpoint: The path below the base URL. Fields in braces are filled from `params`.
        endpoint_params: The names of these fields; read from `endpoint` unless given.
        method: The HTTP method.
        content_type, auth_type, default_headers: The headers of every request.
        api_key: A key, or the name of the environment variable that holds it.
        timeout: Timeout of one attempt in seconds; None: no limit.
        read_timeout: Seconds without a single byte after which an attempt fails; None: no limit. The wait for
            the first byte counts, and a response that is not streamed has no byte before the model has
            written all of it.
        max_retries: The most retries of a call after transient errors.
        request_options: A pydantic model that validates every request; its defaults are sent.
        client_kwargs: Settings of the `HttpTransport` (`verify`, `client_cert`, `proxy`, ...) and of a cloud
            (`region`, `api_version`, ...).
        oai_compatible: Use the OpenAI chat format for a provider that is not in the hosts table.

    >>> config = EndpointConfig(name="users", provider="example", base_url="https://api.example.com",
    ...                         endpoint="teams/{team}/users", params={"team": "red"}, limit=10)
    >>> config.full_url, config.kwargs
    ('https://api.example.com/teams/red/users', {'limit': 10})
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    provider: str
    base_url: str | None = None
    endpoint: str
    endpoint_params: list[str] | None = None
    method: str = "POST"
    params: dict[str, str] = Field(default_factory=dict)
    content_type: str = "application/json"
    auth_type: AuthType = "bearer"
    timeout: float | None = Field(default=300, gt=0)
    read_timeout: float | None = Field(default=None, gt=0)
    max_retries: int = Field(default=3, ge=0)
    request_options: type[BaseModel] | None = Field(default=None, exclude=True)
    kwargs: dict[str, Any] = Field(default_factory=dict)
    client_kwargs: dict[str, Any] = Field(default_factory=dict, repr=False)
    oai_compatible: bool = False

    if TYPE_CHECKING:
        # Any further keyword is a field or a request default, so that a type checker accepts it.
        def __init__(
            self,
            *,
            name: str,
            provider: str,
            endpoint: str,
            api_key: SecretStr | str | None = None,
            **settings: Any,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _gather_unknown(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = {name: value for name, value in data.items() if name in cls.model_fields}
        unknown = {name: value for name, value in data.items() if name not in cls.model_fields}
        if unknown:
            known["kwargs"] = {**(known.get("kwargs") or {}), **unknown}
        return known

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        host = HOSTS.get(self.provider)
        _check_settings("client_kwargs", self.client_kwargs, host)
        if self.base_url is not None:
            base_url, in_url = read_query(hide_user(self.base_url), host)
            self.base_url = check_base_url(base_url, self.may_go_in_the_clear)
            if in_url:
                self.client_kwargs = {**in_url, **self.client_kwargs}
        self.method = self.method.upper()
        wanted = [field for _, field, _, _ in Formatter().parse(self.endpoint) if field]
        if self.endpoint_params is None:
            self.endpoint_params = wanted or None
        missing = [name for name in wanted if name not in self.params]
        if missing:
            raise ValueError(f"endpoint {self.endpoint!r} needs params for {', '.join(missing)}")
        return self

    @field_serializer("client_kwargs")
    def _plain_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return without_secrets(settings, deep=True)

    @field_serializer("kwargs")
    def _plain_requests(self, settings: dict[str, Any]) -> dict[str, Any]:
        return without_secrets(settings)

    @property
    def retry_config(self) -> RetryConfig:
        """The retry policy with `max_retries`."""
        return RetryConfig(max_retries=self.max_retries)

    @property
    def path(self) -> str:
        """The path below the base URL, with its fields filled in, without a slash at its start."""
        filled = {name: quote(value, safe=":@") for name, value in self.params.items()}
        return self.endpoint.format(**filled).lstrip("/")

    @property
    def full_url(self) -> str:
        """The whole URL.

        Raises:
            ConfigurationError: no base URL was given.
        """
        if self.base_url is None:
            raise ConfigurationError(f"endpoint {self.name!r} has no base_url; give one")
        return f"{self.base_url}/{self.path}"


AnyConfig = TypeVar("AnyConfig", bound=_Config)


def make_config(kind: type[AnyConfig], /, **fields: Any) -> AnyConfig:
    """A configuration of this class.

    Raises:
        ConfigurationError: a field is invalid; the message does not quote values, which may be keys.
    """
    fields = hide_secrets(fields)
    try:
        return kind(**fields)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
    cause = problems[0].get("ctx", {}).get("error")
    if len(problems) == 1 and isinstance(cause, ConfigurationError):
        raise cause from None  # with its setting
    wrong = [
        ": ".join([*map(str, each["loc"]), each["msg"].removeprefix("Value error, ")]) for each in problems
    ]
    setting = problems[0]["loc"][0] if len(problems) == 1 and problems[0]["loc"] else None
    raise ConfigurationError("; ".join(wrong), setting=None if setting is None else str(setting))
