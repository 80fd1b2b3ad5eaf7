"""`python -m rstmdb_server` is `rstmdb-server`."""

from .main import main

if __name__ == "__main__":
    main(prog_name="rstmdb-server")
