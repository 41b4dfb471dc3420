"""Whose memory: allocation families along paths, frees, and what wrappers do."""
