"""Programs that measure the whole: `nox -s goals`, `bench`, `bench-check`, `agree`."""
