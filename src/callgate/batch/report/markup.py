"""Parts of an HTML page that stands alone: its frame, figures in tiles, and tables that fit a telephone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["document", "section", "table", "tiles"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --quiet: #5b6675; --line: #dfe3ea; --card: #fff;
  --page: #f5f6f8; --first: #2563a8; --second: #c2571a; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --quiet: #a3adbd; --line: #343b48;
  --card: #1c212b; --page: #12161d; --first: #6ea8e6; --second: #eb9a5e; --bad: #f97066; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 32px 16px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1240px; margin: 0 auto; }
h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 15px; margin: 0 0 2px; }
.where, footer { margin: 2px 0 20px; color: var(--quiet); overflow-wrap: anywhere; }
footer { font-size: 13px; margin: 20px 0 0; }
.tiles, .plots { display: grid; gap: 14px; margin-bottom: 14px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
.tile, .plot, .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 14px 16px; margin: 0; }
.card { margin-bottom: 14px; }
.tile b { display: block; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span, .note, figcaption, .legend, .none { color: var(--quiet); font-size: 13px; margin: 0; }
.key { margin-right: 16px; white-space: nowrap; } .key svg { width: 24px; height: 8px; margin-right: 6px;
  display: inline-block; vertical-align: middle; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--quiet); font-size: 12px; } .grid { stroke: var(--line); }
line.pause { stroke: var(--quiet); stroke-dasharray: 2 3; }
.first { stroke: var(--first); fill: none; stroke-width: 2; }
.second { stroke: var(--second); fill: none; stroke-width: 2; stroke-dasharray: 5 4; }
.dot.first { fill: var(--first); } .dot.second { fill: var(--second); }
.area { fill: var(--first); opacity: .16; } .bar.first { fill: var(--first); stroke: none; }
.bar.second { fill: none; stroke-width: 1.5; stroke-dasharray: none; }
.bar:hover { opacity: .7; } .hit { fill: transparent; } .hit:hover { fill: var(--line); opacity: .6; }
table { border-collapse: collapse; width: 100%; margin-top: 6px; }
td, th { text-align: left; padding: 6px 14px 6px 0; border-top: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
td:first-child { min-width: 8em; }
th { border: 0; color: var(--quiet); font-weight: 500; font-size: 13px; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
td.number:last-child, th.number:last-child { padding-right: 0; }
.meter { display: block; height: 8px; min-width: 80px; margin-top: 7px; background: var(--line);
  border-radius: 4px; }
.meter i { display: block; height: 8px; background: var(--first); border-radius: 4px; }
pre { margin: 6px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
@media (max-width: 640px) {
  body { padding: 20px 10px; } svg text { font-size: 14.5px; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; } .tile { padding: 10px 12px; }
  .tile b { font-size: 18px; }
  table:not(.small) {
    thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
    tr { display: block; border-top: 1px solid var(--line); padding: 6px 0; }
    td { display: flex; justify-content: space-between; gap: 16px; border: 0; padding: 2px 0; }
    td::before { content: attr(data-label); color: var(--quiet); font-size: 13px; flex: none; }
    td:empty { display: none; }
  }
  .small td:first-child { min-width: 4em; } .meter { min-width: 60px; }
}
"""

Cell = str | float | None
"""Of a table: a text; a share from 0 to 1, drawn as a meter; or nothing."""


def document(title: str, heading: str, where: str, parts: Sequence[str], footer: str) -> str:
    """The whole page.

    Args:
        title: The window's title.
        heading: The page's title.
        where: A line below it.
        parts: HTML.
        footer: A line at the end.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{escape(heading)}</h1><p class="where">{escape(where)}</p>{"".join(parts)}'
        f"<footer>{escape(footer)}</footer></main></body></html>\n"
    )


def tiles(figures: Sequence[tuple[str, str]]) -> str:
    """Figures with what they are: (name, figure)."""
    boxes = "".join(
        f'<div class="tile"><b>{escape(figure)}</b><span>{escape(name)}</span></div>'
        for name, figure in figures
    )
    return f'<section class="tiles" aria-label="Figures">{boxes}</section>'


def section(title: str, *content: str, note: str = "") -> str:
    """A card with a title."""
    told = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="card"><h2>{escape(title)}</h2>{told}{"".join(content)}</section>'


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, texts: int = 1, small: bool = False
) -> str:
    """A table; on a narrow screen each row is a list of names and values, so that no figure is cut.

    Args:
        columns: Their names.
        rows: The cells of each row.
        texts: How many of the first columns are texts; the others are figures.
        small: Keep it a table on a narrow screen, too, as it fits.
    """
    # The roles are named, as a table that is laid out otherwise loses them.
    kinds = ["" if place < texts else ' class="number"' for place in range(len(columns))]
    head = "".join(
        f'<th role="columnheader" scope="col"{kind}>{escape(name)}</th>'
        for name, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-label="{escape(name)}"{kind}>{_cell(cell)}</td>'
            for name, kind, cell in zip(columns, kinds, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    kind = ' class="small"' if small else ""
    return (
        f'<table role="table"{kind}><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, float):
        return (
            f'<span class="meter" role="img" aria-label="{cell:.0%}"><i style="width:{cell:.1%}"></i></span>'
        )
    return "" if cell is None else escape(cell)
