"""Who is told of each request: the log at level debug, OpenTelemetry where it is enabled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import request_log

if TYPE_CHECKING:
    from .hub import Hub
    from .tracing import Tracing

__all__ = ["Observation"]


class Observation:
    """Costs nothing where nobody wants to know: then the hub has no observer at all."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._tracing: Tracing | None = None
        if hub.config.tracing.enabled:
            from .tracing import Tracing  # of an extra, and slow to import

            self._tracing = Tracing()
        self.renew()

    def renew(self) -> None:
        """Take up what the level of the log is now."""
        observers = [request_log.log_answered] if request_log.wanted() else []
        if self._tracing is not None:
            observers.append(self._tracing.observe)
        self._hub.observe_with(observers)

    def close(self) -> None:
        """Hand over what is still on its way; waits a few seconds at most."""
        if self._tracing is not None:
            self._tracing.close()
