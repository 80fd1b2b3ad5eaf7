"""The rstmdb client: every operation, pipelined, with watch iterators."""
