"""Thin adaptors that carry a session over a socket."""
