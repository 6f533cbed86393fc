"""A process that calls makers' functions, one at a time: ``python -m empiar_mirror.makers.worker``.

It reads a pickled call on standard input and answers with a pickled result on standard output, each after its length.
Both ends are this product's own processes. The end of its input ends it at once, so none outlives whoever started it.
"""

from __future__ import annotations

import os
import pickle  # between our own two processes
import signal
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import IO, TypeVar

from empiar_mirror.makers.maker import JobFault, Output, Work
from empiar_schema.faults import EmpiarMirrorError, StorageFault

T = TypeVar("T")

#: What a maker's function looks like: importable by name, so that it can be named in another process.
Function = Callable[[Work], Sequence[Output]]
#: A result, or the sentence of an error and whether it is permanent.
Answer = tuple[Sequence[Output] | None, str, bool]

LENGTH = struct.Struct("!I")
#: Calls and results are small: files are handed over by their paths.
LARGEST = 2**28


def main() -> None:
    """Calls, until there is nothing more to read."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the mirror decides when we end
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not get among the answers.
    os.dup2(2, 1)
    calls: SimpleQueue[bytes] = SimpleQueue()
    # A thread of its own, because the end of the input must be noticed in the middle of a call, too.
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    while True:
        send(answers, pickle.dumps(_called(calls.get())))


def _listen(calls: SimpleQueue[bytes]) -> None:
    while (call := receive(sys.stdin.buffer)) is not None:
        calls.put(call)
    os._exit(0)


def _called(call: bytes) -> Answer:
    return answer_of(lambda: _outputs(call))


def _outputs(call: bytes) -> Sequence[Output]:
    function, work = pickle.loads(call)  # noqa: S301 - from our own parent process
    return tuple(function(work))


def answer_of(call: Callable[[], T]) -> tuple[T | None, str, bool]:
    """What `call` returns; or the sentence for what it raises, and whether it is permanent."""
    try:
        return call(), "", False
    except JobFault as fault:
        return None, _sentence(fault), fault.permanent
    except StorageFault as fault:
        return None, _sentence(fault), False
    except EmpiarMirrorError as fault:
        return None, _sentence(fault), True
    except MemoryError:
        return None, "there was not enough memory for it", False
    except OSError as error:
        where = error.filename or "a file"
        return (
            None,
            f"cannot use {where}: {error.strerror or error}; `empiar-mirror verify` looks after it",
            False,
        )
    except Exception as error:
        # Content of any kind may end here; a person gets a sentence, and the next image its turn.
        return None, f"{type(error).__name__}: {error}"[:500], False


def _sentence(fault: EmpiarMirrorError) -> str:
    return f"{fault}; {fault.hint}" if fault.hint else str(fault)


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None at the end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = stream.read(length)
    return body if len(body) == length else None


def send(stream: IO[bytes], message: bytes) -> None:
    """The message is on its way."""
    stream.write(LENGTH.pack(len(message)) + message)
    stream.flush()


if __name__ == "__main__":
    main()
