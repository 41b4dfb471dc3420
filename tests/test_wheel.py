"""The wheel: installed in an environment of its own, away from the checkout, it lints with its own rules."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "kgfplint", "rules")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in SHIPPED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (CHECKOUT / name).exists():
            shutil.copy(CHECKOUT / name, source)
    # Without isolation: the build backend is one of our own development packages.
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source)
    return next(place.glob("*.whl"))


def pip(*args) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_carries_every_file_of_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    data = [path for folder in ("rules", "kgfplint/report/page") for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
    assert data
    there = {path.relative_to(CHECKOUT).as_posix() for path in data}
    assert not {f"kgfplint/{path.removeprefix('kgfplint/')}" for path in there} - names
    assert not [name for name in names if name.startswith("tests/")]


def test_the_wheel_lints_on_its_own(wheel, tree, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip("--python", environment / "bin" / "python", "install", wheel)
    command = environment / "bin" / "kgfplint"
    done = subprocess.run([command, "--format", "json", tree], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert document["stats"]["files"] == 10
    assert document["stats"]["functions"] > 5
    listed = subprocess.run([command, "rules"], cwd=tmp_path, capture_output=True, text=True, check=True)
    here = subprocess.run([sys.executable, "-m", "kgfplint", "rules"], cwd=CHECKOUT, capture_output=True, text=True,
                          check=True)
    assert listed.stdout == here.stdout
