"""Work on any executor, such as that of a Dask cluster, whose workers see neither the tree nor the store.

What they need goes to them by value, and what they do not answer is left to the caller: an executor makes a
run faster, never its result another.
"""

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import platform
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from kgfplint import __version__
from kgfplint.config import parse_executor
from kgfplint.facts.store import facts_version

log = logging.getLogger("kgfplint")

Item = TypeVar("Item")
Argument = TypeVar("Argument")
Result = TypeVar("Result")

IN_FLIGHT = 64
"""Arguments that an executor holds at a time: enough for more workers than one process can feed."""
PATIENCE = 60.0
"""Seconds without any answer after which an executor is given up."""
CONNECTING = 10
"""Seconds that a scheduler has to answer."""


class ExecutorError(Exception):
    """The executor cannot be used; str is one line that says why."""


def identity() -> str:
    """Return in words what must be the same here and at a worker for their facts to be the same."""
    return f"kgfplint {__version__} (facts {facts_version().hex()[:12]}) on Python {platform.python_version()}"


def lend(executor: Executor, task: Callable[[Argument], Result],
         offers: Iterable[tuple[Item, Argument]]) -> Iterator[tuple[Item, Result | None]]:
    """Yield (item, task(argument)) as they come; the result is None for what the executor failed to do.

    Offers are drawn only as fast as they are answered. Raises ExecutorError if the task does; all else that goes
    wrong is a failure of the executor, whose first is logged.
    """
    offers, reason = iter(offers), ""
    lent: dict[Future[Result], Item] = {}
    try:
        while True:
            for item, argument in itertools.islice(offers, IN_FLIGHT - len(lent)):
                lent[_submitted(executor, task, argument)] = item
            if not lent:
                return
            done = concurrent.futures.wait(lent, PATIENCE, concurrent.futures.FIRST_COMPLETED).done
            if not done:
                break
            for future in done:
                item, failure = lent.pop(future), _failure(future)
                if failure and not reason:
                    reason = failure
                    log.warning("the executor failed (%s); what it does not answer is done here", reason)
                yield item, None if failure else future.result()
        log.warning("the executor did not answer for %d seconds; the rest is done here", PATIENCE)
        yield from ((item, None) for item in lent.values())
        yield from ((item, None) for item, _ in offers)
    finally:
        for future in lent:
            future.cancel()


def _submitted(executor: Executor, task: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
    try:
        return executor.submit(task, argument)
    except Exception as error:  # a broken pool refuses; that is an answer like any other
        refused: Future[Result] = Future()
        refused.set_exception(error)
        return refused


def _failure(future: Future[Any]) -> str:
    """Return why a future has no result, "" if it has one; raise it if it is an ExecutorError."""
    if future.cancelled():
        return "it cancelled a task"
    error = future.exception()
    if isinstance(error, ExecutorError):
        raise error
    return "" if error is None else _line(error)


def _line(error: BaseException) -> str:
    """Return an exception as one line that is not too long to read."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...").rstrip(": ")


@contextlib.contextmanager
def connected(url: str) -> Iterator[Executor | None]:
    """Give the executor that a URL dask://HOST:PORT names, None for "", and let go of it at the end.

    Raises ExecutorError, here or out of the block, with the name of the option before it.
    """
    if not url:
        yield None
        return
    try:
        with _dask(*parse_executor(url)) as executor:
            yield executor
    except ExecutorError as error:
        raise ExecutorError(f"--executor {url}: {error}") from error


@contextlib.contextmanager
def _dask(host: str, port: int) -> Iterator[Executor]:
    """Connect to the Dask scheduler and give the executor of its cluster."""
    try:
        import distributed
    except ImportError as error:
        raise ExecutorError("needs Dask's package distributed: pip install 'kgfplint[dask]'") from error
    # What it would tell of lost connections and of large arguments is told here, or is as intended.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="distributed")
    address = f"tcp://{host}:{port}"
    try:
        # A client of its own, as one that is not asynchronous waits for ever if what listens there is no scheduler.
        told = asyncio.run(asyncio.wait_for(_told(distributed, address), 2 * CONNECTING))
        client = distributed.Client(address, timeout=CONNECTING, set_as_default=False, name="kgfplint")
    except Exception as error:  # of many types, by what answers, if anything does
        raise ExecutorError(f"no Dask scheduler answers there ({_line(error)})") from error
    with client:
        _check(told)
        yield client.get_executor(pure=False)


async def _told(distributed: Any, address: str) -> dict[str, str | BaseException]:
    """Return what each worker tells of itself, by its address."""
    async with distributed.Client(address, timeout=CONNECTING, asynchronous=True, set_as_default=False) as client:
        told: dict[str, str | BaseException] = await client.run(identity, on_error="return")
        return told


def _check(told: dict[str, str | BaseException]) -> None:
    """Raise ExecutorError unless there are workers, all of them like this process."""
    if not told:
        raise ExecutorError("the scheduler has no workers")
    for worker, answer in sorted(told.items()):
        # An OSError is that of a worker that went away in the meantime, which may happen at any time.
        if answer != identity() and not isinstance(answer, OSError):
            what = f"fails ({_line(answer)})" if isinstance(answer, BaseException) else f"runs {answer}"
            raise ExecutorError(f"worker {worker} {what}; here is {identity()}")
