"""Every test has a store of its own and none of the user's settings."""

import os
from pathlib import Path

import pytest

TREE = Path(__file__).parent / "fixtures" / "tree"


@pytest.fixture(autouse=True)
def _apart(tmp_path_factory, monkeypatch):
    for name in [name for name in os.environ if name.startswith("KGFPLINT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KGFPLINT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def tree() -> Path:
    """The small kernel tree of the fixtures."""
    return TREE
