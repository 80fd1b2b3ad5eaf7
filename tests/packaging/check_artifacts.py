"""Whether the sixteen artifacts are what a registry should get; the exit code says so.

    python check_artifacts.py DIST

Beside what `twine check` and `check-wheel-contents` look at: metadata of version 2.4 that
validates, licence files that are there, classifiers that exist, one version and siblings pinned to
it, the typed marker, and a README that renders and links to nothing that only a checkout has.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

from packaging.metadata import Metadata
from readme_renderer import markdown
from trove_classifiers import classifiers as known_classifiers

from environments import DISTRIBUTIONS
from pythons import CLASSIFIER

METADATA_VERSION = "2.4"
"""What the upload checks of registries accept; hatchling may write a later one."""
LICENSE_FILES = ["LICENSE", "NOTICE"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A wheel or an sdist: its file name, its metadata as written, and the names in it."""

    file: str
    metadata: bytes
    names: frozenset[str]

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel."""
        return self.file.endswith(".whl")


def read(path: Path) -> Artifact:
    """Open a wheel or an sdist; names in an sdist are without its top folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = frozenset(wheel.namelist())
            (found,) = (name for name in names if name.endswith(".dist-info/METADATA"))
            return Artifact(path.name, wheel.read(found), names)
    with tarfile.open(path) as sdist:
        top = path.name.removesuffix(".tar.gz")
        written = sdist.extractfile(f"{top}/PKG-INFO")
        assert written is not None
        names = frozenset(name.removeprefix(f"{top}/") for name in sdist.getnames())
        return Artifact(path.name, written.read(), names)


def complaints(artifact: Artifact, version: str) -> list[str]:
    """What is wrong with one artifact of `version`."""
    try:
        metadata = Metadata.from_email(artifact.metadata, validate=True)
    except ExceptionGroup as group:
        return [f"{artifact.file}: {error}" for error in group.exceptions]
    wrong = [
        *_about_identity(metadata, version),
        *_about_files(metadata, artifact),
        *about_readme(metadata.description or ""),
    ]
    return [f"{artifact.file}: {one}" for one in wrong]


def _about_identity(metadata: Metadata, version: str) -> list[str]:
    expected: Mapping[str, object] = {
        "metadata_version": METADATA_VERSION,
        "license_expression": "Apache-2.0",
        "license_files": LICENSE_FILES,
        "description_content_type": "text/markdown",
    }
    wrong = [
        f"{field} is {getattr(metadata, field)!r}, not {value!r}"
        for field, value in expected.items()
        if getattr(metadata, field) != value
    ]
    if str(metadata.version) != version:
        wrong.append(f"version is {metadata.version}, not {version}")
    classifiers = metadata.classifiers or []
    wrong += [f"{one!r} is no classifier" for one in classifiers if one not in known_classifiers]
    lowest = min(
        (tuple(map(int, found[1].split("."))) for one in classifiers
         if (found := re.fullmatch(re.escape(CLASSIFIER) + r"(\d+\.\d+)", one))),
        default=(),
    )  # fmt: skip
    if str(metadata.requires_python) != f">={'.'.join(map(str, lowest))}":
        wrong.append(f"requires Python {metadata.requires_python}, but is classified for {lowest}")
    for requirement in metadata.requires_dist or []:
        if requirement.name == "rstmdb":
            wrong.append("requires rstmdb, which is another project's client")
        if requirement.name.startswith("rstmdb-") and str(requirement.specifier) != f"=={version}":
            wrong.append(f"requires {requirement}, which is not pinned to {version}")
    return wrong


def _about_files(metadata: Metadata, artifact: Artifact) -> list[str]:
    module = metadata.name.replace("-", "_")
    expected = {f"{module}/py.typed", f"{module}/__init__.py"}
    if artifact.is_wheel:
        folder = f"{module}-{metadata.version}.dist-info"
        expected |= {f"{folder}/licenses/{name}" for name in LICENSE_FILES}
        if not artifact.file.endswith("-py3-none-any.whl"):
            return ["is not for every platform"]
    else:
        expected = {f"src/{name}" for name in expected} | {*LICENSE_FILES, "README.md"}
    wrong = [f"lacks {name}" for name in sorted(expected - artifact.names)]
    wrong += [
        f"holds {name}"
        for name in sorted(artifact.names)
        if name.endswith(".pyc")
        or (artifact.is_wheel and not name.startswith((f"{module}/", f"{module}-")))
    ]
    return wrong


class _Links(HTMLParser):
    """Where the links and pictures of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect them."""
        for name, value in attrs:
            if value is not None and (tag, name) in {("a", "href"), ("img", "src")}:
                self.targets.append(value)


def about_readme(text: str) -> list[str]:
    """What is wrong with a README in Markdown, as a registry would show it."""
    rendered = markdown.render(text)
    if not rendered:
        return ["its README does not render"]
    links = _Links()
    links.feed(rendered)
    return [
        f"its README links to {target}, which a registry does not have"
        for target in links.targets
        if not target.startswith(("https://", "http://", "mailto:", "#"))
    ]


def main() -> int:
    """Check all artifacts; the exit code."""
    paths = sorted(Path(sys.argv[1]).iterdir())
    versions = {
        PurePosixPath(path.name).name.split("-")[1].removesuffix(".tar.gz") for path in paths
    }
    if len(versions) != 1:
        print(f"more than one version: {', '.join(sorted(versions))}")
        return 1
    (version,) = versions
    expected = {f"rstmdb_{name}-{version}-py3-none-any.whl" for name in DISTRIBUTIONS}
    expected |= {f"rstmdb_{name}-{version}.tar.gz" for name in DISTRIBUTIONS}
    found = {path.name for path in paths}
    wrong = [f"{name}: missing" for name in sorted(expected - found)]
    wrong += [f"{name}: nobody asked for it" for name in sorted(found - expected)]
    for path in paths:
        wrong += complaints(read(path), version)
    print("\n".join(wrong) or f"{len(paths)} artifacts of {version} are fit for a registry")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
