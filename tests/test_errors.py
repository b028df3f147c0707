"""The error tree: which classes are what, and which facts an error carries."""

import copy
import inspect
import pickle

import pytest

from callgate import errors
from callgate.errors import (
    APIClientError,
    APITimeoutError,
    CallgateError,
    ConfigurationError,
    DeadlineExceededError,
    DeadlineRefusalError,
    RefusedError,
    ServerError,
)

ALL = [getattr(errors, name) for name in errors.__all__ if inspect.isclass(getattr(errors, name))]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_stands_in_the_drawing_under_its_base(kind: type[CallgateError]) -> None:
    """The drawing at the top of errors.py shows each class once or more, indented below one of its bases."""
    drawn = [line for line in (errors.__doc__ or "").splitlines() if line.rstrip().endswith(kind.__name__)]
    drawn += [line for line in (errors.__doc__ or "").splitlines() if f"{kind.__name__} " in line]
    assert drawn


def test_a_deadline_that_ends_a_call_in_flight_is_no_refusal() -> None:
    error = DeadlineExceededError("no answer within 2 s")
    assert not isinstance(error, RefusedError)
    assert isinstance(error, TimeoutError)
    assert not error.surely_unsent
    assert not error.retryable


def test_a_deadline_before_any_attempt_is_a_refusal_and_a_deadline() -> None:
    error = DeadlineRefusalError("no answer within 2 s")
    assert isinstance(error, RefusedError)
    assert isinstance(error, DeadlineExceededError)
    assert error.surely_unsent


def test_an_error_names_its_setting_and_the_remedy_in_the_words_of_its_reader() -> None:
    error = ConfigurationError("no API key for openai", setting="api_key", remedy="set OPENAI_API_KEY or")
    assert error.setting == "api_key"
    assert str(error) == "no API key for openai; set OPENAI_API_KEY or api_key="
    assert error.explain("--api-key-env") == "no API key for openai; set OPENAI_API_KEY or --api-key-env"


def test_the_remedy_follows_the_facts_of_an_answer() -> None:
    error = ServerError("busy", status_code=503, request_id="r1", setting="timeout", remedy="raise")
    assert str(error) == "503: busy (request r1); raise timeout="


def test_an_error_without_a_remedy_is_its_message() -> None:
    assert str(ConfigurationError("must be positive", setting="timeout")) == "must be positive"
    assert ConfigurationError("bad").setting is None


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copy_of_an_error_keeps_its_facts(copied: object) -> None:
    made: list[CallgateError] = [
        APITimeoutError("late", setting="timeout", remedy="raise"),
        ConfigurationError("bad", setting="timeout"),
        errors.InputError("bad", source="in.jsonl", line=3),
        errors.BatchStoppedError("stopped", error=ValueError("x"), count=3),
        errors.SDKError("sdk", original=ValueError("y")),
        errors.CircuitBreakerOpenError("open", retry_after=3.0),
    ]
    for error in made:
        again = copied(error)  # type: ignore[operator]
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again).keys() == vars(error).keys()


@pytest.mark.parametrize("kind", [kind for kind in ALL if issubclass(kind, APIClientError)])
def test_an_error_without_a_message_says_what_its_class_means(kind: type[APIClientError]) -> None:
    assert str(kind()) == (kind.__doc__ or "").split("\n", 1)[0]
