"""How state changes: append, then evolve; how that is undone, and when it may be shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import rstmdb_core as core
from rstmdb_core import InvalidRequest, Rejection
from rstmdb_wal import BatchTooLarge, FlushResult, Log, LogFailed, RecordTooLarge

from ._commands import Answer, Commands
from ._errors import BatchAborted, WriteFailed

__all__ = ["Feed", "Recording"]

Feed = list[tuple[int, core.Entry]]
"""Released entries with their offsets, in log order."""


class Recording(Commands):
    """The part of a Store that writes."""

    log: Log
    monotonic: Callable[[], int]
    appended: int
    epoch: int
    floors: list[int]
    listener: Callable[[Feed], None] | None
    _checkpoint: int
    _timed: bool
    _append: Callable[[int, bytes], int]
    _encode: Callable[[core.Entry], bytes]
    _kinds: dict[type[core.Entry], int]
    _feed: deque[tuple[int, core.Entry]]

    # -- writes ---------------------------------------------------------------------------

    def record(self, entry: core.Entry) -> int:
        """Append, then evolve: the one way in which state changes.

        Raises WriteFailed, and InvalidRequest for what no record can hold.
        """
        try:
            offset = self._append(self._kinds[type(entry)], self._encode(entry))
        except LogFailed as error:
            raise WriteFailed(str(error), final=True) from error
        except RecordTooLarge as error:
            raise InvalidRequest(str(error)) from error
        except core.UNSTORABLE:
            core.encode_entry(entry)  # says what is wrong with it
            raise
        self.state.evolve(entry, offset)
        self._feed.append((offset, entry))
        self.appended += 1
        return offset

    def batch(
        self,
        commands: Sequence[Callable[[], Answer]],
        *,
        atomic: bool,
        check: Callable[[list[Any]], None] | None = None,
    ) -> tuple[list[Any], int]:
        """Run commands as one unit of the log.

        `atomic`: all or nothing, and later commands see what earlier ones did; the first
        refusal undoes everything and raises BatchAborted. Else each stands alone and its
        Rejection takes the place of its result. `check` sees the results before anything
        is kept; what it raises undoes everything, too.
        """
        try:
            return self._batch(commands, atomic, check)
        except BatchTooLarge:
            # Only a batch that begins a segment may be as long as it needs to be.
            self.log.rotate()
            return self._batch(commands, atomic, check)

    def _batch(
        self,
        commands: Sequence[Callable[[], Answer]],
        atomic: bool,
        check: Callable[[list[Any]], None] | None,
    ) -> tuple[list[Any], int]:
        log = self.log
        before = log.head
        try:
            log.begin_batch(atomic=atomic)
        except LogFailed as error:
            raise WriteFailed(str(error), final=True) from error
        self._append = log.stage
        try:
            results, depends_on = self._run_commands(commands, atomic, before)
            if check is not None:
                check(results)
            log.commit_batch()
        except BaseException:
            log.abort_batch()
            self._undo(before)
            raise
        finally:
            self._append = log.append
        return results, depends_on

    @staticmethod
    def _run_commands(
        commands: Sequence[Callable[[], Answer]], atomic: bool, before: int
    ) -> tuple[list[Any], int]:
        results: list[Any] = []
        depends_on = 0
        for index, command in enumerate(commands):
            try:
                result, offset = command()
            except Rejection as rejection:
                if atomic:
                    # That the commands before it were accepted is told, too. What this very
                    # batch did never was.
                    rested_on = before if index else rejection.depends_on
                    rejection.depends_on = min(rested_on, before)
                    raise BatchAborted(index, rejection) from rejection
                result, offset = rejection, rejection.depends_on
            results.append(result)
            depends_on = max(depends_on, offset)
        return results, depends_on

    def _undo(self, after: int) -> None:
        """Put back the state as it was right after the record at `after`."""
        self.state.rollback(after)
        feed = self._feed
        while feed and feed[-1][0] > after:
            if type(feed.pop()[1]) is not core.Checkpoint:
                self.appended -= 1
        if self._checkpoint > after:
            self._checkpoint = 0

    # -- flushing -------------------------------------------------------------------------

    def begin_flush(self, *, force_sync: bool = False) -> Any:
        """Take what is queued as a Flush whose `run` does the I/O on any thread, or None."""
        now_ms = self.monotonic() if self._timed else 0
        return self.log.begin_flush(now_ms, force_sync=force_sync)

    def end_flush(self, flush: Any) -> FlushResult:
        """Take in a finished flush: release what it wrote, or undo what it could not.

        After a failure everything decided since the last released record is undone; whoever
        waits for an offset above `released` gets WAL_IO_ERROR.
        """
        result: FlushResult = self.log.end_flush(flush)
        if result.failed is not None:
            self.epoch += 1
            self.floors.append(result.released)
            self._undo(result.released)
        self._show(result.released)
        return result

    def write_in_place(self) -> bool:
        """Write and release what is queued, where that takes one plain write; blocks for it.

        False where it takes a flush, and where the write failed: the flush tells.
        """
        if not self.log.write_in_place(self.monotonic() if self._timed else 0):
            return False
        self._show(self.log.released)
        return True

    def _show(self, released: int) -> None:
        self.state.released(released)
        feed = self._feed
        if self.listener is None:
            if feed and feed[-1][0] <= released:
                feed.clear()
            else:
                while feed and feed[0][0] <= released:
                    feed.popleft()
            return
        shown: Feed = []
        while feed and feed[0][0] <= released:
            shown.append(feed.popleft())
        self.listener(shown)

    def flush_blocking(self, *, force_sync: bool = False) -> None:
        """Flush in place. Raises WriteFailed."""
        try:
            flush = self.begin_flush(force_sync=force_sync)
        except LogFailed as error:
            raise WriteFailed(str(error), final=True) from error
        if flush is not None:
            flush.run()
            result = self.end_flush(flush)
            if result.failed is not None:
                raise WriteFailed(
                    f"the log could not be written: {result.error}",
                    final=result.failed == "fatal",
                )
