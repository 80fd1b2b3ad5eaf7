"""Command lines to begin with, which help shows below the options.

They tell one story, an order that is paid and shipped, in the order of the commands.
"""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "put-machine": (
        "put-machine -n order -v 1 '{",
        '    "states": ["created", "paid", "shipped"], "initial": "created",',
        '    "transitions": [',
        '      {"from": "created", "event": "PAY", "to": "paid", "guard": "ctx.amount > 0"},',
        '      {"from": "paid", "event": "SHIP", "to": "shipped"}]}\'',
        "put-machine -n order -v 2 @order.json",
    ),
    "get-machine": (
        "get-machine order",
        "get-machine order 1 --diagram",
        "get-machine order --svg order.svg",
    ),
    "create-instance": (
        "create-instance -m order -V 1 -i order-1 -c '{\"amount\": 10}'",
        "create-instance -m order -V 1",
    ),
    "get-instance": (
        "get-instance order-1",
        "get-instance order-1 --svg order-1.svg",
    ),
    "list-instances": (
        "list-instances --machine order --state paid",
        "-o ndjson list-instances --limit 1000",
    ),
    "apply-event": (
        "apply-event -i order-1 -e PAY",
        'apply-event -i order-1 -e SHIP -p \'{"parcel": "42"}\' --expected-state paid',
    ),
    "delete-instance": ("delete-instance order-1",),
    "batch": (
        "batch orders.jsonl",
        "batch --atomic orders.jsonl",
    ),
    "watch-instance": ("watch-instance order-1",),
    "watch-all": (
        "watch-all --machines order --to-states paid,shipped",
        "watch-all --from-offset 0 | jq .event",
    ),
    "top": (
        "top",
        "-o ndjson top --interval 5 --count 3",
    ),
    "wal-read": ("wal-read --from 0 --limit 5",),
    "restore": ("restore backups/monday data",),
    "repair": ("repair data",),
    "dump": ("dump data >records.jsonl",),
    "completion": ("completion bash >>~/.bashrc",),
}
"""What stands behind `rstmdb-cli`; a line that begins with a blank continues the one before."""
