"""What the tests of the operator's kit share: its files, moved to where a test may write."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rstmdb_server.testing import ServerProcess

DEPLOY = Path(__file__).parents[2] / "deploy"

Place = Callable[[str], Path]
Exported = dict[str, list[dict[str, str]]]
"""The labels of every sample that a server exports, by the sample's name."""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates made by the kit's own script."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run(
        [DEPLOY / "certs" / "make-dev-certs", folder], check=True, stdout=subprocess.DEVNULL
    )
    return folder


@pytest.fixture
def token() -> str:
    """The token that a placed configuration knows."""
    return "a token for the tests"


@pytest.fixture
def place(tmp_path: Path, certificates: Path, token: str) -> Place:
    """Bring an example configuration and the files that it names below `tmp_path`."""

    def place_one(name: str) -> Path:
        etc = tmp_path / "etc"
        etc.mkdir()
        for file in ("server.pem", "server.key"):
            (etc / file).write_bytes((certificates / file).read_bytes())
        (etc / "client-ca.pem").write_bytes((certificates / "ca.pem").read_bytes())
        (etc / "tokens").write_text(f"# for the tests\n{sha256(token.encode()).hexdigest()}\n")
        text = (DEPLOY / "config" / f"{name}.yaml").read_text()
        moved = tmp_path / f"{name}.yaml"
        moved.write_text(
            text.replace("/etc/rstmdb", str(etc)).replace("/var/lib/rstmdb", str(tmp_path / "lib"))
        )
        return moved

    return place_one


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What a real server exports when it is scraped."""
    env = {"RSTMDB_METRICS_ENABLED": "true", "RSTMDB_METRICS_BIND": "127.0.0.1:0"}
    with ServerProcess(tmp_path_factory.mktemp("exporter"), env) as server:
        deadline = time.monotonic() + 30
        while not (
            found := re.search(r"metrics on (http://\S+/metrics)", "\n".join(server.log_lines()))
        ):
            assert time.monotonic() < deadline, server.log_lines()
            time.sleep(0.02)
        with urllib.request.urlopen(found[1]) as page:
            text = page.read().decode()
    samples: Exported = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(dict(sample.labels))
    return samples


@pytest.fixture(scope="session")
def complain(exported: Exported) -> Callable[[str], list[str]]:
    """What a PromQL expression names that no server exports; SyntaxError is raised as it is."""
    promql = pytest.importorskip("promql_parser")
    scraped = {"job", "instance"}

    def complain_of(expression: str) -> list[str]:
        nodes: list[Any] = []
        promql.walk(promql.parse(expression), nodes.append)
        found = []
        known: set[str] = set(scraped)
        for node in nodes:
            if not isinstance(node, promql.VectorSelector):
                continue
            if node.name == "up":  # Prometheus' own
                continue
            if node.name not in exported:
                found.append(f"{node.name} is not exported")
                continue
            series = exported[node.name]
            known |= set(series[0])
            for matcher in node.matchers.matchers:
                if matcher.name in scraped:
                    continue
                values = {labels.get(matcher.name) for labels in series}
                found += [
                    f"{node.name} has no {matcher.name}={value}"
                    for value in matcher.value.split("|")
                    if value not in values
                ]
        for node in nodes:
            if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
                found += [f"by {one}" for one in node.modifier.labels if one not in known]
        return found

    return complain_of
