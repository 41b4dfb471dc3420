"""Syntax to facts: the IR, its lowering and the store that keeps it."""
