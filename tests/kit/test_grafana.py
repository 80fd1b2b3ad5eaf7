"""The dashboard: every field known to Grafana, every metric exported, nothing overlapping."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]

PROMETHEUS_ONLY = {"step", "textFormat", "titleFormat"}
"""Of an annotation: fields of the data source, which the general schema does not know."""


def plain(expression: str) -> str:
    """An expression with Grafana's variables filled in."""
    return expression.replace("$__rate_interval", "1m").replace("$instance", ".*")


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Fields of `before` that are missing in `after` or differ there."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                yield f"{path}/{key}"
            else:
                yield from lost(value, after[key], f"{path}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif before != after:
        yield f"{path}: {before} is read as {after}"


def read_by_grafanas_sdk(dashboard: dict[str, Any]) -> Any:
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    pytest.importorskip("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    read = models.Dashboard.from_json(dashboard)
    return json.loads(json.dumps(read, cls=encoder.JSONEncoder))


def test_grafanas_own_library_knows_every_field() -> None:
    unknown = [
        path
        for path in lost(DASHBOARD, read_by_grafanas_sdk(DASHBOARD))
        if not (path.startswith("/annotations/") and path.rpartition("/")[2] in PROMETHEUS_ONLY)
    ]
    assert unknown == []


def test_a_misspelt_field_is_noticed() -> None:
    misspelt = json.loads(json.dumps(DASHBOARD))
    misspelt["panels"][1]["fieldConfig"]["defaults"]["units"] = "s"
    assert "/panels/1/fieldConfig/defaults/units" in lost(misspelt, read_by_grafanas_sdk(misspelt))


@pytest.mark.parametrize("panel", CHARTS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_that_the_server_exports(
    panel: dict[str, Any], complain: Callable[[str], list[str]]
) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert complain(plain(target["expr"])) == []
        assert 'job="rstmdb", instance=~"$instance"' in target["expr"]
    assert panel["description"]


def test_every_metric_of_our_own_is_shown(exported: dict[str, list[dict[str, str]]]) -> None:
    shown = "\n".join(target["expr"] for panel in CHARTS for target in panel["targets"])
    families = {
        re.sub(r"_(bucket|sum|count|created)$", "", name)
        for name in exported
        if name.startswith("rstmdb_")
    }
    assert {name for name in families if not re.search(rf"\b{name}(_\w+)?\b", shown)} == set()


def test_panels_fill_the_grid_without_overlapping() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height


def test_variables_and_data_source_are_those_of_the_provisioning() -> None:
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    for panel in CHARTS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "rstmdb.yml").read_text())
    assert source["datasources"][0]["type"] == "prometheus"
    assert DASHBOARD["uid"] == "rstmdb"
    assert "id" not in DASHBOARD  # Grafana gives it one
