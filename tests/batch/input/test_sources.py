"""Reading rows from files and pipes of every kind, and saying where a bad one stands."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from callgate.batch.input.files import format_of, is_regular
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import Source
from callgate.batch.input.template import Template
from callgate.errors import InputError


def write(folder: Path, name: str, content: bytes | str) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(source: Source) -> list[Row]:
    return [row for block in source.blocks() for row in block]


def prompts(source: Source) -> list[str]:
    return [row.request["messages"][-1]["content"] for row in rows(source)]


def refusal(path: str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        rows(Source(path, **options))
    return str(caught.value).replace(os.path.dirname(path) + "/", "")


def test_jsonl_skips_blank_lines_a_bom_and_carriage_returns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"prompt": "a"}\r\n\n   \n{"prompt": "b"}')
    assert [(row.index, row.line) for row in rows(Source(path))] == [(0, 1), (1, 4)]
    assert prompts(Source(path)) == ["a", "b"]


def test_lines_longer_than_a_chunk_come_whole(tmp_path: Path) -> None:
    long = "x" * 700_000
    path = write(tmp_path, "a.jsonl", '{"prompt": "a"}\n{"prompt": "' + long + '"}\n{"prompt": "b"}\n')
    source = Source(path)
    assert [len(prompt) for prompt in prompts(source)] == [1, 700_000, 1]
    assert [row.line for row in rows(source)] == [1, 2, 3]


def test_the_same_file_can_be_read_again(tmp_path: Path) -> None:
    source = Source(write(tmp_path, "a.jsonl", '{"prompt": "a"}\n'))
    assert prompts(source) == prompts(source) == ["a"]


def test_limit_takes_the_first_rows_across_blocks(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "prompt\n" + "".join(f"p{i}\n" for i in range(600)))
    assert len(prompts(Source(path, limit=300))) == 300
    assert prompts(Source(path, limit=1)) == ["p0"]
    assert prompts(Source(path, limit=0)) == []
    assert len(prompts(Source(path, limit=9999))) == 600


def test_csv_with_quotes_line_ends_in_cells_and_a_bom(tmp_path: Path) -> None:
    text = '\ufeffprompt,custom_id,note\r\n"Say ""hi"",\nplease",one,x\r\n\r\nShort,two,\r\n'
    found = rows(Source(write(tmp_path, "a.csv", text)))
    assert [row.line for row in found] == [2, 5]
    assert [row.custom_id for row in found] == ["one", "two"]
    assert found[0].request["messages"][0]["content"] == 'Say "hi",\nplease'
    assert found[1].columns == {"prompt": "Short", "note": ""}


def test_tsv_and_a_template(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "word\tlang\nHund, gross\tde\n")
    assert prompts(Source(path, template=Template("{lang}: {word}"))) == ["de: Hund, gross"]


def test_a_cell_may_be_longer_than_the_csv_modules_own_limit(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "prompt\n" + "y" * 200_000 + "\n")
    assert len(prompts(Source(path))[0]) == 200_000


def test_gzip_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv.gz", gzip.compress(b"prompt\na\nb\n", mtime=0))
    assert prompts(Source(path)) == ["a", "b"]
    assert Source(path).count(lambda: False) == 2


def test_zstd_by_name_in_several_frames(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    frames = zstandard.compress(b'{"prompt": "a"}\n') + zstandard.compress(b'{"prompt": "b"}\n')
    path = write(tmp_path, "a.jsonl.zst", frames)
    assert prompts(Source(path)) == ["a", "b"]
    assert "cannot be read further" in refusal(write(tmp_path, "b.jsonl.zst", b"no zstd at all"))
    assert Source(str(tmp_path / "b.jsonl.zst")).count(lambda: False) is None


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = str(tmp_path / "a.parquet")
    table = pyarrow.table({"word": [f"w{i}" for i in range(300)], "n": list(range(300))})
    parquet.write_table(table, path)
    source = Source(path, template=Template("{n} {word}"))
    assert prompts(source)[:2] == ["0 w0", "1 w1"]
    assert [row.line for row in rows(source)][-1] == 300
    assert source.count(lambda: False) == 300
    assert Source(path, template=Template("{n}"), limit=5).count(lambda: False) == 5
    assert source.check(1 << 30) == 300
    assert refusal(path).startswith("a.parquet:1: the row has no prompt")
    assert refusal(path, template=Template("{x}")).startswith("a.parquet:1: the template wants {x}")
    assert {name: str(kind) for name, kind in Source(path).types.items()} == {
        each.name: str(each.type) for each in table.schema
    }
    assert Source(write(tmp_path, "a.csv", "prompt")).types == {}
    broken = write(tmp_path, "b.parquet", b"PAR1 not really")
    assert refusal(broken).startswith("b.parquet: is no Parquet file that can be read")


@pytest.mark.parametrize("ending", ["parquet", "jsonl.zst"])
def test_a_missing_extra_is_named_with_its_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    for module in ("pyarrow", "pyarrow.parquet", "zstandard"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    said = refusal(write(tmp_path, f"a.{ending}", b"x"))
    assert "pip install 'callgate[" in said


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"prompt": "a"}\nno json\n', "a.jsonl:2: is no JSON"),
        ("a.jsonl", b'{"prompt": "a"', "a.jsonl:1: is no JSON"),
        ("a.jsonl", b'[\n {"prompt": "a"}\n]', "a.jsonl:1: is one JSON list, not one object a line"),
        ("a.jsonl", '{"prompt": "a"}'.encode("utf-16"), "a.jsonl: is UTF-16; save it as UTF-8"),
        ("a.jsonl", b'{"prompt": "\xff"}', "a.jsonl:1: is not UTF-8; convert the file, from Latin-1"),
        ("a.jsonl", b'\n\n{"x": 1}\n', "a.jsonl:3: the row has no prompt"),
        ("a.csv", b"prompt\na\n\xff\n", "a.csv:3: is not UTF-8"),
        ("a.csv", b"prompt,b\na\n", "a.csv:2: has 1 cell, but the header names 2 columns"),
        ("a.csv", b"prompt,\xff\na,b\n", "a.csv:1: is not UTF-8"),
        ("a.csv", b"prompt;b\na;b\n", "a.csv:1: the columns seem to be separated by semicolons"),
        ("a.csv", b"prompt\tb\na\tb\n", "a.csv:1: the columns seem to be separated by tabs"),
        ("a.jsonl", gzip.compress(b'{"prompt": "a"}\n'), "a.jsonl: is gzip, but its name does not end so"),
        (
            "a.jsonl",
            zstandard.compress(b'{"prompt": "a"}\n'),
            "a.jsonl: is zstd, but its name does not end so",
        ),
        ("a.jsonl", b"PAR1....PAR1", "a.jsonl: is Parquet, but its name does not end so"),
        ("a.csv", b"prompt,b,prompt\n", "a.csv:1: the header names column 'prompt' twice"),
        ("a.csv", b'prompt\n"open', "a.csv:2: is no CSV: a cell begins with a quote"),
        ("a.csv", b'prompt\n"a"b', "a.csv:2: is no CSV: text follows the closing quote of a cell"),
        ("a.csv", b"PK\x03\x04\xff", "a.csv: is an Excel workbook or another packed file"),
        ("a.csv", "prompt\na".encode("utf-16"), "a.csv: is UTF-16; save it as UTF-8"),
        ("a.csv", b"text\na\n", "a.csv:1: the row has no prompt"),
        ("a.jsonl.gz", b"not gzip", "a.jsonl.gz:1: cannot be read further"),
        ("a.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 9, mtime=0)[:-9], "a.jsonl.gz:"),
        ("a.jsonl.zst", b"not zstd", "a.jsonl.zst:1: cannot be read further"),
        ("a.jsonl.zst", zstandard.compress(b'{"prompt": "a"}\n' * 9)[:-9], "a.jsonl.zst:"),
    ],
)
def test_bad_input_is_refused_with_file_and_line(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    assert refusal(write(tmp_path, name, content)).startswith(says)


BAD_ROWS = {
    "a.jsonl": b'{"prompt": "a"}\nbad\n{"prompt": "b"}\n{"prompt": "\xff"}\n[1]\n{"x": 3}\n{"prompt": "c"}',
    "a.csv": b'prompt,n\na,1\nbad\nb,2\n\xff,3\n"x"y,4\n,5\nc,6\n',
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_the_rows_before_a_bad_one_are_given(tmp_path: Path, name: str) -> None:
    blocks = Source(write(tmp_path, name, BAD_ROWS[name])).blocks()
    assert [row.request["messages"][0]["content"] for row in next(blocks)] == ["a"]
    with pytest.raises(InputError, match=f"{name}:(2|3):"):
        next(blocks)


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_skipped_on_request(tmp_path: Path, name: str) -> None:
    source, bad = Source(write(tmp_path, name, BAD_ROWS[name])), []
    found = [row for block in source.blocks(bad.append) for row in block]
    assert [row.request["messages"][0]["content"] for row in found] == ["a", "b", "c"]
    assert [row.index for row in found] == [0, 1, 2]
    assert [row.error.line for row in bad] == ([2, 4, 5, 6] if name == "a.jsonl" else [3, 5, 6, 7])
    assert len({row.key for row in bad}) == 4
    assert source.check(1 << 20, skips_bad_rows=True) == 7


def test_the_first_twenty_problems_of_rows_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'{"prompt": "a"}\n' + b"".join(b"bad %d\n" % n for n in range(30)))
    with pytest.raises(InputError) as caught:
        Source(path).check(1 << 20)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 30 rows cannot be used:"
    assert [line.split(": ")[0] for line in lines[1:21]] == [f"  {path}:{line}" for line in range(2, 22)]
    assert lines[21:] == ['  and 10 more; put them right, or skip them with on_bad_row="skip"']


def test_rows_with_the_same_problem_are_named_on_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", b"prompt,n\n,1\na,2\n,3\nb,4,5\n" + b",6\n" * 9)
    with pytest.raises(InputError) as caught:
        Source(path).check(1 << 20)
    lines = str(caught.value).splitlines()
    assert lines == [
        f"{path}: 12 rows cannot be used:",
        f"  {path}:2: the prompt is empty (also on lines 4, 6, 7, 8, 9 and 5 more)",
        f"  {path}:5: has 3 cells, but the header names 2 columns; put them right, or skip them with"
        ' on_bad_row="skip"',
    ]


def test_an_empty_cell_of_a_table_with_one_column_is_a_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'w\na\n""\n\nb\n')
    assert prompts(Source(path, template=Template("<{w}>"))) == ["<a>", "<>", "<b>"]


def test_json_as_python_writes_it_and_long_numbers_are_read(tmp_path: Path) -> None:
    python = f'{{"prompt": "a", "x": NaN, "n": {10**30}, "deep": [{{"n": {2**64}}}]}}'
    path = write(tmp_path, "a.jsonl", python + '\n{"prompt": "b", "f": 1e300}')
    [row, other] = rows(Source(path))
    assert row.columns is not None
    assert row.columns["x"] != row.columns["x"]
    assert (row.columns["n"], row.columns["deep"]) == (10**30, [{"n": 2**64}])
    assert other.columns == {"prompt": "b", "f": 1e300}
    half = write(tmp_path, "b.jsonl", '{"prompt": "\\ud800"}')
    assert refusal(half).startswith("b.jsonl:1: is no JSON")


def test_ids_that_repeat_are_a_column_like_any_other(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"prompt": "a", "id": 1}\n{"prompt": "b", "id": 1}\n')
    source = Source(path)
    assert source.check(1 << 20) == 2
    assert [row.custom_id for row in rows(source)] == [None, None]
    unique = Source(write(tmp_path, "b.csv", "prompt,id\na,1\nb,2\n"))
    assert unique.check(1 << 20) == 2
    assert [row.custom_id for row in rows(unique)] == ["1", "2"]


def test_a_line_without_end_is_refused_instead_of_filling_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callgate.batch.input.records._LONGEST_LINE", 1_000_000)
    assert refusal(write(tmp_path, "a.jsonl", b"x" * 2_000_000)).startswith("a.jsonl:1: the line is longer")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jsonl: there is no such file"):
        Source(str(tmp_path / "nothing.jsonl"))
    with pytest.raises(InputError, match="is a directory"):
        Source(str(tmp_path))
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        Source(str(tmp_path / ("x" * 400)))


def test_a_file_that_vanishes_before_it_is_read_is_an_input_error(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b"")
    source = Source(path)
    os.unlink(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        rows(source)


def test_check_counts_small_inputs_and_gives_up_on_large_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"prompt": "a"}\n' * 10_000)
    assert Source(path).check(10_000_000) == 10_000
    assert Source(path).check(60_000) is None
    assert Source(path, limit=10).check(10_000_000) == 10


def test_check_finds_a_bad_row_beyond_the_first_block(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"prompt": "a"}\n' * 10_000 + "bad\n")
    with pytest.raises(InputError, match=":10001:"):
        Source(path).check(10_000_000)


def ids(*pairs: tuple[Any, str]) -> str:
    return "".join(orjson.dumps({"custom_id": one, "prompt": said}).decode() + "\n" for one, said in pairs)


def test_one_id_for_two_different_rows_is_refused_with_both_lines(tmp_path: Path) -> None:
    fine = [(str(number), f"p{number}") for number in range(3000)]
    path = write(tmp_path, "a.jsonl", ids(*fine, ("7", "something else")))
    with pytest.raises(
        InputError, match="custom_id '7' is that of line 8 too, which is a different row"
    ) as it:
        Source(path).check(1 << 24)
    assert (it.value.source, it.value.line) == (path, 3001)
    # What travels along is part of what a row says; a number is an id as its text is.
    table = write(tmp_path, "a.csv", "custom_id,prompt,shop\n1,x,Rome\n2,y,Oslo\n1,x,Oslo\n")
    with pytest.raises(InputError, match=r"a\.csv:4: custom_id '1' is that of line 2 too"):
        Source(table).check(1 << 24)
    mixed = write(tmp_path, "b.jsonl", ids((1, "x"), ("1", "y")))
    with pytest.raises(InputError, match=r"b\.jsonl:2"):
        Source(mixed).check(1 << 24)


def test_equal_rows_may_have_equal_ids_and_rows_without_one_are_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", ids(("1", "x"), (None, "x"), ("2", "y"), ("1", "x"), (None, "z")))
    assert Source(path).check(1 << 24) == 5


def test_ids_are_compared_as_far_as_is_read_ahead(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", ids(*((str(n % 3000), f"p{n}") for n in range(6000))))
    assert Source(path).check(40_000) is None
    with pytest.raises(InputError, match=r"a\.jsonl:3001: custom_id '0' is that of line 1"):
        Source(path).check(1 << 24)
    assert Source(path, limit=3000).check(1 << 24) == 3000


def test_count_by_line_ends(tmp_path: Path) -> None:
    assert Source(write(tmp_path, "a.jsonl", "x\ny\n")).count(lambda: False) == 2
    assert Source(write(tmp_path, "b.jsonl", "x\ny")).count(lambda: False) == 2
    assert Source(write(tmp_path, "c.csv", "prompt\nx\ny")).count(lambda: False) == 2
    assert Source(write(tmp_path, "d.jsonl", "x\ny\n"), limit=1).count(lambda: False) == 1
    assert Source(write(tmp_path, "e.jsonl", "x\ny\n")).count(lambda: True) is None
    assert Source(write(tmp_path, "f.csv", "")).count(lambda: False) == 0


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_what_cannot_be_read_is_not_counted(tmp_path: Path, name: str) -> None:
    source = Source(write(tmp_path, name, "neither gzip nor Parquet\n"))
    if name == "a.jsonl":
        os.unlink(source.path)
    assert source.count(lambda: False) is None


def test_a_pipe_gives_each_row_when_it_comes(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    source = Source(path)
    assert source.waits
    assert source.check(1000) is None
    blocks = source.blocks()
    os.write(writer, b'{"prompt": "a"}\n{"prompt": "b"}\n{"pro')
    assert [row.line for row in next(blocks)] == [1, 2]
    os.write(writer, b'mpt": "c"}\n')
    assert [row.line for row in next(blocks)] == [3]
    os.close(writer)
    assert [row for block in blocks for row in block] == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b'  {"prompt": "a"}\n', ["a"]), (b"prompt\na\nb\n", ["a", "b"]), (b"", [])],
)
def test_standard_input_is_json_or_a_table_by_its_first_character(
    tmp_path: Path, content: bytes, expected: list[str]
) -> None:
    kept = os.dup(0)
    handle = os.open(write(tmp_path, "stdin", content), os.O_RDONLY)
    try:
        os.dup2(handle, 0)
        source = Source("-")
        assert source.name == "standard input"
        assert not source.waits
        assert prompts(source) == expected
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(handle)


def test_formats_by_name() -> None:
    assert format_of("A.CSV.GZ") == ("csv", "gzip")
    assert format_of("x.tsv.zst") == ("tsv", "zstd")
    assert format_of("x.pq") == ("parquet", None)
    assert format_of("x") == ("jsonl", None)


def test_what_is_regular(tmp_path: Path) -> None:
    assert is_regular(write(tmp_path, "a", b""))
    assert not is_regular("/dev/null")


def test_a_parquet_text_that_is_not_utf8_names_its_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = str(tmp_path / "a.parquet")
    offsets = pa.array([0, 2, 5, 6], pa.int32()).buffers()[1]
    text = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"hi\xe0\xe1\xe2!"))
    parquet.write_table(pa.table({"prompt": text}), path)
    assert refusal(path).startswith("a.parquet:2: cannot be read: 'utf-8' codec can't decode")
    bad: list[Any] = []
    found = [row.line for block in Source(path).blocks(bad.append) for row in block]
    assert (found, [row.error.line for row in bad]) == ([1, 3], [2])


def test_chats_in_parquet_are_sent_without_the_nulls_of_their_schema(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = str(tmp_path / "a.parquet")
    chats: list[Any] = [
        [{"role": "user", "content": "hi"}],
        [{"role": "user", "content": "hi", "name": "Al"}],
    ]
    parquet.write_table(pa.Table.from_pylist([{"messages": chat} for chat in chats]), path)
    assert [row.request["messages"] for row in rows(Source(path))] == chats


@pytest.mark.parametrize("name", ["in.txt", "in.txt.gz"])
def test_a_text_file_has_a_prompt_a_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = "\ufeffOne?\r\n\n  \nZwölf?\nlast".encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    rows = [row for block in Source(str(path)).blocks() for row in block]
    assert [(row.line, row.request["messages"][0]["content"]) for row in rows] == [
        (1, "One?"),
        (4, "Zwölf?"),
        (5, "last"),
    ]


def test_a_text_file_that_is_not_utf8_or_holds_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match="in.txt:1: is not UTF-8"):
        Source(str(path)).check(4096)
    path.write_bytes(b'{"prompt": "Hi"}')
    assert next(Source(str(path)).blocks())[0].request["messages"][0]["content"] == "Hi"
