"""The embedded rstmdb database: engine, log, snapshots, compaction."""
