"""`--schema FILE.json`: the schema that every answer of a batch must satisfy."""

from __future__ import annotations

from pathlib import Path

import orjson

from callgate.errors import ConfigurationError, InputError
from callgate.schema.answer import AnswerSchema

__all__ = ["read_schema"]


def read_schema(path: str) -> AnswerSchema:
    """The schema in a file.

    Args:
        path: JSON: a schema, or OpenAI's wrapper around one.

    Raises:
        InputError: when it cannot be read, is no JSON, or no schema that answers can be held to.

    Example::

        schema = read_schema("invoice.schema.json")
        calling = await model.invoke(messages=messages, response_schema=schema)
    """
    try:
        schema = orjson.loads(Path(path).read_bytes())
        return AnswerSchema(schema)
    except orjson.JSONDecodeError as error:
        wrong = f"is no JSON: {error}"
    except OSError as error:
        wrong = (
            "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        )
    except ConfigurationError as error:
        wrong = str(error)
    raise InputError(wrong, source=path, setting="schema")
