"""FileFacts of all files to one Program: linking, call graph, types and struct fields."""

from kgfplint.program.link import CallEdge, Program, Row, link

__all__ = ["CallEdge", "Program", "Row", "link"]
