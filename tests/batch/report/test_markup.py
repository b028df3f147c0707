"""Parts of a page."""

from __future__ import annotations

from callgate.batch.report.markup import document, section, table, tiles


def test_texts_cannot_become_markup() -> None:
    evil = '<script>&"'
    page = document(
        evil,
        evil,
        evil,
        [tiles([(evil, evil)]), section(evil, table([evil], [[evil]]), note=evil)],
        evil,
    )
    assert "<script" not in page
    assert 'data-label="&lt;script&gt;&amp;&quot;"' in page


def test_the_cells_of_a_table_keep_their_names_and_their_roles() -> None:
    drawn = table(["label", "share", "rows"], [["good", 0.25, "1,234"], ["bad", None, "7"]], texts=2)
    assert '<td role="cell" data-label="rows" class="number">1,234</td>' in drawn
    assert 'role="img" aria-label="25%"' in drawn
    assert '<td role="cell" data-label="share"></td>' in drawn
