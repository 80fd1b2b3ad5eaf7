"""A machine as SVG that stands alone: no script, no font to fetch, legible on light and dark."""

from __future__ import annotations

from html import escape
from typing import Any

from .graph import LINE, Graph, Label
from .layout import Item, Layout, Route, laid_out

__all__ = ["svg"]

_STATE, _FINAL, _CURRENT, _INK = "#1f5f8b", "#5b6670", "#2e7d4f", "#7b858f"
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
_MARGIN = 18.0
_BOX = 36.0
_START = 34.0
_CAPTION = 26.0
_HEAD = 8.0
"""Pixels; the last is the length of an arrow's head."""


def svg(definition: dict[str, Any], title: str, current: str | None = None) -> str:
    """A picture of a definition in its normal form (`from` is a list).

    `title` stands above it. `current` is the state to mark, with the transitions out of it.
    """
    graph = Graph.of(definition)
    layout = laid_out(graph)
    width = max(layout.width + 2 * _MARGIN, 8.5 * len(title) + 2 * _MARGIN)
    height = layout.height + _START + _CAPTION + 2 * _MARGIN
    top = _MARGIN + _CAPTION + _START
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="{_FONT}" role="img">',
        f"<title>{escape(title)}</title>",
        _text(_MARGIN, _MARGIN + 12, title, 14, _INK, "start", bold=True),
        f'<g transform="translate({_MARGIN:g} {top:g})">',
        *_start(layout.states[graph.initial]),
        *_halo(layout.states.get(current or "")),
        *(part for route in layout.routes for part in _edge(route, layout, current)),
        *(part for item in layout.states.values() for part in _state(item, current)),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _start(item: Item) -> list[str]:
    """A dot, and an arrow from it to the initial state."""
    y = item.y - _BOX / 2
    return [
        f'<circle cx="{item.x:.1f}" cy="{y - 26:.1f}" r="6" fill="{_INK}"/>',
        _line(f"M{item.x:.1f} {y - 20:.1f} V{y - _HEAD:.1f}", _INK),
        _head(item.x, y, _INK, down=True),
    ]


def _halo(item: Item | None) -> list[str]:
    """What shines around the current state."""
    if item is None or item.state is None:
        return []
    x, y = item.x - item.state.width / 2 - 7, item.y - _BOX / 2 - 7
    style = f'rx="15" fill="{_CURRENT}" fill-opacity="0.25"'
    return [_box(x, y, item.state.width + 14, _BOX + 14, style)]


def _state(item: Item, current: str | None) -> list[str]:
    """A box with its name; a second line around it says that nothing leaves it."""
    state = item.state
    if state is None:
        return []
    here = state.name == current
    fill = _CURRENT if here else _FINAL if state.final else _STATE
    x, y = item.x - state.width / 2, item.y - _BOX / 2
    parts = [_box(x, y, state.width, _BOX, f'rx="9" fill="{fill}"')]
    if state.final:
        inner = 'rx="6.5" fill="none" stroke="#fff" stroke-opacity="0.75"'
        parts.append(_box(x + 3, y + 3, state.width - 6, _BOX - 6, inner))
    parts.append(_text(item.x, item.y + 5, state.text, 14, "#fff", "middle", bold=here))
    if state.loops:
        parts += _loop(item, state.width, state.loops, _CURRENT if here else _INK)
    return parts


def _loop(item: Item, width: float, labels: tuple[Label, ...], colour: str) -> list[str]:
    """An arrow from the right side of a box back to it."""
    x, y = item.x + width / 2, item.y
    bend = f"C{x + 34:.1f} {y - 24:.1f} {x + 38:.1f} {y + 24:.1f} {x + _HEAD:.1f} {y + 10:.1f}"
    points = f"{x:.1f},{y + 8:.1f} {x + 8:.1f},{y + 4.5:.1f} {x + 7:.1f},{y + 14:.1f}"
    return [
        _line(f"M{x:.1f} {y - 8:.1f} {bend}", colour),
        f'<polygon points="{points}" fill="{colour}"/>',
        *_labels(x + 34, y, labels, colour),
    ]


def _edge(route: Route, layout: Layout, current: str | None) -> list[str]:
    """A smooth line through the route's points, its head, and its labels to the right of it."""
    leaves = route.edge.source == current
    colour = _CURRENT if leaves else _INK
    first, *middle, last = route.items
    begin = (_port(first, route, layout, lower=True), first.y + _BOX / 2)
    end = (_port(last, route, layout, lower=False), last.y - _BOX / 2)
    (x0, y0), (x1, y1) = begin, end
    at = (x0, y0 + _HEAD if route.upward else y0)
    path = f"M{at[0]:.1f} {at[1]:.1f}"
    for item in middle:
        path += _bend(at, (item.x, item.y - item.layer / 2)) + f" v{item.layer:.1f}"
        at = (item.x, item.y + item.layer / 2)
    path += _bend(at, (x1, y1 if route.upward else y1 - _HEAD))
    head = _head(*(begin if route.upward else end), colour, down=not route.upward)
    labels = _labels(route.label.x + 8, route.label.y, route.edge.labels, colour)
    return [_line(path, colour, 2.4 if leaves else 1.6), head, *labels]


def _bend(begin: tuple[float, float], end: tuple[float, float]) -> str:
    """A curve that begins and ends upright."""
    half = (begin[1] + end[1]) / 2
    return f" C{begin[0]:.1f} {half:.1f} {end[0]:.1f} {half:.1f} {end[0]:.1f} {end[1]:.1f}"


def _port(item: Item, route: Route, layout: Layout, *, lower: bool) -> float:
    """Where on a box's side an edge begins or ends: all side by side, in the order they go on."""
    if item.state is None:
        return item.x
    side = [r for r in layout.routes if r.items[0 if lower else -1] is item]
    side.sort(key=lambda r: r.items[1 if lower else -2].x)
    step = min(26.0, (item.state.width - 24) / max(len(side) - 1, 1))
    return item.x + step * (side.index(route) - (len(side) - 1) / 2)


def _labels(x: float, y: float, labels: tuple[Label, ...], colour: str) -> list[str]:
    """Labels below one another, around the height `y`."""
    lines = [
        (text, 12.5 if number == 0 else 11.0)
        for label in labels
        for number, text in enumerate((label.event, *label.guard))
    ]
    first = y - LINE * len(lines) / 2 + 12
    return [
        _text(x, first + LINE * number, text, size, colour, "start", bold=size > 12)
        for number, (text, size) in enumerate(lines)
    ]


def _box(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {style}/>'


def _line(path: str, colour: str, width: float = 1.6) -> str:
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>'


def _head(x: float, y: float, colour: str, *, down: bool) -> str:
    base = y - _HEAD if down else y + _HEAD
    points = f"{x:.1f},{y:.1f} {x - 4.5:.1f},{base:.1f} {x + 4.5:.1f},{base:.1f}"
    return f'<polygon points="{points}" fill="{colour}"/>'


def _text(
    x: float, y: float, text: str, size: float, colour: str, anchor: str, *, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" '
        f'text-anchor="{anchor}"{weight}>{escape(text)}</text>'
    )
