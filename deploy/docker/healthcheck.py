"""Whether the server in this container is ready: exit code 0, or 1 and the reason on one line.

Asks /readyz where RSTMDB_METRICS_BIND says that metrics and health are served.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECS = 4
EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 (looked for, not listened on)


def main() -> int:
    """Ask once; the exit code."""
    host, _, port = os.environ.get("RSTMDB_METRICS_BIND", "127.0.0.1:9090").rpartition(":")
    url = f"http://{EVERY_ADDRESS.get(host, host)}:{port}/readyz"
    # A proxy named in the environment is for others.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECS) as answer:
            print(answer.read().decode())
    except urllib.error.HTTPError as error:
        print(f"{url}: {error.code} {error.read().decode(errors='replace')}")
        return 1
    except OSError as error:
        print(f"{url}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
