"""Where the parts of a diagram lie: layers from the top to the bottom.

The way of Sugiyama, Tagawa and Toda (Methods for Visual Understanding of Hierarchical System
Structures, 1981): edges that would lead upwards are turned over, states are put into layers, a
point is added wherever an edge crosses a layer, the order in each layer is changed until fewer
edges cross, and the points are moved so that edges become straight. Between two layers of states
is one of labels, so that labels take part in all of it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .graph import Edge, Graph, State

__all__ = ["Item", "Layout", "Route", "laid_out"]

_GAP = 26.0
_BETWEEN_LAYERS = 22.0
_SWEEPS = 12
_MOST_WORK = 60_000
"""Items times sweeps: very large machines get fewer sweeps, and a picture all the same."""

_STRAIGHT = 3
"""How many times as much a bend counts as a state that is not above the middle of others."""


@dataclass(slots=True, eq=False)
class Item:
    """A state, or a piece of an edge.

    To the `left` and `right` of `x` it takes room. `y` is its middle, and `layer` the height of
    its layer, through which an edge leads straight.
    """

    left: float
    right: float
    height: float
    state: State | None = None
    x: float = 0.0
    y: float = 0.0
    layer: float = 0.0
    above: list[Item] = field(default_factory=list)
    below: list[Item] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Route:
    """An edge's way through the layers, from the top to the bottom.

    `label` is the point beside which it is written, and `upward` says that the edge leads from
    the bottom to the top.
    """

    edge: Edge
    items: tuple[Item, ...]
    label: Item
    upward: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Items with places, in pixels from the upper left corner, and the size of it all."""

    states: dict[str, Item]
    routes: tuple[Route, ...]
    width: float
    height: float


def laid_out(graph: Graph) -> Layout:
    """Give everything its place."""
    upward = _upward(graph)
    layer_of = _layers(graph, upward)
    states = {
        name: Item(state.width / 2, state.right, state.height, state)
        for name, state in graph.states.items()
    }
    layers: list[list[Item]] = [[] for _ in range(2 * max(layer_of.values()) + 1)]
    for name in _depth_first(graph):
        layers[2 * layer_of[name]].append(states[name])
    routes = []
    for edge in graph.edges:
        ends = (edge.source, edge.target)
        top, bottom = reversed(ends) if edge in upward else ends
        first, last = 2 * layer_of[top], 2 * layer_of[bottom]
        middle = (first + last) // 2 | 1
        points = [_point(edge, labelled=n == middle) for n in range(first + 1, last)]
        for number, point in enumerate(points, first + 1):
            layers[number].append(point)
        chain = (states[top], *points, states[bottom])
        for upper, lower in pairwise(chain):
            upper.below.append(lower)
            lower.above.append(upper)
        routes.append(Route(edge, chain, points[middle - first - 1], edge in upward))
    layers = _ordered(layers)
    _place(layers)
    width = max(item.x + item.right for layer in layers for item in layer)
    height = max(item.y + item.height / 2 for layer in layers for item in layer)
    return Layout(states, tuple(routes), width, height)


def _point(edge: Edge, *, labelled: bool) -> Item:
    if labelled:
        return Item(6, edge.width + 12, edge.height + 6)
    return Item(6, 6, 0)


def _depth_first(graph: Graph) -> list[str]:
    """States in the order in which they are reached from the initial one, then the others."""
    found: dict[str, None] = {}
    waiting = [*reversed(graph.states), graph.initial]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += [edge.target for edge in graph.after(name)][::-1]
    return list(found)


def _upward(graph: Graph) -> set[Edge]:
    """Edges to turn over, so that no circle is left and nothing leads to the initial state."""
    upward = {edge for edge in graph.edges if edge.target == graph.initial}
    done: set[str] = set()
    for root in _depth_first(graph):
        path: list[str] = []
        waiting = [(root, False)]
        while waiting:
            name, leaving = waiting.pop()
            if leaving:
                path.pop()
                done.add(name)
                continue
            if name in done or name in path:
                continue
            path.append(name)
            waiting.append((name, True))
            for edge in reversed(list(graph.after(name))):
                if edge.target in path:
                    upward.add(edge)
                else:
                    waiting.append((edge.target, False))
    return upward


def _layers(graph: Graph, upward: set[Edge]) -> dict[str, int]:
    """A state lies one layer below the lowest of those that lead to it."""
    ends = [
        (edge.target, edge.source) if edge in upward else (edge.source, edge.target)
        for edge in graph.edges
    ]
    layer_of = dict.fromkeys(graph.states, 0)
    for _ in graph.states:
        for top, bottom in ends:
            layer_of[bottom] = max(layer_of[bottom], layer_of[top] + 1)
    return layer_of


def _ordered(layers: list[list[Item]]) -> list[list[Item]]:
    """Change the order in layers, down and up, and keep the one in which fewest edges cross."""
    best, least = layers, _crossings(layers)
    for sweep in range(_sweeps(layers)):
        if least == 0:
            break
        layers = [list(layer) for layer in layers]
        down = sweep % 2 == 0
        for number in range(len(layers)) if down else reversed(range(len(layers))):
            _sort_by_neighbours(layers, number, down=down)
        crossings = _crossings(layers)
        if crossings < least:
            best, least = layers, crossings
    return best


def _sweeps(layers: Sequence[Sequence[Item]]) -> int:
    return max(1, min(_SWEEPS, _MOST_WORK // max(sum(map(len, layers)), 1)))


def _sort_by_neighbours(layers: list[list[Item]], number: int, *, down: bool) -> None:
    """Sort one layer by the mean position of neighbours in the layer before it."""
    beside = number - 1 if down else number + 1
    if not 0 <= beside < len(layers):
        return
    position = {id(item): float(at) for at, item in enumerate(layers[beside])}
    own = {id(item): float(at) for at, item in enumerate(layers[number])}

    def mean(item: Item) -> float:
        neighbours = item.above if down else item.below
        found = [position[id(other)] for other in neighbours if id(other) in position]
        return sum(found) / len(found) if found else own[id(item)]

    layers[number].sort(key=mean)


def _crossings(layers: list[list[Item]]) -> int:
    """How often edges cross between neighbouring layers: inversions of where they end."""
    total = 0
    for upper, lower in pairwise(layers):
        position = {id(item): at for at, item in enumerate(lower)}
        ended: list[int] = []
        for item in upper:
            for end in sorted(position[id(other)] for other in item.below):
                total += len(ended) - bisect_right(ended, end)
                insort(ended, end)
    return total


def _place(layers: Sequence[Sequence[Item]]) -> None:
    """Give items their x, so that edges are as straight as the order allows, and their y."""
    for layer in layers:
        _spread(layer, [0.0] * len(layer))
    for sweep in range(2 * _sweeps(layers)):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            _spread(layer, [_wanted(item, down=down) for item in layer])
    left = min(item.x - item.left for layer in layers for item in layer)
    y = 0.0
    for layer in layers:
        height = max((item.height for item in layer), default=0.0)
        for item in layer:
            item.x -= left
            item.y, item.layer = y + height / 2, height
        y += height + _BETWEEN_LAYERS


def _wanted(item: Item, *, down: bool) -> float:
    """Where an item would like to be: above or below the middle of its neighbours."""
    neighbours = (item.above or item.below) if down else (item.below or item.above)
    if not neighbours:
        return item.x
    found = sorted(other.x for other in neighbours)
    return (found[(len(found) - 1) // 2] + found[len(found) // 2]) / 2


def _spread(layer: Sequence[Item], wanted: Sequence[float]) -> None:
    """Put items as near to the wanted places as their order and size allow (least squares).

    With the room between neighbours subtracted this is isotonic regression, which pooling
    neighbours that are out of order solves exactly.
    """
    room, at = [], 0.0
    for number, item in enumerate(layer):
        if number:
            at += layer[number - 1].right + _GAP + item.left
        room.append(at)
    pools: list[tuple[float, int, int]] = []
    for item, want, taken in zip(layer, wanted, room, strict=True):
        mean, weight, count = want - taken, 1 if item.state else _STRAIGHT, 1
        while pools and pools[-1][0] > mean:
            before, heavy, many = pools.pop()
            mean = (mean * weight + before * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + many
        pools.append((mean, weight, count))
    places = [mean for mean, _, count in pools for _ in range(count)]
    for item, place, taken in zip(layer, places, room, strict=True):
        item.x = place + taken
