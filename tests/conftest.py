"""Every test has a store of its own and none of the user's settings."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("untimed")

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


@pytest.fixture(scope="session")
def enlarged(tmp_path_factory) -> Callable[..., Path]:
    """Makes a copy of the small tree with so many more drivers, the n-th with its text `repeats(n)` times."""

    def make(copies: int, repeats: Callable[[int], int] = lambda _: 1) -> Path:
        place = tmp_path_factory.mktemp("big") / "tree"
        shutil.copytree(TREE, place)
        for number in range(copies):
            shutil.copytree(place / "drivers" / "demo", place / "drivers" / f"demo{number}")
            for path in (place / "drivers" / f"demo{number}").glob("*.[ch]"):
                path.write_bytes(path.read_bytes().replace(b"demo_", b"demo%d_" % number) * repeats(number))
        return place

    return make
