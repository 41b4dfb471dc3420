"""A process that answers one question at a time, apart from the server: it may crash, and nobody waits for it to begin anew.

Questions and answers are pickled, each behind its length in 8 bytes, over the process's standard input and output.
"""

import asyncio
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any

from kgfplint.editor import answers

_LENGTH = 8


class NoAnswer(Exception):
    """A question has no answer; str is one line that says why."""


class Worker:
    """The server's end: a process that is started when it is needed, and again when it died."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()
        self._asked: asyncio.Future[Any] | None = None

    async def ask(self, task: Callable[..., Any], *args: Any) -> Any:
        """Return what a function of `answers` returns; NoAnswer when it fails, or a process that is new dies of it.

        A caller that is cancelled while it waits for its turn asks nothing; later, the answer is dropped when it comes.
        """
        async with self._turn:
            if self._asked is not None:
                await asyncio.wait([self._asked])
            self._asked = asyncio.ensure_future(self._exchange(task.__name__, args))
            return await asyncio.shield(self._asked)

    async def _exchange(self, name: str, args: tuple[Any, ...]) -> Any:
        former, process = self._process, self._process or _started()
        self._process = process
        try:
            # A thread may wait: the process is killed where nobody waits for that any more, and then its output ends.
            answer, failure = await asyncio.to_thread(_answer, process, (name, args))
        except asyncio.CancelledError:
            self.kill()
            raise
        except (OSError, EOFError) as error:
            self.kill()
            if process is former:  # it may have died before it was asked, and not of this question
                return await self._exchange(name, args)
            raise NoAnswer(f"{name}: the process that worked on it died") from error
        if failure:
            raise NoAnswer(failure)
        return answer

    def kill(self) -> None:
        """End the process; the next question starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def _started() -> "subprocess.Popen[bytes]":
    # It must be found where this program was, whatever folder the editor is in.
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen([sys.executable, "-m", "kgfplint.editor.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            env={**os.environ, "PYTHONPATH": path})


def _answer(process: "subprocess.Popen[bytes]", question: object) -> Any:
    """Return what the process answers; EOFError when it ends instead."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(_packed(question))
    process.stdin.flush()
    answer = _read(process.stdout)
    if answer is None:
        raise EOFError
    return answer


def _packed(message: object) -> bytes:
    data = pickle.dumps(message)
    return len(data).to_bytes(_LENGTH, "little") + data


def main() -> None:
    """Answer questions from standard input until it ends."""
    from kgfplint.cli import FAILURES

    logging.basicConfig(format="kgfplint: %(message)s", level=logging.ERROR)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What prints by mistake must not end up among the answers.
    questions, output = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    while (question := _read(questions)) is not None:
        name, args = question
        try:
            reply = getattr(answers, name)(*args), ""
        except (*FAILURES, OSError) as error:
            reply = None, str(error)
        except Exception as error:  # half-written code may meet a mistake of ours; the next question may not
            logging.exception("%s", name)
            reply = None, f"internal error, please report it: {error!r}"
        output.write(_packed(reply))
        output.flush()
        # A run sets aside what its processes are to share; here it would never be given back.
        gc.unfreeze()
        gc.collect()


def _read(stream: IO[bytes]) -> Any:
    """Return the next message of a stream, None at its end."""
    size = stream.read(_LENGTH)
    data = stream.read(int.from_bytes(size, "little"))
    return pickle.loads(data) if data else None


if __name__ == "__main__":
    main()
