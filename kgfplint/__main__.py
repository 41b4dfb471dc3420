"""`python -m kgfplint` is the same as `kgfplint`."""

import sys

from kgfplint.cli import main

if __name__ == "__main__":
    sys.exit(main())
