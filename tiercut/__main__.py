"""python -m tiercut: the ``tiercut`` command."""

import sys

from tiercut.cli import main

if __name__ == "__main__":
    sys.exit(main())
