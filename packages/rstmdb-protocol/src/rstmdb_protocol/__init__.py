"""RCP, the wire protocol of rstmdb: frames, JSON lines, typed messages, a sans-IO connection."""
