"""callgate: many calls to rate-limited APIs, as fast as the quota allows, and paying for nothing twice.

The public names, and nothing else. Each is imported from its module when it is first used, so that
`import callgate` stays quick.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES: dict[str, tuple[str, ...]] = {
    "backends.config": (
        "EndpointConfig",
        "HttpTransportConfig",
        "SdkTransportConfig",
        "ServiceEndpointConfig",
    ),
    "backends.endpoint": ("Endpoint",),
    "backends.ready_made": ("AnthropicMessagesEndpoint", "GeminiEndpoint", "OAIChatEndpoint"),
    "backends.service": ("ServiceBackend",),
    "backends.tool": ("Tool",),
    "batch.engine": ("Engine",),
    "calling": ("Calling", "NetworkRequestEvent", "RequestStatus"),
    "channel": ("StreamChannel",),
    "control.backoff": ("RetryConfig",),
    "control.breaker": ("CircuitBreaker",),
    "control.limiter": ("Limiter",),
    "control.quota": ("Quota",),
    "errors": (
        "APIClientError",
        "APIConnectionError",
        "APITimeoutError",
        "AuthenticationError",
        "BudgetExceededError",
        "CallCancelledError",
        "CallgateError",
        "CircuitBreakerOpenError",
        "ConfigurationError",
        "ContentFilterError",
        "ContextLengthError",
        "DeadlineExceededError",
        "InputError",
        "InvalidAnswerError",
        "InvalidRequestError",
        "OverloadedError",
        "QuotaExhaustedError",
        "QuotaTooSmallError",
        "RateLimitError",
        "RefusedError",
        "ResourceNotFoundError",
        "ResponseError",
        "ResponseTooLargeError",
        "RetryAfterTooLongError",
        "SDKError",
        "ServerError",
        "StreamInterruptedError",
        "ToolError",
    ),
    "executor": ("Executor",),
    "hooks": ("HookPhase", "HookRegistry"),
    "messages": ("Conversation", "Message"),
    "model": ("iModel",),
    "network.client": ("AsyncAPIClient",),
    "network.fan_out": ("alcall",),
    "network.files": ("save_to_file",),
    "network.rate_limiters": (
        "AdaptiveRateLimiter",
        "EndpointRateLimiter",
        "RateLimitConfig",
        "TokenBucket",
        "TokenBucketRateLimiter",
    ),
    "network.resilience": ("circuit_breaker", "with_retry"),
    "providers.sdks": ("AnthropicAdapter", "OpenAIAdapter", "create_sdk_adapter"),
    "registry": ("ServiceRegistry",),
    "response": ("Cost", "Response", "StreamChunk", "ToolCall", "Usage"),
    "transport.auth": ("HeaderFactory",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = frozenset({"errors", "providers", "testing"})

__all__ = sorted([*_HOME_OF, *_MODULES])


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is not None:
        value = getattr(import_module(f"callgate.{module}"), name)
    elif name in _MODULES:
        value = import_module(f"callgate.{name}")
    else:
        raise AttributeError(f"module 'callgate' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
