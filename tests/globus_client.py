"""The real SDK against a Globus stand-in, with its own retries off; calls run in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ParamSpec, TypeVar

from globus_sdk import (
    AccessTokenAuthorizer,
    ConfidentialAppAuthClient,
    GlobusHTTPResponse,
    TransferAPIError,
    TransferClient,
    TransferData,
)

from empiar_mirror.rehearsal.globus import (
    ARCHIVE_COLLECTION,
    CLIENT_ID,
    CLIENT_SECRET,
    DESTINATION_COLLECTION,
    GlobusConfig,
    GlobusStandIn,
)
from empiar_mirror.rehearsal.server import Rehearsal

P = ParamSpec("P")
T = TypeVar("T")

SOURCE = "/gridftp/empiar/world_availability"
TRANSFER = "transfer.api.globus.org"
TRANSFER_ALL = "urn:globus:auth:scope:transfer.api.globus.org:all"


async def call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` gives, asked in a thread, so that the stand-in in this loop can answer."""
    return await asyncio.to_thread(function, *args, **kwargs)


@contextmanager
def auth_client(globus: GlobusStandIn) -> Iterator[ConfidentialAppAuthClient]:
    """The confidential client, logged in by its secret."""
    client = ConfidentialAppAuthClient(CLIENT_ID, CLIENT_SECRET, base_url=globus.url)
    client.retry_config.max_retries = 0
    try:
        yield client
    finally:
        client.close()


async def access_token(globus: GlobusStandIn, scope: str = TRANSFER_ALL) -> str:
    """An access token of the confidential client for the Transfer service."""
    with auth_client(globus) as client:
        answer = await call(client.oauth2_client_credentials_tokens, scope)
    token = answer.by_resource_server[TRANSFER]["access_token"]
    assert isinstance(token, str)
    return token


@contextmanager
def transfer_client(globus: GlobusStandIn, token: str) -> Iterator[TransferClient]:
    """A client of the Transfer service that shows `token`."""
    client = TransferClient(base_url=globus.url, authorizer=AccessTokenAuthorizer(token))
    client.retry_config.max_retries = 0
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def standing_in(config: GlobusConfig) -> AsyncIterator[tuple[Rehearsal, GlobusStandIn, Account]]:
    """The standard archive, its stand-in of Globus, and an account of it that is logged in."""
    async with Rehearsal(globus=config) as rehearsal:
        with transfer_client(rehearsal.globus, await access_token(rehearsal.globus)) as client:
            yield rehearsal, rehearsal.globus, Account(client)


def archive_files(rehearsal: Rehearsal, entry: int) -> dict[str, bytes]:
    """All files of an entry, by path; bytes that are not UTF-8 are surrogates."""
    archive = rehearsal.archive
    return {
        path.decode("utf-8", "surrogateescape"): archive.read(entry, path, file, 0, file.size)
        for path, file in archive.entries[entry].walk()
    }


class Account:
    """What tests do again and again with one account."""

    def __init__(self, client: TransferClient) -> None:
        self.client = client

    async def submit(
        self,
        *items: tuple[str, str],
        label: str = "rehearsal",
        recursive: bool = False,
        submission_id: str | None = None,
        source: str = ARCHIVE_COLLECTION,
        options: dict[str, object] | None = None,
        rules: tuple[tuple[str, str, str | None], ...] = (),
    ) -> GlobusHTTPResponse:
        """The service's answer to a transfer of `items`, sources below the archive's folder."""
        base = SOURCE if source == ARCHIVE_COLLECTION else ""
        data = TransferData(source, DESTINATION_COLLECTION, label=label, additional_fields=options or {})
        if submission_id is not None:
            data["submission_id"] = submission_id
        for inner, destination in items:
            data.add_item(base + inner, destination, recursive=recursive)
        if rules:
            data["filter_rules"] = [
                {"DATA_TYPE": "filter_rule", "method": method, "name": name, "type": kind}
                for method, name, kind in rules
            ]
        return await call(self.client.submit_transfer, data)

    async def task(self, task_id: str) -> GlobusHTTPResponse:
        """The task's document."""
        return await call(self.client.get_task, task_id)

    async def until(self, task_id: str, reached: Callable[[GlobusHTTPResponse], bool]) -> GlobusHTTPResponse:
        """The first document of the task of which `reached` is true."""
        async with asyncio.timeout(60):
            while True:
                document = await self.task(task_id)
                if reached(document):
                    return document
                await asyncio.sleep(0.01)

    async def ended(self, task_id: str) -> GlobusHTTPResponse:
        """The document of the task when it has ended."""
        return await self.until(task_id, lambda document: document["status"] in ("SUCCEEDED", "FAILED"))

    async def moved(self, task_id: str) -> list[tuple[str, str]]:
        """All successful transfers of the task, by the SDK's own paging."""

        def pages() -> list[tuple[str, str]]:
            found = self.client.paginated.task_successful_transfers(task_id)
            return [(row["source_path"], row["destination_path"]) for page in found for row in page]

        return await call(pages)

    async def event_codes(self, task_id: str) -> list[str]:
        """Codes of the task's events, the newest first."""
        answer = await call(self.client.task_event_list, task_id, limit=1000)
        return [event["code"] for event in answer]

    async def refused(
        self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> TransferAPIError:
        """The error that the call ends with."""
        try:
            await call(function, *args, **kwargs)
        except TransferAPIError as error:
            return error
        raise AssertionError("the service did not refuse")
