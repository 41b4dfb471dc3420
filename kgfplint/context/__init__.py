"""Atomic or sleepable: lock effects and held state."""
