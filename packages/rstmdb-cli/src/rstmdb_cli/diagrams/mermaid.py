"""A machine as text for Mermaid, which GitHub and many editors draw."""

from __future__ import annotations

from typing import Any

from rstmdb_cli.output import escaped

__all__ = ["mermaid"]


def mermaid(definition: dict[str, Any], current: str | None = None) -> str:
    """A state diagram of a definition in its normal form (`from` is a list).

    `current` is the state to mark. States get short names of their own, since theirs may hold
    what Mermaid's syntax does not. See https://mermaid.js.org/syntax/stateDiagram.html.
    """
    short = {state: f"s{number}" for number, state in enumerate(definition["states"])}
    lines = ["stateDiagram-v2"]
    lines += [f'state "{_text(state)}" as {name}' for state, name in short.items()]
    lines.append(f"[*] --> {short[definition['initial']]}")
    for transition in definition["transitions"]:
        guard = transition.get("guard")
        label = _text(transition["event"]) + (f" [{_text(guard)}]" if guard else "")
        lines += [f"{short[f]} --> {short[transition['to']]} : {label}" for f in transition["from"]]
    if current in short:
        lines.append("classDef current fill:#2e7d4f,color:#fff,stroke-width:3px")
        lines.append(f"class {short[current]} current")
    return "\n    ".join(lines)


def _text(name: str) -> str:
    """Text in which no character has a meaning to Mermaid: entities are its escapes."""
    return "".join(f"#{ord(c)};" if c in '#;:"\\<>{}[]%`\n' else c for c in escaped(name))
