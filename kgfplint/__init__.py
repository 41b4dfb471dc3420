"""kgfplint: a static analysis linter for memory allocation in Linux kernel C."""

__version__ = "0.1.0"
