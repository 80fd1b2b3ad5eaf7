"""Pictures: as text for Mermaid and as SVG, of a machine and of an instance in it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from rstmdb_cli.diagrams import mermaid, svg
from rstmdb_cli.diagrams.graph import Graph
from rstmdb_cli.diagrams.layout import Item, laid_out
from wire import Wire

Run = Callable[..., Result]
SVG = "{http://www.w3.org/2000/svg}"


def transition(source: str | list[str], event: str, target: str, guard: str = "") -> dict[str, Any]:
    sources = [source] if isinstance(source, str) else source
    found = {"from": sources, "event": event, "to": target}
    return found | ({"guard": guard} if guard else {})


def machine(states: list[str], *transitions: dict[str, Any]) -> dict[str, Any]:
    return {"states": states, "initial": states[0], "transitions": list(transitions)}


TICKET = machine(
    ["open", "doing", "done", "dropped"],
    transition("open", "TAKE", "doing"),
    transition("doing", "PUT BACK", "open"),
    transition("doing", "FINISH", "done", "ctx.green == true && ctx.reviews >= 2"),
    transition(["open", "doing"], "DROP", "dropped"),
    transition("doing", "COMMENT", "doing"),
)


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


# -- Mermaid ---------------------------------------------------------------------------------------


def test_mermaid_marks_the_current_state() -> None:
    assert mermaid(TICKET, "doing").splitlines()[-2:] == [
        "    classDef current fill:#2e7d4f,color:#fff,stroke-width:3px",
        "    class s1 current",
    ]
    assert "classDef" not in mermaid(TICKET)


# -- SVG -------------------------------------------------------------------------------------------


def test_every_state_event_and_guard_is_written() -> None:
    found = texts(svg(TICKET, "ticket version 1"))
    for state in TICKET["states"]:
        assert state in found
    for event in ("TAKE", "PUT BACK", "FINISH", "COMMENT"):
        assert found.count(event) == 1
    assert found.count("DROP") == 2
    assert " ".join(part for part in found if part.startswith("[") or part.endswith("]")) == (
        "[ctx.green == true && ctx.reviews >= 2]"
    )
    assert "ticket version 1" in found


def test_names_can_not_break_out_of_the_picture() -> None:
    odd = machine(['<a b="c">&', "\x1b[31m"], transition('<a b="c">&', "</text>", "\x1b[31m"))
    picture = svg(odd, "<title>")
    assert '<a b="c">&' in texts(picture)
    assert "</text>" in texts(picture)
    assert "\x1b" not in picture


def test_the_current_state_stands_out_with_what_leaves_it() -> None:
    plain, marked = svg(TICKET, "t"), svg(TICKET, "t", "doing")
    green = "#2e7d4f"
    assert green not in plain
    boxes = [e for e in ET.fromstring(marked).iter(f"{SVG}rect") if e.get("fill") == green]
    assert len(boxes) == 2  # the box and its halo
    written = [e.text for e in ET.fromstring(marked).iter(f"{SVG}text") if e.get("fill") == green]
    assert {"PUT BACK", "FINISH", "DROP", "COMMENT"} <= set(written)
    assert "TAKE" not in written


def test_a_chain_runs_straight_down() -> None:
    states = ["a", "b", "c", "d"]
    chain = machine(states, *(transition(one, one, two) for one, two in pairwise(states)))
    found = laid_out(Graph.of(chain)).states
    assert len({item.x for item in found.values()}) == 1
    heights = [found[state].y for state in states]
    assert heights == sorted(heights)


def test_edges_of_a_tree_do_not_cross() -> None:
    tree = machine(
        ["r", "a", "b", "b1", "a1"],
        transition("r", "B", "b"),
        transition("r", "A", "a"),
        transition("a", "A", "a1"),
        transition("b", "B", "b1"),
    )
    found = laid_out(Graph.of(tree)).states
    assert (found["a"].x < found["b"].x) == (found["a1"].x < found["b1"].x)


names = st.sampled_from([f"state {n}" for n in range(9)])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(names, st.text(min_size=1, max_size=20), names), max_size=25))
def test_any_machine_is_drawn_with_nothing_on_top_of_another(
    moves: list[tuple[str, str, str]],
) -> None:
    states = sorted({"state 0"}.union(*({source, target} for source, _, target in moves)))
    definition = machine(states, *(transition(*move) for move in moves))
    layout = laid_out(Graph.of(definition))
    items: dict[int, Item] = {id(item): item for item in layout.states.values()}
    for route in layout.routes:
        items |= {id(item): item for item in route.items}
        ys = [item.y for item in route.items]
        assert ys == sorted(ys)
        assert route.upward == (layout.states[route.edge.source].y > ys[0])
    layers: dict[float, list[Item]] = {}
    for item in items.values():
        layers.setdefault(item.y, []).append(item)
    for layer in layers.values():
        layer.sort(key=lambda item: item.x)
        for one, two in pairwise(layer):
            assert one.x + one.right < two.x - two.left
    ET.fromstring(svg(definition, "any", states[-1]))
    assert svg(definition, "any") == svg(definition, "any")


def test_a_large_machine_is_drawn_in_time() -> None:
    states = [f"s{n}" for n in range(60)]
    moves = [transition(s, f"E{k}", states[(7 * n + k * k) % 60]) for n, s in enumerate(states)
             for k in range(3)]  # fmt: skip
    assert svg(machine(states, *moves), "large").count("<rect") >= 60


# -- the commands ----------------------------------------------------------------------------------


def test_a_machine_into_a_file_and_to_standard_output(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "order.svg"
    drawn = cli("get-machine", "order", "--svg", str(file))
    assert (drawn.exit_code, drawn.stdout, drawn.stderr) == (0, "", f"drawn into {file}\n")
    shown = cli("get-machine", "order", "--svg", "-")
    assert shown.stdout == file.read_text(encoding="utf-8")
    assert "order version 1" in texts(shown.stdout)
    both = cli("get-machine", "order", "--diagram", "--svg", str(file))
    assert both.stdout.startswith("stateDiagram-v2\n")


def test_an_instance_with_its_state(cli: Run, wire: Wire) -> None:
    wire.call("APPLY_EVENT", instance_id="o-1", event="PAY")
    assert cli("get-instance", "o-1", "--diagram").stdout.endswith("    class s1 current\n")
    shown = texts(cli("get-instance", "o-1", "--svg", "-").stdout)
    assert "o-1 in paid, order version 1" in shown


@pytest.mark.parametrize("command", [("get-machine", "order"), ("get-instance", "o-1")])
def test_a_picture_that_can_not_be_written(
    cli: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    result = cli(*command, "--svg", str(tmp_path / "none" / "x.svg"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "can't be written: No such file" in result.stderr
    assert cli(*command, "--svg", str(tmp_path)).exit_code == 2


def test_pictures_of_what_is_not_there(cli: Run) -> None:
    for command in (("get-machine", "none"), ("get-instance", "none")):
        result = cli(*command, "--svg", "-")
        assert (result.exit_code, result.stdout) == (5, "")


def test_an_event_with_a_guard_is_in_both_pictures(cli: Run) -> None:
    definition = json.dumps(TICKET)
    assert cli("put-machine", "-n", "ticket", "-v", "1", definition).exit_code == 0
    shown = cli("get-machine", "ticket", "--diagram").stdout
    assert re.search(r"s1 --> s2 : FINISH \[ctx\.green == true && ctx\.reviews #62;= 2\]", shown)
