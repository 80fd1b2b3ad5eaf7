"""YAML without its surprises, and with the line of every value.

YAML 1.1 reads `on` and `no` as booleans, `12:30` as 750, `010` as 8 and `2024-01-01` as a
date, and keeps the last of two equal keys. Here `true`, `false`, `null` and decimal numbers
are what they seem, every other plain word is text, and a key that stands twice is an error.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml

from ._errors import ConfigError

__all__ = ["Located", "parse_yaml"]

_DEEPEST = 6
"""Levels of nesting: more than any setting has, few enough to end what refers to itself."""


class Located(NamedTuple):
    """A value and the line, counted from 1, where it begins."""

    value: object
    """str, int, bool, None, a list of plain values, or a dict of str to Located."""
    line: int


class _Loader(yaml.SafeLoader):
    """Resolves `true`, `false`, `null` and decimal integers, and nothing else."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"(?:-?[1-9][0-9]{0,18}|0)\Z"), list("-0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]
)


def parse_yaml(text: str, file: str) -> Located:
    """Parse one document; an empty one gives None. Raises ConfigError naming `file` and line."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{file}:{line}: no valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{file}:{line}: no valid YAML: {error.reason}") from error
    return Located(None, 1) if node is None else _convert(node, file, 0)


def _convert(node: yaml.Node, file: str, depth: int) -> Located:
    line = node.start_mark.line + 1
    if depth > _DEEPEST:
        raise ConfigError(f"{file}:{line}: nested too deeply for any setting")
    if isinstance(node, yaml.MappingNode):
        return Located(_mapping(node, file, depth), line)
    if isinstance(node, yaml.SequenceNode):
        return Located([_convert(one, file, depth + 1).value for one in node.value], line)
    return Located(_scalar(node, file), line)


def _mapping(node: yaml.MappingNode, file: str, depth: int) -> dict[str, Located]:
    found: dict[str, Located] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{file}:{line}: a key must be a plain word")
        key = key_node.value
        if key in found:
            raise ConfigError(
                f"{file}:{line}: the key {key!r} stands twice, first in line {found[key].line}"
            )
        found[key] = Located(_convert(value_node, file, depth + 1).value, line)
    return found


def _scalar(node: yaml.Node, file: str) -> str | int | bool | None:
    text: str = node.value
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            return text
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "int" if text.lstrip("-").isdecimal():
            return int(text)
        case "null":
            return None
        case tag:
            line = node.start_mark.line + 1
            raise ConfigError(f"{file}:{line}: {text!r} can't be tagged {tag!r} here")
