"""The client that users already have, driven in a process and an environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

Json = Any


class Raised(Exception):
    """What the shipped client raised: its class names, innermost first, and its error code."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['module']}.{error['classes'][0]}: {error['message']}")
        self.classes: list[str] = error["classes"]
        self.module: str = error["module"]
        self.code: str | None = error["code"]
        self.message: str = error["message"]


class Shipped:
    """The process with the client in it. Objects in it are made once and named."""

    def __init__(self, python: Path, driver: Path) -> None:
        self.called: set[str] = set()
        self._made = 0
        self._process = subprocess.Popen(
            [python, "-I", driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def order(self, do: str, **order: Json) -> Json:
        """Have one order carried out; Raised where the client raised."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the driver ended with {self._process.wait(5)}"
        answer = json.loads(line)
        if "error" in answer:
            raise Raised(answer["error"])
        return answer["ok"]

    def make(self, what: str, *args: Json, **kwargs: Json) -> Thing:
        """Make an object: a class or function of the package, called."""
        self._made += 1
        name = f"{what}-{self._made}"
        self.order("make", name=name, what=what, args=args, kwargs=kwargs)
        self.called.add(what)
        return Thing(self, name, what)

    def static(self, what: str) -> Thing:
        """A class of the package itself, for its class methods."""
        return Thing(self, what, what)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def __enter__(self) -> Shipped:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Thing:
    """An object in the driver's process."""

    def __init__(self, shipped: Shipped, name: str, kind: str) -> None:
        self._shipped = shipped
        self._kind = kind
        self.reference = {"object": name}
        self.name = name

    def call(self, what: str, *args: Json, **kwargs: Json) -> Json:
        """Call a method and wait for it where it is a coroutine."""
        self._shipped.called.add(f"{self._kind}.{what}")
        return self._shipped.order("call", name=self.name, what=what, args=args, kwargs=kwargs)

    def get(self, what: str) -> Json:
        """The value of an attribute."""
        self._shipped.called.add(f"{self._kind}.{what}")
        return self._shipped.order("get", name=self.name, what=what)

    def events(self, count: int, *, fresh: bool = False) -> list[dict[str, Any]]:
        """The next `count` events of its stream, or of a fresh one; fewer where that ends."""
        self._shipped.called.add(f"{self._kind}.events")
        events: list[dict[str, Any]] = self._shipped.order(
            "events", name=self.name, count=count, fresh=fresh
        )
        return events

    def together(self, *calls: tuple[str, dict[str, Json]]) -> Json:
        """Make calls at the same time; their results in the order given."""
        orders = [{"do": "call", "name": self.name, "what": w, "kwargs": k} for w, k in calls]
        return self._shipped.order("together", orders=orders)
