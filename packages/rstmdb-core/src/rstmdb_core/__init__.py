"""The rstmdb engine: machine definitions, guards, instances, decide and evolve; pure, no I/O."""
