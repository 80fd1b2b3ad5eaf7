"""Typed messages, grouped by subject as in docs/reference/wire-protocol."""
