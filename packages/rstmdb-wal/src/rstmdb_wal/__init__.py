"""A write-ahead log of (kind, bytes): checksummed records, segments, group commit, recovery."""
