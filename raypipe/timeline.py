"""What ran when and where: steps of the journal as bars, and bars as SVG or as lines for a terminal."""

import math
import re
from collections.abc import Container, Iterable, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from raypipe.errors import UPSTREAM_FAILED

if TYPE_CHECKING:
    from raypipe.journal.records import StepRecord

#: axes shorter than this many seconds are empty
_SHORTEST = 1e-6
_UNPRINTABLE = re.compile(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f]")


class Bar(NamedTuple):
    """One piece of work. Times are seconds on an axis that all bars share."""

    #: what it is, such as "chunk/3"
    label: str
    #: what kind of work it is: gives the colour and the entry in the legend
    group: str
    start: float
    end: float
    #: "done", "failed", "skipped" (never begun, because what it needs failed) or "running"
    state: str = "done"
    #: name of the row; without one it follows from the label: "chunk/3" is in the row "beat 3"
    lane: str = ""
    node: str = ""

    @property
    def row(self) -> str:
        """Name of the row the bar is drawn in."""
        kind, _, index = self.label.partition("/")
        return self.lane or (f"beat {index}" if index else kind.partition("_")[0])

    @property
    def seconds(self) -> float:
        """How long the work took."""
        return max(0.0, self.end - self.start)


class Chart(NamedTuple):
    """Bars under a title; charts drawn together share one time axis."""

    title: str
    bars: tuple[Bar, ...]

    @property
    def end(self) -> float:
        """When the last bar ends."""
        return max((bar.end for bar in self.bars), default=0.0)

    @property
    def rows(self) -> dict[str, list[Bar]]:
        """Bars by row: beats in their order, then everything else."""
        rows: dict[str, list[Bar]] = {}
        for bar in sorted(self.bars, key=_row_order):
            rows.setdefault(bar.row, []).append(bar)
        return rows

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes that did something."""
        return sorted({bar.node for bar in self.bars if bar.node})


class Paint(NamedTuple):
    """How a group looks: on light and dark pages, in a terminal, and in one without colours."""

    light: str
    dark: str
    style: str
    glyph: str


_BLUE = Paint("#4c82d9", "#6fa0ee", "blue", "▒")
_GREEN = Paint("#2f9e7a", "#43bd95", "green", "█")
_AMBER = Paint("#d98c26", "#eeaa4d", "yellow", "▓")
_VIOLET = Paint("#8e63ce", "#ae8ae6", "magenta", "┃")
_PINK = Paint("#c9548f", "#e379ae", "bright_magenta", "♪")
_GREY = Paint("#66727f", "#97a3af", "cyan", "▚")
_RED = Paint("#d43d3d", "#f26868", "red", "✗")

#: groups that have a look of their own; the first six are the ones `chart_of` gives
PAINTS = {
    "storyboard image": _BLUE,
    "reference chunk": _GREEN,
    "follower chunk": _AMBER,
    "last frame": _VIOLET,
    "music": _PINK,
    "stitch": _GREY,
    "storyboard": _BLUE,
    "references": _AMBER,
    "chunks": _GREEN,
    "failed": _RED,
}


def chart_of(
    title: str, steps: "Iterable[StepRecord]", now: float | None = None, followers: Container[int] = ()
) -> Chart:
    """Draw the steps of one video, on an axis that begins with the first.

    Args:
        title: Stands over the chart.
        steps: What to draw; steps that have not started are left out.
        now: Where steps under way end, in Unix seconds.
        followers: Indices of the beats that are followers.
    """
    known = [step for step in steps if step.started_at or step.finished_at]
    zero = min((step.started_at or step.intent_at for step in known), default=0.0)
    return Chart(title, tuple(_bar(step, followers, zero, now) for step in known))


def short_node(node: str) -> str:
    """Shorten a Ray node id to what tells nodes apart; names stay whole."""
    return node[:8] if re.fullmatch(r"[0-9a-f]{28,}", node) else node


def _bar(step: "StepRecord", followers: Container[int], zero: float, now: float | None) -> Bar:
    start = step.started_at or step.finished_at or zero
    end = step.finished_at or max(start, now or start)
    state = "done" if step.state == "done" else "failed" if step.error_code else "running"
    if step.error_code == UPSTREAM_FAILED:
        state = "skipped"
    group = _group(step.step, followers)
    return Bar(step.step, group, start - zero, end - zero, state, node=short_node(step.node or ""))


def _group(step: str, followers: Container[int]) -> str:
    kind, _, index = step.partition("/")
    if kind == "chunk":
        return "follower chunk" if int(index) in followers else "reference chunk"
    return {"image": "storyboard image", "last_frame": "last frame", "music_fit": "music"}.get(kind, kind)


def _row_order(bar: Bar) -> tuple[int, int, str, float]:
    match = re.fullmatch(r"beat (\d+)", bar.row)
    if match:
        return 0, int(match[1]), "", bar.start
    return 1, int(bar.row == "stitch"), bar.row, bar.start


def _paints(charts: Sequence[Chart]) -> dict[str, Paint]:
    """Return the groups that occur, in the order of the legend, each with its look."""
    bars = [bar for chart in charts for bar in chart.bars]
    groups = {bar.group for bar in bars if bar.state != "skipped"}
    spare = [_GREEN, _AMBER, _BLUE, _VIOLET, _PINK, _GREY]
    strange = sorted(groups - PAINTS.keys())
    looks = PAINTS | {group: spare[i % len(spare)] for i, group in enumerate(strange)}
    failed = {"failed"} if any(bar.state in ("failed", "skipped") for bar in bars) else set()
    return {group: paint for group, paint in looks.items() if group in groups | failed}


def ticks(end: float, most: int = 10) -> list[float]:
    """Round numbers from 0 to `end` for an axis, at most `most` steps of them."""
    if end < _SHORTEST:
        return [0.0]
    raw = end / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw * (1 - 1e-9))
    return [round(i * step, 9) for i in range(int(end / step * (1 + 1e-9)) + 1)]


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 100 else f"{value:.1f} s" if value >= 1 else f"{value:.2f} s"


# --- terminal --------------------------------------------------------------------------------------------


def render_text(chart: Chart, width: int = 80) -> list[Text]:
    """Draw a chart as lines of at most `width` cells: a scale, one line for each row, and a legend."""
    nodes = chart.nodes
    gutter = max([5, *(len(row) for row in chart.rows)]) + 2
    aside = _aside([chart])
    cells = max(10, width - gutter - (aside + 2 if aside else 0) - 1)
    paints = _paints([chart])
    lines = [_text_row(row, bars, gutter, cells, chart, paints) for row, bars in chart.rows.items()]
    footer = [Text(f"All on node {nodes[0]}.", style="dim")] if len(nodes) == 1 else []
    return [*_text_axis(chart.end, gutter, cells), *lines, Text(), _text_legend(paints, width), *footer]


def _text_row(
    row: str, bars: list[Bar], gutter: int, cells: int, chart: Chart, paints: dict[str, Paint]
) -> Text:
    marks = {_cell(tick, chart.end, cells) for tick in _text_ticks(chart.end, cells)}
    line = [("·" if cell in marks else " ", "dim") for cell in range(cells)]
    # short work is drawn last, or its neighbours would hide it
    for bar in sorted(bars, key=lambda bar: -bar.seconds):
        paint = _RED if bar.state in ("failed", "skipped") else paints[bar.group]
        first, last = (_cell(t, chart.end, cells) for t in (bar.start, bar.end))
        for cell in range(first, max(first + 1, last)):
            line[cell] = (paint.glyph, paint.style)
    text = Text(no_wrap=True).append(f"{row:<{gutter}}")
    for style, run in groupby(line, key=lambda cell: cell[1]):
        text.append("".join(glyph for glyph, _ in run), style)
    if len(chart.nodes) > 1:
        text.append("  " + _worked_on(bars), "dim")
    return text


def _worked_on(bars: Iterable[Bar]) -> str:
    """Return the nodes that did a row's work, in the order of their first work."""
    return "+".join(dict.fromkeys(bar.node for bar in bars if bar.node))


def _aside(charts: Iterable[Chart]) -> int:
    """Width in characters of the longest list of nodes; 0 if there is but one node."""
    charts = list(charts)
    if len({node for chart in charts for node in chart.nodes}) < 2:
        return 0
    return max(len(_worked_on(bars)) for chart in charts for bars in chart.rows.values())


def _cell(at: float, end: float, cells: int) -> int:
    return min(cells - 1, int(at / end * cells)) if end else 0


def _text_ticks(end: float, cells: int) -> list[float]:
    return ticks(end, most=max(2, cells // 9))


def _text_axis(end: float, gutter: int, cells: int) -> list[Text]:
    numbers, marks = [" "] * (gutter + cells + 8), ["─"] * cells
    for tick in _text_ticks(end, cells):
        cell = _cell(tick, end, cells)
        marks[cell] = "┬"
        numbers[gutter + cell : gutter + cell + 8] = f"{tick:g}".ljust(8)
    scale = "".join(numbers)[: gutter + cells].rstrip()
    return [
        Text(f"{'s':<{gutter}}{scale[gutter:]}", style="dim", no_wrap=True),
        Text(" " * gutter + "".join(marks), style="dim", no_wrap=True),
    ]


def _text_legend(paints: dict[str, Paint], width: int) -> Text:
    text, used = Text(), 0
    for group, paint in paints.items():
        if used and used + len(group) + 2 > width:
            text.append("\n")
            used = 0
        text.append(paint.glyph, paint.style).append(f" {group}   ")
        used += len(group) + 5
    return text


# --- SVG -------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT = 960, 84, 24
ROW, TITLE, HEAD, FOOT = 22, 34, 44, 40
_BAR = 15
_FONT = "font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


def render_svg(charts: Sequence[Chart]) -> str:
    """Draw charts below one another over one time axis, as an SVG that suits light and dark pages."""
    paints, end = _paints(charts), max((chart.end for chart in charts), default=0.0)
    end = end if end >= _SHORTEST else 1.0
    aside = _aside(charts)
    scale = (WIDTH - LEFT - RIGHT - (10 + 7 * aside if aside else 0)) / end
    body: list[str] = []
    y = HEAD
    for chart in charts:
        body += _svg_chart(chart, y, scale, paints, with_nodes=aside > 0)
        y += TITLE + ROW * len(chart.rows)
    height = y + FOOT
    frame = [*_svg_grid(end, y, scale), *_svg_legend(paints)]
    return "\n".join([_svg_head(height, paints, charts), *frame, *body, "</svg>", ""])


def _svg_head(height: int, paints: dict[str, Paint], charts: Sequence[Chart]) -> str:
    light = "".join(f".g{i}{{fill:{paint.light}}}" for i, paint in enumerate(paints.values()))
    dark = "".join(f".g{i}{{fill:{paint.dark}}}" for i, paint in enumerate(paints.values()))
    title = "Timeline: " + ", ".join(f"{chart.title} {_seconds(chart.end)}" for chart in charts)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"
 role="img">
<title>{_xml(title)}</title>
<style>
text{{{_FONT};fill:#3a4450}} .card{{fill:#ffffff;stroke:#d5dbe1}} .grid{{stroke:#e4e8ec}}
.end{{stroke:#98a2ad;stroke-dasharray:3 3}} .title{{font-weight:600;font-size:13px;fill:#1c232b}}
.quiet{{fill:#6a7682;font-weight:400}} .in{{fill:#ffffff;font-size:10px}} .running{{opacity:.55}} {light}
@media (prefers-color-scheme: dark) {{
text{{fill:#c6ced6}} .card{{fill:#14181d;stroke:#323a43}} .grid{{stroke:#262d35}} .end{{stroke:#6a7682}}
.title{{fill:#eef2f5}} .quiet{{fill:#8d98a4}} .in{{fill:#101418}}
{dark}
}}
</style>
<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>"""


def _svg_grid(end: float, bottom: int, scale: float) -> list[str]:
    lines = []
    for tick in ticks(end):
        x = LEFT + tick * scale
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD}" y2="{bottom + 6}"/>')
        lines.append(
            f'<text class="quiet" x="{x:.1f}" y="{bottom + 22}" text-anchor="middle">{tick:g} s</text>'
        )
    return lines


def _svg_legend(paints: dict[str, Paint]) -> list[str]:
    lines, x = [], 16
    for index, group in enumerate(paints):
        lines.append(f'<rect class="g{index}" x="{x}" y="17" width="12" height="12" rx="2"/>')
        lines.append(f'<text x="{x + 18}" y="27">{_xml(group)}</text>')
        x += 18 + 7 * len(group) + 18
    return lines


def _svg_chart(chart: Chart, top: int, scale: float, paints: dict[str, Paint], with_nodes: bool) -> list[str]:
    bottom = top + TITLE + ROW * len(chart.rows)
    end = LEFT + chart.end * scale
    length = f'<tspan class="quiet" dx="8">{_seconds(chart.end)}</tspan>'
    lines = [
        f'<text class="title" x="16" y="{top + 22}">{_xml(chart.title)}{length}</text>',
        f'<line class="end" x1="{end:.1f}" x2="{end:.1f}" y1="{top + 28}" y2="{bottom}"/>',
    ]
    for index, (row, bars) in enumerate(chart.rows.items()):
        y = top + TITLE + ROW * index
        lines.append(f'<text x="{LEFT - 10}" y="{y + 12}" text-anchor="end">{_xml(row)}</text>')
        lines += [_svg_bar(bar, y, scale, paints) for bar in bars]
        if with_nodes:
            x = WIDTH - 16
            lines.append(
                f'<text class="quiet" x="{x}" y="{y + 12}" text-anchor="end">{_xml(_worked_on(bars))}</text>'
            )
    return lines


def _svg_bar(bar: Bar, y: int, scale: float, paints: dict[str, Paint]) -> str:
    group = "failed" if bar.state in ("failed", "skipped") else bar.group
    x, width = LEFT + bar.start * scale, max(2.0, bar.seconds * scale)
    where = f" on {bar.node}" if bar.node else ""
    said = f"{bar.label}, {bar.state}: {bar.start:.2f} to {bar.end:.2f} s ({_seconds(bar.seconds)}){where}"
    inside = ""
    if width > 34:
        inside = f'<text class="in" x="{x + 5:.1f}" y="{y + 11.5}">{_seconds(bar.seconds)}</text>'
    css = f"g{list(paints).index(group)}" + (" running" if bar.state == "running" else "")
    return (
        f"<g><title>{_xml(said)}</title>"
        f'<rect class="{css}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>{inside}</g>'
    )


def _xml(text: str) -> str:
    return escape(_UNPRINTABLE.sub("�", text))
