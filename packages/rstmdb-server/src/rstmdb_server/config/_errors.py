"""What is raised for settings that the server must not start on."""

from __future__ import annotations

__all__ = ["ConfigError"]


class ConfigError(ValueError):
    """A setting that is unknown, does not parse, is out of range, or can't work.

    The message is one line for the user: where the setting stands (file and line, variable
    or option), its key, its value, and what is allowed. It never holds a token or a hash.
    """
