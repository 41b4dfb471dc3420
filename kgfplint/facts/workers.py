"""Worker processes: a parallel map that outlives a crash of the code it runs.

py-tree-sitter holds the interpreter lock while it parses, so threads would not help.
"""

import concurrent.futures
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cpus() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A pool of processes, started on first use and again after one of them died, or when they served long enough.

    A forked process shares the memory of its parent until it, or the parent, looks at it: each reference that is counted
    copies a page. New processes share everything again.
    """

    def __init__(self, jobs: int, before_fork: Callable[[], None], lifetime: int = sys.maxsize) -> None:
        """Run at most `jobs` processes; call before_fork just before they start. None takes much more than `lifetime` items."""
        self._jobs = jobs
        self._before_fork = before_fork
        self._lifetime = lifetime * jobs
        self._served = 0
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        """Return the pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what has not begun and let the processes go."""
        self.close()

    def close(self) -> None:
        """Drop what has not begun and let the processes go."""
        self._served = 0
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, task: Callable[[Sequence[Item]], Result],
            chunks: Sequence[Sequence[Item]]) -> Iterator[tuple[Sequence[Item], Result | None]]:
        """Yield (chunk, task(chunk)) as they come; the result is None for one item that kills its process.

        Chunks may come back divided. Exceptions of the task are raised here.
        """
        together: list[Sequence[Item]] = []
        for chunk in chunks:
            if self._served >= self._lifetime:
                yield from self._map(task, together)
                together = []
                self.close()
            together.append(chunk)
            self._served += len(chunk)
        yield from self._map(task, together)

    def _map(self, task: Callable[[Sequence[Item]], Result],
             chunks: Sequence[Sequence[Item]]) -> Iterator[tuple[Sequence[Item], Result | None]]:
        waiting = list(chunks)
        while waiting:
            self._pool = self._pool or self._start(self._jobs)
            futures = {self._pool.submit(task, chunk): number for number, chunk in enumerate(waiting)}
            lost = []
            for future in concurrent.futures.as_completed(futures):
                number = futures.pop(future)
                try:
                    yield waiting[number], future.result()
                except BrokenProcessPool:
                    lost.append(number)
            waiting = [waiting[number] for number in sorted(lost)]
            if waiting:
                self.close()
                # The culprit is among the first: the pool hands chunks out in order, a few in advance.
                suspects = 2 * self._jobs + 2
                for chunk in waiting[:suspects]:
                    yield from self._alone(task, chunk)
                waiting = waiting[suspects:]

    def _alone(self, task: Callable[[Sequence[Item]], Result],
               chunk: Sequence[Item]) -> Iterator[tuple[Sequence[Item], Result | None]]:
        """Run one chunk in a process of its own, halving it until the item that kills it is alone."""
        with self._start(1) as pool:
            try:
                yield chunk, pool.submit(task, chunk).result()
                return
            except BrokenProcessPool:
                half = len(chunk) // 2
        if not half:
            yield chunk, None
            return
        yield from self._alone(task, chunk[:half])
        yield from self._alone(task, chunk[half:])

    def _start(self, jobs: int) -> ProcessPoolExecutor:
        self._before_fork()
        # Forked workers share what is loaded already; elsewhere than on Linux fork is not safe to use.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        return ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)


def _begin() -> None:
    """Leave interrupts to the parent, leave when it is gone, and let the collector skip what is shared with it."""
    gc.freeze()
    gc.set_threshold(20_000, 20)  # few of the many objects of one function are in cycles
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
