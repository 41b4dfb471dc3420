"""A run whose store meets with kill -9, another run, a full or read-only disk, damage or a lock: the same findings.

Each happens for real, to the command in a process of its own.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kgfplint.facts.database import NAME
from kgfplint.facts.store import Store

COPIES = 12
"""Copies of the fixture's drivers in the tree that is linted: enough for several writes and for workers."""


@pytest.fixture(scope="module")
def big(enlarged) -> Path:
    """A tree of some size, old enough that its time stamps are trusted."""
    place = enlarged(COPIES, lambda number: 1 + number % 3)
    for path in place.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return place


@pytest.fixture(scope="module")
def wanted(big, tmp_path_factory) -> bytes:
    """What a run with a new store says."""
    done = lint(big, tmp_path_factory.mktemp("fresh"))
    assert done.returncode == 1 and done.stderr == b"" and done.stdout.count(b"KGF101") >= COPIES
    return done.stdout


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "cache"


def command(*args) -> list[str]:
    return [sys.executable, "-m", "kgfplint", *map(str, args)]


def begin(tree, folder, *, args=("--jobs", 2), **options) -> subprocess.Popen:
    environment = {**os.environ, "KGFPLINT_CACHE": str(folder)}
    return subprocess.Popen(command(tree, *args), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def ended(process: subprocess.Popen) -> subprocess.CompletedProcess:
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def lint(tree, folder, **options) -> subprocess.CompletedProcess:
    return ended(begin(tree, folder, **options))


def good(done, wanted, *notices: bytes) -> None:
    """Check that a run found what it should, and said one line with each of the notices and nothing else."""
    assert done.stdout == wanted
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == len(notices), done.stderr
    for line, notice in zip(lines, notices, strict=True):
        assert line.startswith(b"kgfplint: ") and notice in line


def sound(folder) -> None:
    """Check that the store is there, that SQLite finds it in order, and that it holds facts."""
    connection = sqlite3.connect(folder / NAME)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM facts").fetchone()[0] > 4 * COPIES
    connection.close()


def test_killed_at_any_moment(big, wanted, folder):
    began = time.monotonic()
    good(lint(big, folder), wanted)
    whole = time.monotonic() - began
    chance = random.Random(3)
    for turn in range(12):
        if turn % 4 == 0:
            shutil.rmtree(folder, ignore_errors=True)
        process = begin(big, folder, start_new_session=True)
        time.sleep(whole * chance.random())
        # The group in odd turns; in the others workers must leave by themselves.
        os.killpg(process.pid, signal.SIGKILL) if turn % 2 else process.kill()
        process.communicate()
        if turn % 4 == 3:
            good(lint(big, folder), wanted)
            sound(folder)


def test_killed_as_soon_as_there_is_a_file(big, wanted, folder):
    process = begin(big, folder, start_new_session=True)
    while not (folder / NAME).exists():
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    good(lint(big, folder), wanted)
    sound(folder)


def test_two_runs_at_once(big, wanted, folder):
    for _ in range(2):  # with a new store, and with a full one
        pair = [begin(big, folder), begin(big, folder)]
        for process in pair:
            good(ended(process), wanted)
        sound(folder)


def test_two_runs_at_once_on_a_damaged_store(big, wanted, folder):
    folder.mkdir()
    (folder / NAME).write_bytes(b"SQLite format 3\0" + bytes(9000))
    for done in [ended(process) for process in [begin(big, folder), begin(big, folder)]]:
        assert done.stdout == wanted
        assert done.stderr.count(b"\n") <= 1
    sound(folder)


def test_a_run_while_the_store_is_pruned_and_exported(big, wanted, folder, tmp_path):
    good(lint(big, folder), wanted)
    environment = {**os.environ, "KGFPLINT_CACHE": str(folder)}
    run = begin(big, folder)
    for args in (["prune", "--days", "0", "--size", "0"], ["export", tmp_path / "packed"], ["info"]):
        subprocess.run(command("cache", *args), env=environment, check=True, stdout=subprocess.PIPE)
    good(ended(run), wanted)


def test_a_run_outlives_the_removal_of_its_store(big, wanted, folder):
    good(lint(big, folder), wanted)
    environment = {**os.environ, "KGFPLINT_CACHE": str(folder)}
    for tenths in (2, 4, 6):
        run = begin(big, folder)
        time.sleep(tenths / 10)
        subprocess.run(command("cache", "clear"), env=environment, check=True, stdout=subprocess.PIPE)
        done = ended(run)
        assert done.stdout == wanted and done.returncode == 1
        assert done.stderr.count(b"\n") <= 1
    good(lint(big, folder), wanted)


def test_a_disk_that_is_full(big, wanted, tmp_path):
    """A tmpfs in a mount namespace of the run's own; where that is not allowed, see the next test."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["unshare", "--mount", "--map-root-user", "sh", "-ec",
             f'mount -t tmpfs -o size=$0 kgfplint "{place}"; exec "$@"']  # fmt: skip
    if shutil.which("unshare") is None or subprocess.run([*mount, "64k", "true"], stderr=subprocess.PIPE).returncode:
        pytest.skip("this system lets us mount nothing")
    environment = {**os.environ, "KGFPLINT_CACHE": str(place)}
    for size in ("4k", "40k", "120k"):
        done = subprocess.run([*mount, size, *command(big, "--jobs", "2")], env=environment, capture_output=True)
        good(done, wanted, b"using a temporary store")


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from kgfplint.cli import main
sys.exit(main(sys.argv[2:]))
"""


def limited(size, *args, folder) -> subprocess.CompletedProcess:
    """Run a command to which the disk is full when a file has grown to `size` bytes."""
    environment = {**os.environ, "KGFPLINT_CACHE": str(folder)}
    return subprocess.run([sys.executable, "-c", LIMITED, str(size), *map(str, args)], env=environment, capture_output=True)


@pytest.mark.parametrize("size", [0, 20000, 60000])
def test_files_that_may_not_grow(big, wanted, folder, size):
    """The temporary store cannot grow either: the run ends with a line that says so, and the store stays good."""
    done = limited(size, big, "--jobs", "2", folder=folder)
    assert done.returncode == 2 and done.stdout == b""
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and b"using a temporary store" in lines[0] and b"no place to keep facts" in lines[1]
    good(lint(big, folder), wanted)
    sound(folder)


def test_a_full_store_needs_no_room_to_be_read(big, wanted, folder):
    good(lint(big, folder), wanted)
    size = (folder / NAME).stat().st_size
    good(limited(size, big, folder=folder), wanted)


def test_an_export_or_import_that_finds_no_room_leaves_nothing(folder, tmp_path):
    kept = Store.open(folder / NAME)
    kept.put_results("noise", b"", [(b"k", random.Random(1).randbytes(400_000))])
    kept.close()
    done = limited(100_000, "cache", "export", tmp_path / "packed", folder=folder)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"packed" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    environment = {**os.environ, "KGFPLINT_CACHE": str(folder)}
    subprocess.run(command("cache", "export", tmp_path / "packed"), env=environment, check=True, stdout=subprocess.PIPE)
    other = tmp_path / "other"
    done = limited(200_000, "cache", "import", tmp_path / "packed", folder=other)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and str(other / NAME).encode() in done.stderr
    connection = sqlite3.connect(other / NAME)
    assert connection.execute("SELECT count(*) FROM results").fetchone() == (0,)
    connection.close()


def test_an_import_that_is_killed_leaves_all_or_nothing(big, folder, tmp_path):
    lint(big, folder)
    kept = Store.open(folder / NAME)
    kept.put_results("noise", b"", [(b"%d" % n, random.Random(n).randbytes(2000)) for n in range(5000)])
    kept.close()
    environment = {**os.environ, "KGFPLINT_CACHE": str(folder)}
    subprocess.run(command("cache", "export", tmp_path / "packed"), env=environment, check=True, stdout=subprocess.PIPE)
    seen = set()
    for turn in range(6):
        other = tmp_path / f"other{turn}"
        environment["KGFPLINT_CACHE"] = str(other)
        process = subprocess.Popen(command("cache", "import", tmp_path / "packed"), env=environment, stdout=subprocess.PIPE)
        while not (other / f"{NAME}-wal").exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(turn / 20)
        process.kill()
        process.communicate()
        kept = Store(other / NAME)
        seen.add(len(kept.results("noise", b"")))
        kept.close()
    assert seen <= {0, 5000} and 0 in seen


def test_a_folder_that_cannot_be(big, wanted, tmp_path):
    (tmp_path / "file").write_text("")
    good(lint(big, tmp_path / "file" / "cache"), wanted, b"using a temporary store")


def test_a_folder_that_cannot_be_written(big, wanted, tmp_path):
    """One that even root cannot write to, full and empty."""
    place = tmp_path / "fixed"
    good(lint(big, place), wanted)
    mount = ["unshare", "--mount", "--map-root-user", "sh", "-ec",
             f'mount --bind "{place}" "{place}"; mount -o remount,bind,ro "{place}"; exec "$@"', "sh"]  # fmt: skip
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], stderr=subprocess.PIPE).returncode:
        pytest.skip("this system lets us mount nothing")
    environment = {**os.environ, "KGFPLINT_CACHE": str(place)}
    good(subprocess.run([*mount, *command(big)], env=environment, capture_output=True), wanted, b"using a temporary store")
    shutil.rmtree(place)
    place.mkdir()
    good(subprocess.run([*mount, *command(big)], env=environment, capture_output=True), wanted, b"using a temporary store")


def test_flipped_bytes(big, wanted, folder):
    good(lint(big, folder), wanted)
    content = (folder / NAME).read_bytes()
    chance = random.Random(7)
    for turn in range(8):
        noisy = bytearray(content)
        for _ in range(3 ** (turn % 5)):
            noisy[chance.randrange(len(noisy) if turn % 3 else 4096)] ^= chance.randrange(1, 256)
        for path in folder.iterdir():
            if path.name.startswith(NAME):
                path.unlink()
        (folder / NAME).write_bytes(noisy)
        done = lint(big, folder, args=("--jobs", 1 + turn % 2))
        assert done.stdout == wanted, turn
        lines = done.stderr.splitlines()
        assert len(lines) <= 1 and all(b"damaged" in line and b"anew" in line for line in lines), (turn, lines)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.4, 0.7, 0.99])
def test_a_store_cut_off(big, wanted, folder, share):
    good(lint(big, folder), wanted)
    size = (folder / NAME).stat().st_size
    for suffix in ("-wal", "-shm"):
        Path(f"{folder / NAME}{suffix}").unlink(missing_ok=True)
    os.truncate(folder / NAME, int(size * share))
    again = lint(big, folder)
    # What is cut off at the very end may be nothing that this run asks for.
    good(again, wanted, *([b"damaged"] if share and (share < 0.9 or again.stderr) else []))
    good(lint(big, folder), wanted)


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_log_of_noise(big, wanted, folder, suffix):
    good(lint(big, folder), wanted)
    Path(f"{folder / NAME}{suffix}").write_bytes(random.Random(1).randbytes(50_000))
    good(lint(big, folder), wanted)
    sound(folder)


def test_a_store_that_is_text(big, wanted, folder):
    folder.mkdir()
    (folder / NAME).write_text("Dear diary\n" * 500)
    good(lint(big, folder), wanted, b"anew")
    good(lint(big, folder), wanted)
    sound(folder)


def test_a_store_that_is_another_database(big, wanted, folder):
    folder.mkdir()
    connection = sqlite3.connect(folder / NAME)
    connection.execute("CREATE TABLE facts(of TEXT, life TEXT)")
    connection.close()
    good(lint(big, folder), wanted, b"anew")
    good(lint(big, folder), wanted)
    sound(folder)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_store_that_is_a_folder(big, wanted, folder, suffix):
    (folder / f"{NAME}{suffix}").mkdir(parents=True)
    good(lint(big, folder), wanted, b"using a temporary store")
    assert (folder / f"{NAME}{suffix}").is_dir()


HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("statements", [
    ["BEGIN IMMEDIATE"],
    ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"],
])
def test_a_store_that_is_locked(big, wanted, folder, statements):
    good(lint(big, folder), wanted)
    holder = [sys.executable, "-c", HOLDER, str(folder / NAME), *statements]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        good(lint(big, folder), wanted, b"locked")
        assert process.poll() is None
        process.stdin.close()
    good(lint(big, folder), wanted)
    sound(folder)
