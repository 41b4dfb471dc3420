"""Files lowered on an executor: the same facts and findings as here, whatever becomes of it or of its workers.

The Dask cluster is a real one: a scheduler and two workers, each a process of its own, on loopback.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from kgfplint.cli import main
from kgfplint.config import Settings, parse_executor
from kgfplint.engine import RunError, run
from kgfplint.facts import executors, index
from kgfplint.facts.executors import ExecutorError, connected, lend
from kgfplint.facts.store import Store
from kgfplint.report import render
from kgfplint.source.tree import Files, discover

COPIES = 8


@pytest.fixture(scope="module")
def big(enlarged) -> Path:
    """A tree of many files with findings."""
    return enlarged(COPIES)


@pytest.fixture
def many_parts(monkeypatch):
    """Divide even a small tree into many parts."""
    monkeypatch.setattr(index, "CHUNK_BYTES", 1 << 10)


def facts(root: Path, executor: Executor | None) -> dict[str, tuple[object, ...]]:
    """Everything that a store holds of a tree that the executor read."""
    store = Store.temporary()
    try:
        built = index.build(Files(root), discover(root, [root]), store, 1, True, executor=executor)
        assert not built.skipped
        return {path: (key, store.outline(key), [store.bodies(key).body(n) for n in range(len(store.bodies(key)))])
                for path, key in built.keys.items()}
    finally:
        store.close()


class Flawed(Executor):
    """Runs a task at once, unless its turn is one at which the flaw shows."""

    def __init__(self, flaw, every=1):
        self.flaw, self.every, self.turn = flaw, every, 0

    def submit(self, task, /, *args):
        self.turn += 1
        if self.turn % self.every == 0:
            return self.flaw(task, *args)
        done = Future()
        done.set_result(task(*args))
        return done


def refuses(*_):
    raise RuntimeError("cannot schedule new futures after shutdown")


def never_answers(*_):
    return Future()


def cancels(*_):
    future = Future()
    future.cancel()
    future.set_running_or_notify_cancel()
    return future


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_facts_are_the_same_from_any_executor(big, many_parts, kind):
    with kind(2) as executor:
        assert facts(big, executor) == facts(big, None)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("flaw", [refuses, never_answers, cancels])
def test_what_an_executor_does_not_answer_is_done_here(big, many_parts, monkeypatch, caplog, flaw, every):
    monkeypatch.setattr(executors, "PATIENCE", 0.1)
    assert facts(big, Flawed(flaw, every)) == facts(big, None)
    assert len(caplog.messages) == 1 and "done here" in caplog.messages[0]


def test_a_file_that_cannot_be_lowered_is_skipped_with_the_same_reason(big, monkeypatch):
    def failing(data, spare):
        raise ValueError("odd\nsource")

    monkeypatch.setattr(index, "lower", failing)
    with contextlib.closing(Store.temporary()) as store, ThreadPoolExecutor(1) as executor:
        there = index.build(Files(big), ["drivers/demo/ring.c"], store, 1, False, executor=executor)
        here = index.build(Files(big), ["drivers/demo/ring.c"], store, 1, False)
    assert there.skipped == here.skipped == {"drivers/demo/ring.c": "failed: ValueError: odd"}


def test_offers_are_drawn_no_faster_than_they_are_answered():
    drawn = []
    offers = ((number, drawn.append(number)) for number in range(10 * executors.IN_FLIGHT))
    answers = lend(Flawed(None, every=1 << 30), lambda _: "", offers)
    next(answers)
    assert len(drawn) == executors.IN_FLIGHT
    assert sum(1 for _ in answers) == len(drawn) - 1 == 10 * executors.IN_FLIGHT - 1


def test_a_worker_of_another_version_ends_the_run(big):
    def altered(task, sources):
        done = Future()
        try:
            done.set_result(task([(b"key of another version", data) for _, data in sources]))
        except ExecutorError as error:
            done.set_exception(error)
        return done

    with pytest.raises(ExecutorError, match="another version"):
        facts(big, Flawed(altered))


def test_the_url_is_read():
    assert parse_executor("dask://cluster.example.org:8786") == ("cluster.example.org", 8786)
    assert parse_executor("dask://[::1]:8786/") == ("[::1]", 8786)


@pytest.mark.parametrize("url", ["dask", "dask://", "dask://host", "dask://host:0", "dask://host:65536", "dask://:1",
                                 "tcp://host:1", "dask://a b:1", "dask://user@host:1", "dask://host:1/path"])
@pytest.mark.parametrize("command", [["check"], ["callers", "kmalloc"], ["callees", "kmalloc"]])
def test_a_bad_url_is_one_line(tree, capsys, url, command):
    assert main([*command, str(tree), "--executor", url]) == 2
    assert capsys.readouterr().err == f"kgfplint: --executor: expected dask://HOST:PORT, not {url!r}\n"


def test_the_url_may_stand_in_the_config_file(tree, tmp_path, monkeypatch, capsys):
    (tmp_path / "kgfplint.toml").write_text('executor = "dask:host"\n')
    monkeypatch.chdir(tmp_path)
    assert main([str(tree)]) == 2
    assert "kgfplint.toml: executor: expected dask://HOST:PORT" in capsys.readouterr().err


def test_without_the_extra_it_is_named(tree, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([str(tree), "--executor", "dask://127.0.0.1:1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "--executor dask://127.0.0.1:1" in told and "kgfplint[dask]" in told


def test_an_unreachable_scheduler_is_one_line(tree, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECTING", 1)
    assert main([str(tree), "--executor", "dask://127.0.0.1:1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "--executor dask://127.0.0.1:1: no Dask scheduler answers" in told


class Cluster:
    """A Dask scheduler, and workers that are not restarted, as processes on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        place = folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "--port", "0", "--scheduler-file", str(place))
        self.wait(lambda: place.exists() and place.read_text().endswith("}"))
        self.address = json.loads(place.read_text())["address"]
        self.url = self.address.replace("tcp://", "dask://")

    def start(self, kind: str, *args: str, first: str = "") -> subprocess.Popen[bytes]:
        """Start a scheduler or worker; `first` is Python that it runs before."""
        code = f"{first}\nfrom distributed.cli.dask_{kind} import main; main()"
        command = [sys.executable, "-c", code, "--host", "127.0.0.1", "--no-dashboard", *args]
        with open(self.folder / f"{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def worker(self, first: str = "") -> subprocess.Popen[bytes]:
        """Start a worker and wait until the scheduler knows it."""
        number = len(self.processes)
        process = self.start("worker", self.address, "--nthreads", "1", "--no-nanny", first=first)
        log = self.folder / f"{number}.log"
        self.wait(lambda: b"Registered to:" in log.read_bytes())
        return process

    def wait(self, ready) -> None:
        """Wait until something is so; a cluster that does not come up is a failure."""
        for _ in range(1200):
            if ready():
                return
            time.sleep(0.05)
        raise TimeoutError("".join(path.read_text() for path in self.folder.glob("*.log")))


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    started = Cluster(tmp_path)
    try:
        yield started
    finally:
        for process in started.processes:
            process.kill()
            process.wait()


def report(root: Path, folder: Path, monkeypatch, progress=lambda *_: None, executor: str = "") -> str:
    """The JSON of a run with a store of its own, but for the seconds."""
    monkeypatch.setenv("KGFPLINT_CACHE", str(folder))
    done = json.loads("".join(render("json", run([root], Settings(jobs=1, executor=executor), progress), False)))
    assert done["stats"].pop("seconds")
    return json.dumps(done)


def killing(process: subprocess.Popen[bytes], parts: list[int]):
    """Return a progress function that kills a process as soon as a first part of the files is done."""

    def told(stage: str, done: int, total: int) -> None:
        if stage == "facts":
            parts.append(done)
            if len(parts) == 2:
                assert done < total and process.poll() is None
                process.send_signal(signal.SIGKILL)
                process.wait()

    return told


@pytest.mark.parametrize("victim", ["worker", "scheduler"])
def test_dask_gives_the_same_findings_though_one_is_killed_midway(big, cluster, tmp_path, monkeypatch, many_parts, caplog,
                                                                          victim):
    workers = [cluster.worker(), cluster.worker()]
    wanted = report(big, tmp_path / "here", monkeypatch)
    assert wanted.count("KGF101") >= COPIES
    assert report(big, tmp_path / "there", monkeypatch, executor=cluster.url) == wanted
    if victim != "worker":  # the other worker answers sooner or later, however busy the machine is
        monkeypatch.setattr(executors, "PATIENCE", 5)
    parts: list[int] = []
    progress = killing(workers[0] if victim == "worker" else cluster.scheduler, parts)
    assert report(big, tmp_path / "killed", monkeypatch, progress, cluster.url) == wanted
    assert len(parts) > 10
    assert all("done here" in message for message in caplog.messages)
    assert bool(caplog.messages) == (victim == "scheduler")  # Dask itself runs again what a worker took with it


def test_a_file_that_kills_every_worker_does_not_end_the_run(big, cluster, tmp_path, monkeypatch, caplog):
    deadly = "import os, kgfplint.facts.index as index; index.lower = lambda *_: os._exit(9)"
    for _ in range(5):
        cluster.worker(deadly)
    wanted = report(big, tmp_path / "here", monkeypatch)
    monkeypatch.setattr(executors, "PATIENCE", 2)
    assert report(big, tmp_path / "there", monkeypatch, executor=cluster.url) == wanted
    assert any("done here" in message for message in caplog.messages)


def test_commands_use_the_cluster(big, cluster, tmp_path):
    cluster.worker()
    command = [sys.executable, "-m", "kgfplint", "callers", "demo_frame_alloc", str(big), "--no-cache"]
    here = subprocess.run(command, capture_output=True)
    there = subprocess.run([*command, "--executor", cluster.url], capture_output=True,
                           env={**os.environ, "KGFPLINT_CACHE": str(tmp_path / "cache")})
    assert here.stdout
    assert (there.returncode, there.stdout, there.stderr) == (0, here.stdout, b"")


def test_a_cluster_of_another_version_is_refused(tree, cluster):
    with pytest.raises(RunError, match=f"--executor {cluster.url}: the scheduler has no workers"):
        run([tree], Settings(executor=cluster.url))
    former = cluster.worker("import kgfplint.facts.store as store; store.facts_version = lambda: bytes(16)")
    with pytest.raises(RunError, match=r"worker tcp://.* runs kgfplint .*000000000000.*; here is kgfplint"):
        run([tree], Settings(executor=cluster.url))
    former.kill()
    former.wait()


def test_no_url_is_no_executor():
    with connected("") as executor:
        assert executor is None
