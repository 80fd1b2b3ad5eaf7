"""python -m rstmdb_bench, the same as rstmdb-bench."""

from .main import main

main(prog_name="rstmdb-bench")
