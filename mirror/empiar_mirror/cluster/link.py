"""The connection to a Dask scheduler: who its workers are, and one piece of work to one of them. No Dask outside of this module."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import CancelledError
from typing import Final, Protocol, Self, cast

from empiar_mirror.cluster.errands import run
from empiar_mirror.cluster.roster import Seen
from empiar_schema.cluster_settings import ClusterSettings
from empiar_schema.faults import ClusterFault, ConfigFault

#: How long the farewell to a scheduler may take, seconds.
_PARTING_S: Final = 2.0


class _Future(Protocol):
    """What Dask gives for a piece of work."""

    def result(self) -> Awaitable[object]: ...
    def cancel(self, *, reason: str) -> Awaitable[object]: ...
    def release(self) -> None: ...


class _Scheduler(Protocol):
    def identity(self, *, n_workers: int) -> Awaitable[Mapping[str, Mapping[str, Mapping[str, object]]]]: ...


class _Client(Protocol):
    """Dask's client in an event loop. Its own annotations are those of the other kind, which blocks."""

    status: str
    scheduler: _Scheduler | None

    def __await__(self) -> Generator[object, None, object]: ...
    def submit(
        self,
        function: Callable[[bytes], bytes],
        order: bytes,
        *,
        key: str,
        workers: list[str],
        allow_other_workers: bool,
        pure: bool,
        retries: int,
    ) -> _Future: ...
    def close(self) -> Awaitable[object]: ...


class Undone(Exception):
    """The scheduler says that this piece of work will not be done, as it stands."""


class Link:
    """An open connection. Close it."""

    def __init__(self, client: _Client, settings: ClusterSettings) -> None:
        self._client = client
        self._settings = settings

    @classmethod
    async def open(cls, settings: ClusterSettings) -> Self:
        """The connection to `settings.scheduler`.

        Raises:
            ClusterFault: it does not answer.
            ConfigFault: Dask is not installed, or a certificate cannot be used.
        """
        connecting, security = _prepared(settings)
        # The scheduler's trouble is told by our own sentences.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # versions are compared at the greeting, where a worker can be refused
            client = connecting(
                settings.scheduler,
                asynchronous=True,
                timeout=settings.connect,
                security=security,
                set_as_default=False,
                direct_to_workers=False,
                name="empiar-mirror",
            )
            try:
                async with asyncio.timeout(2 * settings.connect):
                    await client
            except (OSError, TimeoutError, ValueError) as error:
                await _closed(client)
                raise _away(settings, f"{error}" or "no answer") from error
            except BaseException:
                await _closed(client)
                raise
        return cls(client, settings)

    async def aclose(self) -> None:
        """The connection is closed; what was handed out and not answered is dropped by the scheduler."""
        await _closed(self._client)

    async def workers(self) -> list[Seen]:
        """The workers that the scheduler has now.

        Raises:
            ClusterFault: it does not answer any more.
        """
        try:
            if self._client.status != "running" or self._client.scheduler is None:
                raise _away(self._settings, "the connection is gone")
            async with asyncio.timeout(self._settings.connect):
                found = await self._client.scheduler.identity(n_workers=-1)
            return [
                Seen(str(address), int(str(facts["nthreads"])), float(str(facts["last_seen"])))
                for address, facts in found["workers"].items()
                if facts["status"] == "running"
            ]
        except (OSError, TimeoutError) as error:
            raise _away(self._settings, str(error) or "no answer") from error

    async def have_done(self, order: bytes, *, worker: str, key: str) -> object:
        """What `errands.run` returns for `order` on this worker, and on no other. Cancelling drops it.

        Raises:
            Undone: it was not done, as the scheduler says; why is in the text.
        """
        future = self._client.submit(
            run, order, key=key, workers=[worker], allow_other_workers=False, pure=False, retries=0
        )
        try:
            return await future.result()
        except asyncio.CancelledError:
            raise
        except CancelledError as error:
            raise Undone(f"the scheduler dropped it: {error}") from error
        except Exception as error:  # of Dask, or of what a strange worker makes of the order
            raise Undone(f"{type(error).__name__}: {error}"[:500]) from error
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone, and the work with it
                await asyncio.shield(future.cancel(reason="the lease has ended"))
                future.release()


def _prepared(settings: ClusterSettings) -> tuple[Callable[..., _Client], object]:
    """Dask's client, imported only now: it takes a second."""
    try:
        from distributed import Client, Security
    except ImportError as error:
        raise ConfigFault(
            f"cluster.scheduler is set, and needs a library that is not installed: {error.name}",
            hint="pip install 'empiar-mirror[cluster]', or empty cluster.scheduler",
        ) from error
    connecting = cast("Callable[..., _Client]", Client)
    if not settings.scheduler.startswith("tls://"):
        return connecting, None
    for path in (settings.ca_file, settings.cert_file, settings.key_file):
        try:
            assert path is not None
            path.open("rb").close()
        except OSError as error:
            raise ConfigFault(
                f"cannot read {path}: {error.strerror}",
                hint="cluster.ca_file, cluster.cert_file and cluster.key_file must be readable for this user",
            ) from error
    security = Security(  # type: ignore[no-untyped-call]  # Dask has not annotated it
        require_encryption=True,
        tls_ca_file=str(settings.ca_file),
        tls_client_cert=str(settings.cert_file),
        tls_client_key=str(settings.key_file),
    )
    return connecting, security


def _away(settings: ClusterSettings, reason: str) -> ClusterFault:
    return ClusterFault(
        f"the scheduler {settings.scheduler} cannot be reached: {reason}",
        hint='start it (docs/cluster.md), or set cluster.scheduler; with cluster.otherwise = "local" this machine does the work',
    )


async def _closed(client: _Client) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_PARTING_S):
            await client.close()
