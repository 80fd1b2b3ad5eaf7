"""`python -m rstmdb_cli` is `rstmdb-cli`."""

from .main import main

if __name__ == "__main__":
    main(prog_name="rstmdb-cli")
