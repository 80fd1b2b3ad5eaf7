"""Live subscriptions: every matching released event exactly once and in log order.

A subscription is a position in the log. While it keeps up it is *live*: each flush hands it
the events that it released. When its session's output is full it stops being live and costs
a position, not memory; the log is then read from there, and it goes live again at a moment
when nothing lies between the two. docs/explanation/subscriptions.md tells the promise.
"""

from __future__ import annotations

from ._filter import EventFilter
from ._registry import Subscriptions
from ._subscription import Subscription

__all__ = ["EventFilter", "Subscription", "Subscriptions"]
