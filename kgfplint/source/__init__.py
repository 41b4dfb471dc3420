"""The source stage: bytes of one file to a syntax tree, and the tree of files."""
