"""The same state with small offsets, for a database that begins its log anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ._idempotency import Remembered
from ._instance import Instance, Tombstone
from ._snapshot import Block, dump, freeze

if TYPE_CHECKING:
    from ._state import State


def _offsets_of(cls: type[Instance | Tombstone | Remembered]) -> tuple[int, ...]:
    names = enumerate(cls.__struct_fields__)
    return tuple(place for place, name in names if name.endswith("offset"))


# Where offsets stand in the rows of a dump.
_PLACES: Final[dict[str, tuple[int, ...]]] = {
    "machines": (3,),
    "instances": _offsets_of(Instance),
    "tombstones": _offsets_of(Tombstone),
    "keys": _offsets_of(Remembered),
}
_META_PLACES: Final = (1, 3)
_META_TOUCHED: Final = 8


def renumbered(state: State) -> State:
    """Return the state with offsets 1, 2, 3, ... in place of its own, in the same order.

    0, which stands for no entry, stays 0. So lists keep their order, and each instance and key is
    as it was but for its offsets. The state given stays as it is.
    """
    known = {0}
    for section, rows in dump(freeze(state)):
        if section == "meta":
            known.update(rows[place] for place in _META_PLACES)
            known.update(rows[_META_TOUCHED].values())
        else:
            known.update(row[place] for place in _PLACES[section] for row in rows)
    numbers = {offset: number for number, offset in enumerate(sorted(known))}
    return type(state).load(_mapped(dump(freeze(state)), numbers))


def _mapped(blocks: Iterable[Block], numbers: dict[int, int]) -> Iterator[Block]:
    for section, rows in blocks:
        if section == "meta":
            meta = list(rows)
            for place in _META_PLACES:
                meta[place] = numbers[meta[place]]
            meta[_META_TOUCHED] = {name: numbers[at] for name, at in meta[_META_TOUCHED].items()}
            yield section, meta
        else:
            yield section, [_with_numbers(row, _PLACES[section], numbers) for row in rows]


def _with_numbers(
    row: Iterable[Any], places: tuple[int, ...], numbers: dict[int, int]
) -> tuple[Any, ...]:
    values = list(row)
    for place in places:
        values[place] = numbers[values[place]]
    return tuple(values)
