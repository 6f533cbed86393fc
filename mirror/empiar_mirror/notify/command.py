"""Notifications by a program of the user's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from empiar_mirror.notify.gathering import Message
from empiar_mirror.notify.way import NotDelivered
from empiar_mirror.systemd import VARIABLES
from empiar_schema.configuration import PREFIX


class CommandWay:
    """Runs a program with the message as JSON on its standard input. What the program prints is thrown away."""

    def __init__(self, command: Sequence[str], *, timeout_s: float) -> None:
        self._command = tuple(command)
        self._timeout_s = timeout_s

    async def send(self, message: Message) -> None:
        """The program has ended with 0.

        Raises:
            NotDelivered: it cannot be started, ended otherwise, or took too long and was ended with all it had started.
        """
        # Our own variables hold secrets, and it must not speak to systemd for us.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(PREFIX) and name not in VARIABLES
        }
        # A file, not a pipe: a program that does not read what it is given is nothing to wait for.
        with tempfile.TemporaryFile() as given:
            given.write(json.dumps(message.document(), ensure_ascii=False).encode("utf-8", "replace"))
            given.seek(0)
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=given,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotDelivered(
                    f"{self._command[0]} cannot be started: {error.strerror}", again=False
                ) from None
        try:
            async with asyncio.timeout(self._timeout_s):
                code = await process.wait()
        except TimeoutError:
            reason = f"{self._command[0]} took longer than {self._timeout_s:g} s and was ended"
            raise NotDelivered(reason, again=False) from None
        finally:
            # Whatever it has started and left behind ends with it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if code != 0:
            ended = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise NotDelivered(f"{self._command[0]} ended with {ended}", again=False)
