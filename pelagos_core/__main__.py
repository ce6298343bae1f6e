"""`python -m pelagos_core` is the `pelagos` command."""

from pelagos_core.cli.main import main

if __name__ == "__main__":
    main()
