"""The alert rules: taken by Prometheus, tried by its own unit tests, about metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0][
    "rules"
]
NAMES = [rule["alert"] for rule in RULES]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed (Debian's package prometheus has it)",
)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True)


@needs_promtool
def test_prometheus_takes_the_scrape_configuration_and_its_rules() -> None:
    checked = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


@needs_promtool
def test_every_alert_fires_when_it_should_and_only_then() -> None:
    tested = promtool("test", "rules", PROMETHEUS / "alerts_test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_unit_tests_notice_an_alert_that_never_fires(name: str, tmp_path: Path) -> None:
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    broken = next(rule for rule in rules["groups"][0]["rules"] if rule["alert"] == name)
    broken["expr"] = f"({broken['expr']}) > Inf"
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    shutil.copy(PROMETHEUS / "alerts_test.yml", tmp_path)
    tested = promtool("test", "rules", tmp_path / "alerts_test.yml")
    assert tested.returncode != 0
    assert f"alertname: {name}" in tested.stdout + tested.stderr


def test_each_alert_has_a_unit_test_in_which_it_is_silent_and_one_in_which_it_fires() -> None:
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    tried: dict[str, set[bool]] = {}
    for case in cases:
        for tried_rule in case["alert_rule_test"]:
            tried.setdefault(tried_rule["alertname"], set()).add("exp_alerts" in tried_rule)
    assert tried == {name: {True, False} for name in NAMES}


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_an_alert_is_about_metrics_that_the_server_exports(
    rule: dict[str, Any], complain: Callable[[str], list[str]]
) -> None:
    assert complain(rule["expr"]) == []
    assert 'job="rstmdb"' in rule["expr"]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}


def test_a_metric_that_does_not_exist_is_noticed(complain: Callable[[str], list[str]]) -> None:
    assert complain("rate(rstmdb_no_such_total[5m])") == ["rstmdb_no_such_total is not exported"]
    assert complain('rstmdb_errors_total{code="NONSENSE"}') == [
        "rstmdb_errors_total has no code=NONSENSE"
    ]
    assert complain("sum by (shard) (rstmdb_errors_total)") == ["by shard"]


def test_the_guide_says_what_to_do_about_each_alert() -> None:
    guide = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    told = set(re.findall(r"`(Rstmdb\w+)`", guide))
    assert told == set(NAMES)


def test_the_job_is_the_one_that_alerts_and_dashboard_look_for() -> None:
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["rstmdb"]
