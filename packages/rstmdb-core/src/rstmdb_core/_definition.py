"""What a machine definition must be like, and its normal form."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from ._definition_json import least_bytes, members_of, stand_in, value_of
from ._errors import GuardSyntaxError, InvalidRequest
from ._guard import Guard, compile_guard
from ._values import canonical_json, find_unstorable, kind_of, name_fault, shown

MAX_STATES: Final = 10_000
MAX_TRANSITIONS: Final = 100_000
MAX_DEFINITION_BYTES: Final = 1_048_576
"""Of the normal form as JSON."""

_DEFINITION_KEYS: Final = ("states", "initial", "transitions", "meta")
_TRANSITION_KEYS: Final = ("from", "event", "to", "guard")
_TRANSITION_SET: Final = frozenset(_TRANSITION_KEYS)

_encode_json = msgspec.json.Encoder().encode

Definition = dict[str, Any]
GuardTable = dict[str, Guard]
"""Compiled guards by their text."""


def read_definition(definition: object, *, strict: bool) -> tuple[Definition, GuardTable]:
    """Return a definition's normal form and its guards, compiled.

    The definition is what JSON decodes to, or a Raw of JSON that is still to be decoded.

    Strict (a new PUT_MACHINE) refuses whatever the rules forbid. Otherwise (a log that is history
    already) unknown keys are dropped, a state given twice counts once, and a guard that does not
    parse never holds: a closed door, not an open one.

    Raises InvalidRequest naming the place, such as `transitions[3].from`.
    """
    return _Reader(strict).read(definition)


def checksum_of(definition: Definition) -> str:
    """Return the SHA-256, in hex, of a normal form as JSON in UTF-8, keys sorted, no spaces."""
    return hashlib.sha256(canonical_json(definition)).hexdigest()


class _Reader:
    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.guards: GuardTable = {}
        self.states: dict[str, None] = {}
        self.events: set[str] = set()
        """Those seen so far: names, all of them."""
        self.alone: dict[str, list[str]] = {}
        """`from` in normal form, for each state that is the only source of a transition."""

    def read(self, definition: object) -> tuple[Definition, GuardTable]:
        if isinstance(definition, Raw):
            source = self._decode(definition)
        else:
            source = _object(definition, "definition")
            if self.strict:
                _check_size_as_given(source)
        self._refuse_unknown(source, _DEFINITION_KEYS, "definition")
        self._read_states(source.get("states"))
        initial = self._state(source.get("initial"), "initial")
        transitions = self._read_transitions(source.get("transitions"))
        normal: Definition = {
            "states": list(self.states),
            "initial": initial,
            "transitions": transitions,
        }
        meta = source.get("meta")
        if meta is not None:
            normal["meta"] = _object(meta, "meta")
        if self.strict:
            _check_size(normal)
        return normal, self.guards

    def _decode(self, text: Raw) -> dict[str, object]:
        """Decode JSON, but nothing that is refused in any case."""
        if self.strict and len(memoryview(text)) > MAX_DEFINITION_BYTES:
            size = least_bytes(text)
            if size > MAX_DEFINITION_BYTES:
                raise _too_large(size)
        members = members_of(text)
        if members is None:
            return _object(stand_in(text), "definition")
        self._refuse_unknown(members, _DEFINITION_KEYS, "definition")
        return {key: value_of(member, key) for key, member in members.items()}

    def _read_states(self, states: object) -> None:
        items = _array(states, "states")
        if not items:
            raise InvalidRequest("states must name at least one state")
        if self.strict and len(items) > MAX_STATES:
            raise InvalidRequest(
                f"states has {len(items)} entries; at most {MAX_STATES} are allowed",
                {"limit": MAX_STATES},
            )
        for index, state in enumerate(items):
            place = f"states[{index}]"
            name = self._name(state, place)
            if name in self.states and self.strict:
                first = list(self.states).index(name)
                raise InvalidRequest(f"{place} repeats {shown(name)}, which is states[{first}]")
            self.states[name] = None

    def _read_transitions(self, transitions: object) -> list[dict[str, object]]:
        items = _array(transitions, "transitions")
        if self.strict and len(items) > MAX_TRANSITIONS:
            raise InvalidRequest(
                f"transitions has {len(items)} entries; at most {MAX_TRANSITIONS} are allowed",
                {"limit": MAX_TRANSITIONS},
            )
        unguarded: dict[tuple[str, str], int] = {}
        normal = []
        for index, item in enumerate(items):
            transition = self._known(item)
            if transition is None:
                transition = self._read_transition(item, f"transitions[{index}]")
            if self.strict:
                _refuse_shadowed(transition, index, unguarded)
            normal.append(transition)
        return normal

    def _known(self, item: Any) -> dict[str, object] | None:
        """Return a transition's normal form if all of its parts were seen before, as most were."""
        if type(item) is not dict or not item.keys() <= _TRANSITION_SET:
            return None
        source, event, to = item.get("from"), item.get("event"), item.get("to")
        guard = item.get("guard")
        states = self.states
        if type(source) is not str:
            return None
        if source not in states or type(to) is not str or to not in states:
            return None
        if type(event) is not str or event not in self.events:
            return None
        sources = self.alone.get(source)
        if sources is None:
            sources = self.alone[source] = [source]
        if guard is None:
            return {"from": sources, "event": event, "to": to}
        if type(guard) is not str or guard not in self.guards:
            return None
        return {"from": sources, "event": event, "to": to, "guard": guard}

    def _read_transition(self, item: object, place: str) -> dict[str, object]:
        source = _object(item, place)
        self._refuse_unknown(source, _TRANSITION_KEYS, place)
        transition: dict[str, Any] = {
            "from": list(self._sources(source.get("from"), f"{place}.from")),
            "event": self._name(source.get("event"), f"{place}.event"),
            "to": self._state(source.get("to"), f"{place}.to"),
        }
        self.events.add(transition["event"])
        guard = source.get("guard")
        if guard is not None:
            transition["guard"] = self._guard(guard, f"{place}.guard")
        return transition

    def _sources(self, sources: object, place: str) -> Iterator[str]:
        if isinstance(sources, str):
            yield self._state(sources, place)
            return
        if not isinstance(sources, (list, tuple)):
            raise InvalidRequest(
                f"{place} must be a state or an array of states, not {kind_of(sources)}"
            )
        if not sources:
            raise InvalidRequest(f"{place} must name at least one state")
        seen: set[str] = set()
        for index, source in enumerate(sources):
            state = self._state(source, f"{place}[{index}]")
            if state in seen:
                if self.strict:
                    raise InvalidRequest(f"{place}[{index}] repeats {shown(state)}")
                continue
            seen.add(state)
            yield state

    def _guard(self, guard: object, place: str) -> str:
        if not isinstance(guard, str):
            raise InvalidRequest(f"{place} must be a string, not {kind_of(guard)}")
        if guard not in self.guards:
            try:
                self.guards[guard] = compile_guard(guard)
            except GuardSyntaxError as error:
                if self.strict:
                    raise InvalidRequest(
                        f"{place} does not parse: {error}", {"guard": guard[:4096]}
                    ) from error
                self.guards[guard] = _never
        return guard

    def _state(self, state: object, place: str) -> str:
        name = self._name(state, place)
        if name not in self.states:
            near = difflib.get_close_matches(name, list(self.states)[:100], n=1)
            hint = f"; did you mean {shown(near[0])}?" if near else ""
            raise InvalidRequest(f"{place} is {shown(name)}, which is not in states{hint}")
        return name

    def _name(self, value: object, place: str) -> str:
        if self.strict:
            fault = name_fault(value)
            if fault is not None:
                raise InvalidRequest(f"{place} {fault}")
        if not isinstance(value, str):
            raise InvalidRequest(f"{place} must be a string, not {kind_of(value)}")
        return value

    def _refuse_unknown(
        self, source: Mapping[str, object], known: tuple[str, ...], place: str
    ) -> None:
        if not self.strict:
            return
        for key in source:
            if key not in known:
                near = difflib.get_close_matches(str(key)[:40], known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise InvalidRequest(f"{place} has the unknown key {shown(key)}; {hint}")


def _refuse_shadowed(
    transition: dict[str, Any], index: int, unguarded: dict[tuple[str, str], int]
) -> None:
    event = transition["event"]
    for state in transition["from"]:
        earlier = unguarded.get((state, event))
        if earlier is not None:
            raise InvalidRequest(
                f"transitions[{index}] can never run: transitions[{earlier}] has no guard and"
                f" already takes {shown(event)} from {shown(state)}; give that one a guard or"
                f" put it last"
            )
        if "guard" not in transition:
            unguarded[state, event] = index


def _check_size_as_given(definition: dict[str, object]) -> None:
    """Refuse what can't be within the limit before it is read: normal form is hardly shorter."""
    try:
        size = len(_encode_json(definition))
    except (UnicodeEncodeError, RecursionError):
        return  # what reads it knows where
    if size > MAX_DEFINITION_BYTES:
        raise _too_large(size)


def _too_large(size: int) -> InvalidRequest:
    return InvalidRequest(
        f"the definition is {size} bytes of JSON; at most {MAX_DEFINITION_BYTES} are allowed",
        {"limit": MAX_DEFINITION_BYTES},
    )


def _check_size(definition: Definition) -> None:
    fault = find_unstorable({"meta": definition.get("meta")})  # all else is strings
    if fault is not None:
        raise InvalidRequest(f"{fault[0]} is {shown(fault[1])}; integers have at most 64 bits")
    try:
        size = len(canonical_json(definition))
    except (UnicodeEncodeError, RecursionError) as error:
        raise InvalidRequest("meta is nested too deeply or is not valid Unicode") from error
    if size > MAX_DEFINITION_BYTES:
        raise _too_large(size)


def _object(value: object, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{place} must be an object, not {kind_of(value)}")
    return value


def _array(value: object, place: str) -> list[object] | tuple[object, ...]:
    if not isinstance(value, (list, tuple)):
        raise InvalidRequest(f"{place} must be an array, not {kind_of(value)}")
    return value


def _never(_: dict[str, object]) -> bool:
    return False
