"""Runs the command line with `python -m daif`."""

import sys

from daif.cli import main

if __name__ == "__main__":
    sys.exit(main())
