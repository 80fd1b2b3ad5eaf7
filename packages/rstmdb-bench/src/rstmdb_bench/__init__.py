"""rstmdb-bench, a closed-loop load generator for RCP servers."""
