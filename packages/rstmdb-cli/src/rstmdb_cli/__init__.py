"""rstmdb-cli, the command line of rstmdb."""
