from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from callgate.batch.input.schema_file import read_schema
from callgate.errors import InputError

PLANET = {"title": "Planet", "type": "object", "properties": {"moons": {"type": "integer"}}}


def test_a_schema_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "planet.json"
    path.write_bytes(orjson.dumps(PLANET))
    schema = read_schema(str(path))
    assert schema.name == "Planet"
    assert schema.read('{"moons": 2}') == {"moons": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no JSON"),
        (b"[]", "it is an object, not list"),
        (b'{"type": "objct"}', "this is no JSON schema: type"),
        (b'{"type": "array"}', "providers answer with objects"),
    ],
)
def test_a_bad_schema_is_one_clear_error_that_names_the_file(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.json: .*{message}"):
        read_schema(str(path))


def test_a_file_that_cannot_be_read_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_schema(str(tmp_path / "none.json"))
    with pytest.raises(InputError, match="Is a directory"):
        read_schema(str(tmp_path))
