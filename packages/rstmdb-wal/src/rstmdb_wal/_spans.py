"""CRC32C of any span of a file at a price that does not grow with the span.

What lies behind damage may have been written by a client, and hold a great many headers that look
right and claim megabytes of payload each. To read each payload would take time in proportion to
the square of the size. A CRC is linear: with A|B for A followed by B,

    crc(A|B) = shift(crc(A), length of B) ^ crc(B)

where shift multiplies by x^(8 * length) modulo the polynomial. So the CRC of a span follows from
those of the two prefixes that end where it begins and where it ends, and these are known at every
kilobyte (the identity is that of zlib's crc32_combine).
"""

from __future__ import annotations

from functools import cache

from crc32c import crc32c

from rstmdb_wal.fs import File, read_full

_POLYNOMIAL = 0x82F63B78  # Castagnoli, the lowest power in the highest bit
_ONE = 1 << 31  # x^0
_BLOCK_BYTES = 1024
_READ_BYTES = 64 * _BLOCK_BYTES


class SpanSums:
    """Sums over a file from ``start`` on. Positions asked for must not fall by far.

    Memory: four bytes and an object for each kilobyte between the lowest position that is still
    of interest (see ``forget``) and the highest asked for.
    """

    __slots__ = ("_file", "_first", "_start", "_sums")

    def __init__(self, file: File, start: int) -> None:
        self._file = file
        self._start = start
        self._first = 0  # the block that the first sum ends before
        self._sums = [0]

    def crc(self, begin: int, end: int, value: int = 0) -> int:
        """Return ``crc32c(bytes from begin to end, value)``. Raises ``OSError``."""
        return self._up_to(end) ^ _shift(value ^ self._up_to(begin), end - begin)

    def forget(self, position: int) -> None:
        """Nothing before ``position`` will be asked for any more."""
        behind = (position - self._start) // _BLOCK_BYTES - self._first
        if behind > _READ_BYTES // _BLOCK_BYTES:
            del self._sums[:behind]
            self._first += behind

    def _up_to(self, position: int) -> int:
        block, rest = divmod(position - self._start, _BLOCK_BYTES)
        at = block - self._first
        while at >= len(self._sums):
            self._go_on()
        if not rest:
            return self._sums[at]
        return crc32c(read_full(self._file, rest, position - rest), self._sums[at])

    def _go_on(self) -> None:
        blocks = self._first + len(self._sums) - 1
        data = read_full(self._file, _READ_BYTES, self._start + blocks * _BLOCK_BYTES)
        data = data.ljust(_READ_BYTES, b"\0")  # of what lies behind the end nothing is asked
        total = self._sums[-1]
        for at in range(0, _READ_BYTES, _BLOCK_BYTES):
            total = crc32c(data[at : at + _BLOCK_BYTES], total)
            self._sums.append(total)


def _shift(value: int, count: int) -> int:
    """Return the CRC ``value`` as ``count`` (at most 2**24) bytes behind it change it."""
    for place in (0xFF, 0xFF00, 0xFF0000, 0xFF000000):
        if count & place:
            value = _product(_power(count & place), value)
    return value


@cache
def _power(count: int) -> int:
    """Return x^(8 * count) modulo the polynomial."""
    result, square, bits = _ONE, _ONE >> 1, 8 * count
    while bits:
        if bits & 1:
            result = _product(square, result)
        square = _product(square, square)
        bits >>= 1
    return result


def _product(a: int, b: int) -> int:
    """Return a * b modulo the polynomial, over the field of two elements."""
    result = 0
    while a:
        if a & _ONE:
            result ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return result
