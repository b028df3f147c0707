"""Media beside a prompt become parts of its message; files are read when their row is called, not before."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.input import media
from callgate.batch.input.media import MediaPart, MediaRequest, load_media
from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import Source
from callgate.batch.input.template import Template
from callgate.errors import InputError

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
JPEG = b"\xff\xd8\xff\xe0" + b"pixels"
URL = "https://example.com/cat.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cat.png").write_bytes(PNG)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "dog.png").write_bytes(JPEG)  # its name lies
    (tmp_path / "notes.png").write_text("no image at all")
    return tmp_path


def build(record: dict[str, Any], folder: Path | str = "", **options: Any) -> Row:
    return RequestBuilder(source="in.jsonl", folder=str(folder), **options).build(record, 0, 7)


def loaded(row: Row) -> dict[str, Any]:
    return asyncio.run(load_media(row.request))


def content_of(row: Row) -> Any:
    return loaded(row)["messages"][-1]["content"]


def url_of(part: dict[str, Any]) -> str:
    assert part["type"] == "image_url"
    url: str = part["image_url"]["url"]
    return url


def data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture_at(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_a_file_becomes_a_data_url_with_the_type_of_its_content(folder: Path) -> None:
    row = build({"prompt": "What is this?", "image": "sub/dog.png"}, folder)
    text, picture = content_of(row)
    assert text == {"type": "text", "text": "What is this?"}
    assert url_of(picture) == data_url("image/jpeg", JPEG)
    assert row.columns == {"prompt": "What is this?", "image": "sub/dog.png"}


def test_addresses_and_data_urls_stay_as_they_are() -> None:
    inline = data_url("image/png", PNG)
    parts = content_of(build({"prompt": "Compare", "image": URL, "images": [inline, " " + URL]}))
    assert [url_of(part) for part in parts[1:]] == [URL, inline, URL]


def test_nothing_is_read_before_the_row_is_called(folder: Path) -> None:
    row = build({"prompt": "x", "image": "cat.png"}, folder)
    assert isinstance(row.request, MediaRequest)
    assert isinstance(row.request["messages"][-1]["content"][1], MediaPart)
    assert len(orjson.dumps(row.request)) < 300
    before = orjson.dumps(row.request)
    loaded(row)
    assert orjson.dumps(row.request) == before


@pytest.mark.parametrize("where", ["absolute", "..", "link"])
def test_a_path_reaches_no_file_outside_of_the_folder_of_the_input(folder: Path, where: str) -> None:
    (folder / "sub" / "link.png").symlink_to(folder / "cat.png")
    path = {"absolute": str(folder / "cat.png"), "..": "../cat.png", "link": "link.png"}[where]
    for record in ({"prompt": "x", "image": path}, {"messages": [in_a_message(path)]}):
        with pytest.raises(
            InputError, match=rf"is outside of {folder}/sub, .*name its folder with"
        ) as caught:
            build(record, folder / "sub")
        assert (caught.value.line, caught.value.setting) == (7, "allow_files")
        row = build(record, folder / "sub", allow_files=["/nowhere", folder])
        assert url_of(content_of(row)[1]) == data_url("image/png", PNG)


def test_a_folder_whose_name_only_begins_alike_is_outside(folder: Path) -> None:
    (folder / "sub2").mkdir()
    (folder / "sub2" / "cat.png").write_bytes(PNG)
    with pytest.raises(InputError, match="is outside of"):
        build({"prompt": "x", "image": "../sub2/cat.png"}, folder / "sub")


def test_a_link_that_takes_the_place_of_a_file_is_not_followed(folder: Path) -> None:
    row = build({"prompt": "x", "image": "dog.png"}, folder / "sub")
    (folder / "sub" / "dog.png").unlink()
    (folder / "sub" / "dog.png").symlink_to(folder / "cat.png")
    with pytest.raises(InputError, match=r"dog\.png': is a link now"):
        loaded(row)


def test_an_absolute_path_below_the_folder_is_one(folder: Path) -> None:
    row = build({"prompt": "x", "image": str(folder / "cat.png")}, folder)
    assert url_of(content_of(row)[1]) == data_url("image/png", PNG)


def test_the_system_prompt_and_the_parameters_stay(folder: Path) -> None:
    row = build(
        {"prompt": "x", "image": "cat.png"}, folder, system="Be short.", model="m", parameters={"top_p": 1}
    )
    request = loaded(row)
    assert request["messages"][0] == {"role": "system", "content": "Be short."}
    assert (request["model"], request["top_p"]) == ("m", 1)


def test_with_messages_the_last_one_of_the_user_gets_the_image() -> None:
    said: list[dict[str, Any]] = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}]},
        {"role": "assistant", "content": "four"},
    ]
    row = build({"messages": said, "image": URL})
    messages = loaded(row)["messages"]
    assert messages[2]["content"] == [{"type": "text", "text": "three"}, picture_at(URL)]
    assert [messages[i] for i in (0, 1, 3)] == [said[i] for i in (0, 1, 3)]
    assert said[2]["content"] == [{"type": "text", "text": "three"}]  # the row's own is not touched
    assert row.columns == {"image": URL}


def test_a_message_without_text_may_have_an_image() -> None:
    row = build({"messages": [{"role": "user"}], "image": URL})
    assert content_of(row) == [picture_at(URL)]


def test_a_row_without_a_message_of_the_user_is_refused() -> None:
    with pytest.raises(InputError, match="no user message"):
        build({"messages": [{"role": "system", "content": "x"}], "image": URL})


@pytest.mark.parametrize("content", [5, {"type": "text", "text": "Hi"}])
def test_an_image_beside_what_is_neither_text_nor_parts_is_refused(content: Any) -> None:
    with pytest.raises(
        InputError, match="in.jsonl:7: has an image, but the content of its message is neither"
    ):
        build({"messages": [{"role": "user", "content": content}], "image": URL})


def test_with_a_template_the_image_goes_along(folder: Path) -> None:
    row = build({"what": "animal", "image": "cat.png"}, folder, template=Template("Which {what}?"))
    text, picture = content_of(row)
    assert text["text"] == "Which animal?"
    assert url_of(picture).startswith("data:image/png")


def test_a_column_that_the_template_names_is_text() -> None:
    row = build({"image": "of the moon", "images": ""}, template=Template("Describe an image {image}"))
    assert row.request["messages"] == [{"role": "user", "content": "Describe an image of the moon"}]
    assert type(row.request) is dict


def test_a_batch_line_has_all_it_asks_in_its_body() -> None:
    row = build({"body": {"messages": [{"role": "user", "content": "x"}]}, "image": "a note"})
    assert row.request == {"messages": [{"role": "user", "content": "x"}]}
    assert row.columns == {"image": "a note"}


@pytest.mark.parametrize("nothing", [None, "", []])
def test_an_empty_cell_is_no_image(nothing: Any) -> None:
    row = build({"prompt": "x", "image": nothing})
    assert type(row.request) is dict
    assert row.key == build({"prompt": "x"}).key


def test_another_image_asks_something_else() -> None:
    keys = {build({"prompt": "x", "image": f"{URL}?{n}"}).key for n in range(3)}
    assert len(keys | {build({"prompt": "x"}).key}) == 4


def test_a_table_holds_a_list_as_json(folder: Path) -> None:
    (folder / "rows.csv").write_text(f'prompt,images\nx,"[""cat.png"", ""{URL}""]"\ny,cat.png\nz,\n')
    (rows,) = [block for block in Source(str(folder / "rows.csv")).blocks() if block]
    assert [url_of(part)[:14] for part in content_of(rows[0])[1:]] == ["data:image/png", URL[:14]]
    assert [url_of(part)[:14] for part in content_of(rows[1])[1:]] == ["data:image/png"]
    assert rows[2].request["messages"][0]["content"] == "z"


def test_paths_are_relative_to_the_folder_of_the_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = b'{"prompt": "x", "image": "dog.png"}\n'
    (folder / "sub" / "rows.jsonl").write_bytes(row)
    monkeypatch.chdir(folder / "sub")
    for path in (str(folder / "sub" / "rows.jsonl"), "rows.jsonl"):
        ((found,),) = [block for block in Source(path).blocks() if block]
        assert url_of(content_of(found)[1]).startswith("data:image/jpeg")


# --- what cannot be sent --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("none.png", "image 'none.png': there is no such file"),
        ("sub", "is not a regular file"),
        ("s3://bucket/cat.png", "only a path, an https address or a data URL can be sent"),
        ("data:text/html;base64,xx", "begins with data:image/TYPE;base64,"),
        ("data:image/png,xx", "begins with data:image/TYPE;base64,"),
        ("   ", "not empty"),
        ("x" * 5000, "File name too long"),
        (7, "an image must be a path"),
        ({"url": URL}, "an image must be a path"),
        ("[broken", "image is no list"),
        ("cat\0.png", "null"),
    ],
)
def test_what_is_no_image_is_refused_before_any_call(folder: Path, image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build({"prompt": "x", "image": image}, folder)
    assert (caught.value.source, caught.value.line) == ("in.jsonl", 7)


def test_a_relative_path_that_is_not_there_says_where_it_was_looked_for(folder: Path) -> None:
    with pytest.raises(InputError, match=f"looked for {folder}/none.png"):
        build({"prompt": "x", "image": "none.png"}, folder)
    with pytest.raises(InputError) as caught:
        build({"prompt": "x", "image": "/none.png"}, folder, allow_files=["/"])
    assert "looked for" not in str(caught.value)


def test_a_file_that_is_no_image_is_told_with_its_row(folder: Path) -> None:
    row = build({"prompt": "x", "image": "notes.png"}, folder)
    with pytest.raises(InputError, match=r"in\.jsonl:7: image '.*notes\.png': is no PNG"):
        loaded(row)


def test_a_file_that_has_gone_meanwhile_is_told_with_its_row(folder: Path) -> None:
    row = build({"prompt": "x", "image": "cat.png"}, folder)
    (folder / "cat.png").unlink()
    with pytest.raises(InputError, match=r"in\.jsonl:7: image '.*cat\.png': there is no such file"):
        loaded(row)


def test_a_file_over_the_cap_is_refused(folder: Path) -> None:
    with (folder / "huge.png").open("wb") as file:
        os.truncate(file.fileno(), media.MOST_BYTES + 1)
    with pytest.raises(InputError, match="20,971,521 bytes"):
        build({"prompt": "x", "image": "huge.png"}, folder)


def test_other_parts_of_a_message_pass_through(folder: Path) -> None:
    odd = [
        7,
        {"type": "text", "text": "x"},
        {"type": "image_url", "image_url": "odd"},
        picture_at("gs://no/file"),
    ]
    row = build({"messages": [{"role": "user", "content": odd}], "image": "cat.png"}, folder)
    assert content_of(row)[:4] == odd


def in_a_message(url: Any, **more: Any) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url, **more}}
    return {"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}


def test_a_path_in_a_message_is_read_too(folder: Path) -> None:
    messages = [{"role": "assistant", "tool_calls": []}, in_a_message("cat.png", detail="low")]
    for record in ({"messages": messages}, {"body": {"messages": messages}}):
        row = build(record, folder)
        assert content_of(row)[1]["image_url"] == {"url": data_url("image/png", PNG), "detail": "low"}
    assert messages[1] == in_a_message("cat.png", detail="low")


def test_a_path_in_a_message_stands_beside_one_in_a_column(folder: Path) -> None:
    row = build({"messages": [in_a_message("cat.png")], "image": "sub/dog.png"}, folder)
    _, first, second = content_of(row)
    assert [url_of(first), url_of(second)] == [data_url("image/png", PNG), data_url("image/jpeg", JPEG)]


@pytest.mark.parametrize("url", [URL, "data:image/png;base64,AAAA", "gs://bucket/cat.png", None, 7])
def test_what_is_no_path_in_a_message_goes_out_as_it_is(url: Any) -> None:
    row = build(
        {"messages": [{"role": "system", "content": "Be brief."}, in_a_message(url), {"role": "user"}]}
    )
    assert row.request["messages"][1] == in_a_message(url)
    assert not isinstance(row.request, MediaRequest)


def test_a_path_in_a_message_that_is_not_there_is_refused_before_any_call(folder: Path) -> None:
    with pytest.raises(InputError, match=r"in\.jsonl:7: image 'dot\.png': there is no such file"):
        build({"messages": [in_a_message("dot.png")]}, folder)


# --- documents, sounds and videos -----------------------------------------------------------------------

PDF = b"%PDF-1.7 pages"
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt "
MP4 = b"\x00\x00\x00\x18ftypmp42"


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_each_kind_of_file_becomes_its_part(folder: Path) -> None:
    for name, content in {"a.pdf": PDF, "notes.txt": b"Hello", "a.wav": WAV, "a.mp4": MP4}.items():
        (folder / name).write_bytes(content)
    record = {
        "prompt": "x",
        "document": "a.pdf",
        "documents": ["notes.txt"],
        "audio": "a.wav",
        "video": "a.mp4",
    }
    row = build(record, folder)
    assert content_of(row)[1:] == [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": data_url("application/pdf", PDF)}},
        {"type": "file", "file": {"filename": "notes.txt", "file_data": data_url("text/plain", b"Hello")}},
        {"type": "input_audio", "input_audio": {"data": base64_of(WAV), "format": "wav"}},
        {"type": "file", "file": {"filename": "a.mp4", "file_data": data_url("video/mp4", MP4)}},
    ]
    assert row.columns == record


def test_addresses_and_data_urls_of_each_kind() -> None:
    inline = "data:audio/mp3;base64,AAAA"
    page = "https://example.com/a.pdf"
    row = build(
        {"prompt": "x", "document": page, "audio": inline, "documents": ["data:text/csv;base64,QQ=="]}
    )
    assert content_of(row)[1:] == [
        {"type": "file", "file": {"file_url": page}},
        {"type": "file", "file": {"filename": "document", "file_data": "data:text/csv;base64,QQ=="}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"document": "A whole text."}, "there is no such file.*; a column named document holds files"),
        ({"audio": "https://example.com/a.wav"}, "only a path or a data URL can be sent"),
        ({"audio": {"voice": "alloy"}}, "an audio must be a path or a data URL"),
        ({"video": "data:image/png;base64,AAAA"}, "begins with data:video/TYPE;base64,"),
        ({"document": "data:application/pdf,xx"}, "begins with data:TYPE;base64,"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_any_call(
    folder: Path, record: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build({"prompt": "x", **record}, folder)


def test_a_file_of_another_kind_is_refused_with_its_row(folder: Path) -> None:
    (folder / "a.wav").write_bytes(MP4)
    with pytest.raises(InputError, match=r"in\.jsonl:7: audio '.*a\.wav': is no WAV, MP3, FLAC"):
        loaded(build({"prompt": "x", "audio": "a.wav"}, folder))
