"""Draws the diagrams of the documentation as SVG: `python docs/images/draw.py`.

No colour depends on the page's, so that they read on light and dark alike: white on filled boxes,
a middle grey for lines and what is written beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

BLUE, GREEN, RED, GREY, VIOLET = "#1f5f8b", "#2e7d4f", "#a8423f", "#5b6670", "#6b4c9a"
LINE = "#7b858f"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle with lines of text in its middle."""

    x: int
    y: int
    width: int
    height: int
    text: str
    colour: str = BLUE

    def svg(self) -> str:
        """The elements."""
        lines = self.text.split("\n")
        middle = self.x + self.width / 2
        first = self.y + self.height / 2 - (len(lines) - 1) * 9 + 5
        shown = [
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" '
            f'rx="6" fill="{self.colour}"/>'
        ]
        for number, line in enumerate(lines):
            size = 14 if number == 0 else 12
            shown.append(
                f'<text x="{middle:g}" y="{first + 18 * number:g}" font-size="{size}" '
                f'fill="#fff" text-anchor="middle">{escape(line)}</text>'
            )
        return "\n".join(shown)


@dataclass(slots=True)
class Picture:
    """A canvas; everything on it in the order of drawing."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(self, x: int, y: int, width: int, height: int, text: str, colour: str = BLUE) -> Box:
        """Draw a box."""
        made = Box(x, y, width, height, text, colour)
        self.parts.append(made.svg())
        return made

    def frame(self, x: int, y: int, width: int, height: int, text: str) -> None:
        """Draw a dashed frame with its name in the upper left corner."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="none" '
            f'stroke="{LINE}" stroke-dasharray="5 4"/>'
        )
        self.note(x + 12, y + 19, text, "start")

    def note(self, x: int, y: int, text: str, anchor: str = "middle") -> None:
        """Write beside the boxes."""
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="12" fill="{LINE}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def arrow(self, *points: tuple[int, int], dashed: bool = False) -> None:
        """Draw a line through the points, with a head at the last."""
        path = "M" + " L".join(f"{x} {y}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6"{dash} '
            f'marker-end="url(#head)"/>'
        )

    def svg(self) -> str:
        """The file."""
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" font-family="{FONT}">\n'
            f"<title>{escape(self.title)}</title>\n"
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 L10 5 L0 10 z" '
            f'fill="{LINE}"/></marker></defs>\n{body}\n</svg>\n'
        )


def write_path() -> Picture:
    """Decide, record, evolve, release."""
    it = Picture(760, 190, "A command is decided, recorded, applied, and answered once it is safe")
    names = [
        ("command", GREY), ("decide\nstate → entry", BLUE), ("append\nto the log", GREEN),
        ("evolve\nentry → state", BLUE), ("answer,\nwatchers", GREY),
    ]  # fmt: skip
    for at, (name, colour) in enumerate(names):
        it.box(10 + 152 * at, 30, 116, 56, name, colour)
        if at:
            it.arrow((126 + 152 * (at - 1), 58), (10 + 152 * at, 58))
    it.box(314, 124, 116, 44, "fdatasync", GREEN)
    it.arrow((372, 86), (372, 124))
    it.arrow((430, 146), (676, 146), (676, 86))
    it.note(560, 138, "released: only now may it be shown")
    it.arrow((220, 86), (220, 146), (196, 146))
    it.note(190, 150, "refused: nothing changes", "end")
    return it


def packages() -> Picture:
    """Who stands on whom."""
    it = Picture(770, 350, "The eight distributions; an arrow means: imports")
    it.box(20, 20, 130, 48, "rstmdb-cli")
    it.box(170, 20, 130, 48, "rstmdb-bench")
    it.box(490, 20, 150, 48, "rstmdb-server", VIOLET)
    it.box(95, 130, 130, 48, "rstmdb-client")
    it.box(530, 130, 150, 48, "rstmdb-storage\nengine + log + files", GREEN)
    it.box(270, 250, 150, 52, "rstmdb-protocol\nframes, messages")
    it.box(450, 250, 130, 52, "rstmdb-core\nthe engine", GREEN)
    it.box(610, 250, 130, 52, "rstmdb-wal\nthe log", GREEN)
    it.arrow((85, 68), (140, 130))
    it.arrow((235, 68), (180, 130))
    it.arrow((160, 178), (160, 276), (270, 276))
    it.arrow((575, 68), (600, 130))
    it.arrow((520, 68), (345, 250))
    it.arrow((575, 178), (515, 250))
    it.arrow((640, 178), (675, 250))
    it.arrow((60, 68), (60, 334), (758, 334), (758, 154), (680, 154), dashed=True)
    it.note(72, 326, "with the extra offline: tools for stopped directories", "start")
    return it


def group_commit() -> Picture:
    """What arrives during one flush goes out with the next."""
    it = Picture(760, 240, "What arrives while one flush runs goes out together with the next")
    it.note(10, 46, "requests", "start")
    it.note(10, 116, "disk", "start")
    it.note(10, 196, "answers", "start")
    for at, x in enumerate((110, 180, 215, 250, 300, 345, 388, 424)):
        it.box(x, 30, 26, 24, str(at + 1), GREY)
    it.box(110, 92, 170, 36, "write 1, sync", GREEN)
    it.box(284, 92, 170, 36, "write 2 3 4, sync", GREEN)
    it.box(458, 92, 190, 36, "write 5 6 7 8, sync", GREEN)
    it.box(268, 180, 26, 24, "1", BLUE)
    for at, x in enumerate((440, 470, 500)):
        it.box(x, 180, 26, 24, str(at + 2), BLUE)
    for at, x in enumerate((632, 662, 692, 722)):
        it.box(x, 180, 26, 24, str(at + 5), BLUE)
    it.arrow((123, 54), (123, 92))
    for x in (193, 228, 263):
        it.arrow((x, 54), (300, 92))
    for x in (313, 358, 401, 437):
        it.arrow((x, 54), (472, 92))
    it.arrow((280, 128), (281, 180))
    it.arrow((454, 128), (483, 180))
    it.arrow((648, 128), (690, 180))
    it.arrow((110, 226), (740, 226))
    it.note(700, 220, "time")
    return it


def recovery() -> Picture:
    """Snapshot, segments, and where the log is cut."""
    it = Picture(760, 220, "Recovery loads the newest snapshot and replays the log behind it")
    it.box(20, 40, 180, 52, "snapshot at offset H\nwhole state", VIOLET)
    it.box(20, 140, 150, 44, "segment 1", GREY)
    it.box(176, 140, 150, 44, "segment 2", GREEN)
    it.box(332, 140, 150, 44, "segment 3", GREEN)
    it.box(488, 140, 90, 44, "segment 4", GREEN)
    it.box(578, 140, 40, 44, "torn", RED)
    it.arrow((200, 60), (250, 60), (250, 140))
    it.note(262, 76, "replay from here", "start")
    it.arrow((260, 124), (572, 124))
    it.note(95, 204, "covered: compaction deletes it")
    it.arrow((598, 140), (598, 80), (640, 80))
    it.box(640, 54, 110, 52, ".broken\nkept aside", RED)
    it.note(598, 204, "cut")
    return it


def subscription() -> Picture:
    """Live and behind."""
    it = Picture(760, 190, "A subscription is live, or behind; there is no queue")
    it.box(60, 60, 190, 60, "live\nserved by each flush", GREEN)
    it.box(510, 60, 190, 60, "behind\nreads the log from its position", BLUE)
    it.arrow((250, 76), (510, 76))
    it.note(380, 66, "its socket takes no more")
    it.arrow((510, 104), (250, 104))
    it.note(380, 124, "its position has reached the newest record")
    it.arrow((605, 120), (605, 160), (420, 160))
    it.box(270, 142, 150, 38, "ended, and told so", RED)
    it.note(612, 156, "compacted away", "start")
    return it


def order_machine() -> Picture:
    """The machine of the tutorial."""
    it = Picture(760, 200, "The order machine: created, paid, shipped, delivered, cancelled")
    for x, name in ((20, "created"), (230, "paid"), (440, "shipped")):
        it.box(x, 40, 110, 46, name)
    it.box(640, 40, 110, 46, "delivered", GREEN)
    it.arrow((130, 63), (230, 63))
    it.note(180, 54, "PAY")
    it.note(180, 80, "amount > 0")
    it.arrow((340, 63), (440, 63))
    it.note(390, 54, "SHIP")
    it.note(390, 80, "address")
    it.arrow((550, 63), (640, 63))
    it.note(595, 54, "DELIVER")
    it.box(230, 140, 110, 46, "cancelled", RED)
    it.arrow((75, 86), (75, 163), (230, 163))
    it.arrow((285, 86), (285, 140))
    it.note(150, 156, "CANCEL")
    it.note(294, 118, "CANCEL", "start")
    return it


PICTURES = {
    "write-path": write_path,
    "packages": packages,
    "group-commit": group_commit,
    "recovery": recovery,
    "subscription": subscription,
    "order-machine": order_machine,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        Path(__file__).with_name(f"{name}.svg").write_text(draw().svg())
