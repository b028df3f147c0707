"""callgate: many calls to rate-limited APIs, as fast as the quota allows, and paying for nothing twice.

The public names, and nothing else. Each is imported from its module when it is first used, so that
`import callgate` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# For type checkers, which cannot follow the table below; a test keeps both the same.
if TYPE_CHECKING:
    from callgate.backends.claude_code import ClaudeCodeEndpoint as ClaudeCodeEndpoint
    from callgate.backends.config import (
        EndpointConfig as EndpointConfig,
        HttpTransportConfig as HttpTransportConfig,
        SdkTransportConfig as SdkTransportConfig,
        ServiceEndpointConfig as ServiceEndpointConfig,
    )
    from callgate.backends.endpoint import Endpoint as Endpoint
    from callgate.backends.factory import (
        AnthropicMessagesEndpoint as AnthropicMessagesEndpoint,
        GeminiEndpoint as GeminiEndpoint,
        OAIChatEndpoint as OAIChatEndpoint,
    )
    from callgate.backends.service import ServiceBackend as ServiceBackend
    from callgate.backends.tool import Tool as Tool
    from callgate.batch import providers as providers
    from callgate.batch.api import arun as arun, run as run
    from callgate.batch.cost.budget import Budget as Budget
    from callgate.batch.engine import Engine as Engine
    from callgate.batch.guard import FailureGuard as FailureGuard
    from callgate.batch.results_view import Result as Result, Results as Results
    from callgate.call.attempt import Attempt as Attempt
    from callgate.call.calling import Calling as Calling, NetworkRequestEvent as NetworkRequestEvent
    from callgate.call.status import RequestStatus as RequestStatus
    from callgate.errors import (
        APIClientError as APIClientError,
        APIConnectionError as APIConnectionError,
        APITimeoutError as APITimeoutError,
        AuthenticationError as AuthenticationError,
        BatchStoppedError as BatchStoppedError,
        BudgetExceededError as BudgetExceededError,
        CallCancelledError as CallCancelledError,
        CallgateError as CallgateError,
        CircuitBreakerOpenError as CircuitBreakerOpenError,
        ConfigurationError as ConfigurationError,
        ContentFilterError as ContentFilterError,
        ContextLengthError as ContextLengthError,
        DeadlineExceededError as DeadlineExceededError,
        DeadlineRefusalError as DeadlineRefusalError,
        InputError as InputError,
        InvalidAnswerError as InvalidAnswerError,
        InvalidRequestError as InvalidRequestError,
        OverloadedError as OverloadedError,
        QuotaExhaustedError as QuotaExhaustedError,
        QuotaTooSmallError as QuotaTooSmallError,
        RateLimitError as RateLimitError,
        RefusedError as RefusedError,
        ResourceNotFoundError as ResourceNotFoundError,
        ResponseError as ResponseError,
        ResponseTooLargeError as ResponseTooLargeError,
        RetryAfterTooLongError as RetryAfterTooLongError,
        RowsChangedError as RowsChangedError,
        SDKError as SDKError,
        ServerError as ServerError,
        ToolError as ToolError,
    )
    from callgate.executor.executor import Executor as Executor
    from callgate.messages import Conversation as Conversation, Message as Message
    from callgate.model.model import iModel as iModel
    from callgate.model.registry import ServiceRegistry as ServiceRegistry
    from callgate.model.spread import Spread as Spread
    from callgate.model.streams import StreamChannel as StreamChannel
    from callgate.network.alcall import alcall as alcall
    from callgate.network.client import AsyncAPIClient as AsyncAPIClient
    from callgate.network.decorators import circuit_breaker as circuit_breaker, with_retry as with_retry
    from callgate.network.rate_limiters import (
        AdaptiveRateLimiter as AdaptiveRateLimiter,
        EndpointRateLimiter as EndpointRateLimiter,
        RateLimitConfig as RateLimitConfig,
        TokenBucket as TokenBucket,
        TokenBucketRateLimiter as TokenBucketRateLimiter,
    )
    from callgate.network.save_to_file import save_to_file as save_to_file
    from callgate.pipeline import Layer as Layer, Service as Service, UserLayer as UserLayer
    from callgate.policies.breaker.breaker import CircuitBreaker as CircuitBreaker
    from callgate.policies.cache.memory import MemoryCache as MemoryCache
    from callgate.policies.cache.sqlite import SqliteCache as SqliteCache
    from callgate.policies.cache.store import CacheStore as CacheStore
    from callgate.policies.hedge.policy import HedgePolicy as HedgePolicy
    from callgate.policies.limit.limiter import Limiter as Limiter
    from callgate.policies.limit.quota import Quota as Quota
    from callgate.policies.observe.hooks import HookPhase as HookPhase, HookRegistry as HookRegistry
    from callgate.policies.retry.config import RetryConfig as RetryConfig
    from callgate.providers.sdks import (
        AnthropicAdapter as AnthropicAdapter,
        OpenAIAdapter as OpenAIAdapter,
        create_sdk_adapter as create_sdk_adapter,
    )
    from callgate.response import (
        Cost as Cost,
        Delta as Delta,
        Response as Response,
        StreamChunk as StreamChunk,
        ToolCall as ToolCall,
        Usage as Usage,
    )
    from callgate.schema.answer import AnswerSchema as AnswerSchema
    from callgate.transport.auth import HeaderFactory as HeaderFactory

__version__ = "0.1.0"

_HOMES: dict[str, tuple[str, ...]] = {
    "backends.claude_code": ("ClaudeCodeEndpoint",),
    "backends.config": (
        "EndpointConfig",
        "HttpTransportConfig",
        "SdkTransportConfig",
        "ServiceEndpointConfig",
    ),
    "backends.endpoint": ("Endpoint",),
    "backends.factory": ("AnthropicMessagesEndpoint", "GeminiEndpoint", "OAIChatEndpoint"),
    "backends.service": ("ServiceBackend",),
    "backends.tool": ("Tool",),
    "batch.api": ("arun", "run"),
    "batch.cost.budget": ("Budget",),
    "batch.engine": ("Engine",),
    "batch.guard": ("FailureGuard",),
    "batch.results_view": ("Result", "Results"),
    "policies.cache.memory": ("MemoryCache",),
    "policies.cache.sqlite": ("SqliteCache",),
    "policies.cache.store": ("CacheStore",),
    "call.attempt": ("Attempt",),
    "call.calling": ("Calling", "NetworkRequestEvent"),
    "model.streams": ("StreamChannel",),
    "policies.retry.config": ("RetryConfig",),
    "pipeline": ("Layer", "Service", "UserLayer"),
    "policies.breaker.breaker": ("CircuitBreaker",),
    "policies.hedge.policy": ("HedgePolicy",),
    "policies.limit.limiter": ("Limiter",),
    "policies.limit.quota": ("Quota",),
    "errors": (
        "APIClientError",
        "APIConnectionError",
        "APITimeoutError",
        "AuthenticationError",
        "BatchStoppedError",
        "BudgetExceededError",
        "CallCancelledError",
        "CallgateError",
        "CircuitBreakerOpenError",
        "ConfigurationError",
        "ContentFilterError",
        "ContextLengthError",
        "DeadlineExceededError",
        "DeadlineRefusalError",
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
        "RowsChangedError",
        "SDKError",
        "ServerError",
        "ToolError",
    ),
    "executor.executor": ("Executor",),
    "policies.observe.hooks": ("HookPhase", "HookRegistry"),
    "schema.answer": ("AnswerSchema",),
    "call.status": ("RequestStatus",),
    "messages": ("Conversation", "Message"),
    "model.model": ("iModel",),
    "network.client": ("AsyncAPIClient",),
    "network.alcall": ("alcall",),
    "network.save_to_file": ("save_to_file",),
    "network.rate_limiters": (
        "AdaptiveRateLimiter",
        "EndpointRateLimiter",
        "RateLimitConfig",
        "TokenBucket",
        "TokenBucketRateLimiter",
    ),
    "network.decorators": ("circuit_breaker", "with_retry"),
    "providers.sdks": ("AnthropicAdapter", "OpenAIAdapter", "create_sdk_adapter"),
    "model.registry": ("ServiceRegistry",),
    "response": ("Cost", "Delta", "Response", "StreamChunk", "ToolCall", "Usage"),
    "model.spread": ("Spread",),
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
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
