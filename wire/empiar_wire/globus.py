"""The Globus Transfer service over the SDK: one account, three threads, our own patience.

The SDK blocks; its calls run in threads of this module's own. Each call asks once; trying again is the caller's. Facts:
https://docs.globus.org/api/transfer/.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, Self, TypeVar

from globus_sdk import MISSING, GlobusAPIError, GlobusHTTPResponse
from globus_sdk.scopes import AuthScopes, TransferScopes

from empiar_schema.faults import AccountFault, BadAnswer
from empiar_schema.settings import Settings
from empiar_wire.daemon_threads import DaemonThreads
from empiar_wire.globus_account import GlobusAccount
from empiar_wire.globus_documents import (
    Document,
    collection_of,
    event_of,
    identity_of,
    listed_of,
    moved_of,
    skipped_of,
    task_of,
)
from empiar_wire.globus_facts import (
    LARGEST_LISTING,
    Collection,
    Identity,
    Listed,
    Moved,
    Page,
    Skipped,
    Submission,
    Task,
    TaskEvent,
)
from empiar_wire.globus_faults import EXISTS, Asked, MoreLoginNeeded, Service, http_date, no_sense
from empiar_wire.globus_sdk_errors import translated
from empiar_wire.globus_submission import check_submission, transfer_document
from empiar_wire.hosts import Hosts

T = TypeVar("T")

#: The SDK's client may be shared by threads; a handful of calls at once is more than a mirror has.
THREADS: Final = 3
#: What the service allows an account (documented).
REQUESTS_PER_S: Final = 20.0
#: A call that is under way at the end is waited for so long.
LAST_CALL_S: Final = 2.0
#: Tasks asked for at once; the service's largest page.
_TASKS: Final = 1000

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: What a filter of task lists would take for its own syntax.
_FILTER_SYNTAX = re.compile(r"[/,:*!~=<>]")


@dataclass(frozen=True, slots=True)
class _Answer:
    document: Document
    #: The service's clock when it answered, epoch seconds; None where it did not say.
    date: float | None
    #: This machine's monotonic clock then.
    heard_at: float


class TransferService:
    """`GlobusService` over the network. Close it; the account is closed with it."""

    def __init__(
        self,
        account: GlobusAccount,
        *,
        names: Mapping[str, str] = MappingProxyType({}),
        requests_per_s: float = REQUESTS_PER_S,
    ) -> None:
        """`names` says how sentences call collections: id → ``the archive's collection``."""
        self.account = account
        self._names = names
        self._client = account.transfer_client()
        self._auth = account.auth_client()
        self._threads = DaemonThreads(THREADS, "globus")
        self._gate = Hosts(connections=THREADS, requests_per_s=requests_per_s, user_agent="").gate("globus")
        #: The service's clock less this machine's monotonic one.
        self._clock_offset: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The service for the account of `settings`. The network is not asked.

        Raises:
            ConfigFault, AccountFault: see `GlobusAccount`.
        """
        names = {
            settings.archive.globus_collection: "the archive's collection",
            settings.globus.collection: "the mirror's collection",
        }
        return cls(GlobusAccount(settings.globus, settings.root), names=names)

    # --- tasks ----------------------------------------------------------------------------------------

    async def submission_id(self) -> str:
        """See `GlobusService.submission_id`."""
        answer = await self._transfer(Asked("get a submission id"), self._client.get_submission_id)
        return answer.document.text("value")

    async def submit(self, submission: Submission) -> str:
        """See `GlobusService.submit`.

        Raises:
            PermanentFault: also what the service would refuse: no items, a label too long or of several lines.
        """
        asked = Asked(
            f"transfer {len(submission.items)} items from {self._named(submission.source_collection)}"
            f" to {self._named(submission.destination_collection)}"
        )
        check_submission(submission)
        for collection in (submission.source_collection, submission.destination_collection):
            _id(collection, "collection")
        deadline = None
        if submission.deadline_s is not None:
            deadline = await self._service_time() + submission.deadline_s
        data = transfer_document(submission, deadline)
        answer = await self._transfer(asked, partial(self._client.submit_transfer, data))
        return answer.document.text("task_id")

    async def task(self, task_id: str) -> Task:
        """See `GlobusService.task`."""
        asked = Asked(f"tell how task {task_id} stands", task_id=task_id)
        answer = await self._transfer(asked, partial(self._client.get_task, _id(task_id, "task")))
        return task_of(answer.document)

    async def unfinished(self) -> list[Task]:
        """See `GlobusService.unfinished`."""
        return await self._tasks("list the unfinished tasks", "status:ACTIVE,INACTIVE/type:TRANSFER")

    async def labelled(self, label: str) -> list[Task]:
        """See `GlobusService.labelled`."""
        narrow = "" if _FILTER_SYNTAX.search(label) else f"/label:={label}"
        tasks = await self._tasks(f"find tasks labelled {label}", f"type:TRANSFER{narrow}")
        return [task for task in tasks if task.label == label]

    async def _tasks(self, deed: str, narrowed: str) -> list[Task]:
        tasks: list[Task] = []
        while True:
            call = partial(
                self._client.task_list,
                limit=_TASKS,
                offset=len(tasks),
                filter=narrowed,
                orderby="request_time DESC",
            )
            document = (await self._transfer(Asked(deed), call)).document
            page = [task_of(item) for item in document.items()]
            tasks += page
            if not page or len(tasks) >= document.number("total"):
                return tasks

    async def cancel(self, task_id: str) -> None:
        """See `GlobusService.cancel`."""
        asked = Asked(f"cancel task {task_id}", task_id=task_id)
        await self._transfer(asked, partial(self._client.cancel_task, _id(task_id, "task")))

    async def moved(self, task_id: str, marker: str | None = None) -> Page[Moved]:
        """See `GlobusService.moved`."""
        asked = Asked(f"list what task {task_id} has copied", task_id=task_id)
        answer = await self._transfer(
            asked,
            partial(self._client.task_successful_transfers, _id(task_id, "task"), marker=marker or MISSING),
        )
        return Page(tuple(map(moved_of, answer.document.items())), answer.document.marker())

    async def skipped(self, task_id: str, marker: str | None = None) -> Page[Skipped]:
        """See `GlobusService.skipped`."""
        asked = Asked(f"list what task {task_id} has passed over", task_id=task_id)
        answer = await self._transfer(
            asked, partial(self._client.task_skipped_errors, _id(task_id, "task"), marker=marker or MISSING)
        )
        return Page(tuple(map(skipped_of, answer.document.items())), answer.document.marker())

    async def events(self, task_id: str, *, limit: int = 20) -> list[TaskEvent]:
        """See `GlobusService.events`."""
        asked = Asked(f"list the events of task {task_id}", task_id=task_id)
        answer = await self._transfer(
            asked, partial(self._client.task_event_list, _id(task_id, "task"), limit=limit)
        )
        events = [event_of(item) for item in answer.document.items()][:limit]
        return sorted(events, key=lambda event: event.at, reverse=True)

    # --- collections ----------------------------------------------------------------------------------

    async def ls(self, collection: str, path: str) -> list[Listed]:
        """See `GlobusService.ls`."""
        asked = self._asked("list", collection, path)
        names: list[Listed] = []
        while True:
            call = partial(
                self._client.operation_ls,
                _id(collection, "collection"),
                path,
                show_hidden=True,
                limit=LARGEST_LISTING,
                offset=len(names),
            )
            document = (await self._transfer(asked, call)).document
            page = [listed_of(item) for item in document.items()]
            names += page
            if len(names) > LARGEST_LISTING:
                raise BadAnswer(f"could not {asked.deed}: there are more names than Globus lists")
            # A service that gives fewer than asked for says so in `limit`; else a short page is the last.
            if not page or len(page) < (document.number("limit") or LARGEST_LISTING):
                return names

    async def stat(self, collection: str, path: str) -> Listed:
        """See `GlobusService.stat`."""
        asked = self._asked("look at", collection, path)
        answer = await self._transfer(
            asked, partial(self._client.operation_stat, _id(collection, "collection"), path)
        )
        return listed_of(answer.document)

    async def mkdir(self, collection: str, path: str) -> None:
        """See `GlobusService.mkdir`."""
        asked = self._asked("make the folder", collection, path)

        def made() -> GlobusHTTPResponse | None:
            try:
                return self._client.operation_mkdir(_id(collection, "collection"), path)
            except GlobusAPIError as error:
                if error.code == EXISTS:
                    return None
                raise

        await self._call(asked, TransferScopes.resource_server, made)

    async def collection(self, collection: str) -> Collection:
        """See `GlobusService.collection`."""
        asked = Asked(f"describe {self._named(collection)}", collection=collection)
        answer = await self._transfer(
            asked, partial(self._client.get_endpoint, _id(collection, "collection"))
        )
        return collection_of(answer.document)

    async def whoami(self) -> Identity:
        """See `GlobusService.whoami`."""
        asked = Asked("say whose account this is")
        return identity_of((await self._ask(asked, AuthScopes.resource_server, self._auth.userinfo)).document)

    async def aclose(self) -> None:
        """Connections and threads are closed. A call that hangs is left to itself after some seconds; it ends within minutes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._threads.join, LAST_CALL_S)
        self.account.close()

    # --- how it is asked ------------------------------------------------------------------------------

    async def _transfer(self, asked: Asked, call: Callable[[], GlobusHTTPResponse]) -> _Answer:
        answer = await self._ask(asked, TransferScopes.resource_server, call)
        if answer.date is not None:
            self._clock_offset = answer.date - answer.heard_at
        return answer

    async def _ask(self, asked: Asked, server: str, call: Callable[[], GlobusHTTPResponse]) -> _Answer:
        def answered() -> _Answer:
            response = call()
            date = http_date(response.headers.get("Date", ""))
            heard_at = time.monotonic()
            if not isinstance(response.data, dict):
                raise no_sense(asked, Service.TRANSFER, "no JSON object")
            return _Answer(Document(asked.deed, response.data), date, heard_at)

        return await self._call(asked, server, answered)

    async def _call(self, asked: Asked, server: str, call: Callable[[], T]) -> T:
        """What `call` gave, in a thread, with the right token."""
        await self._gate.request()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._called, asked, server, call
        )

    def _called(self, asked: Asked, server: str, call: Callable[[], T]) -> T:
        try:
            return self._once_renewed(asked, server, call)
        except MoreLoginNeeded as lack:
            scopes = lack.required_scopes
            if not (self.account.is_client and scopes):
                raise
        except AccountFault:
            self.account.look_again()
            raise
        # An application consents for itself.
        self.account.require(scopes)
        return self._once_renewed(asked, server, call)

    def _once_renewed(self, asked: Asked, server: str, call: Callable[[], T]) -> T:
        with translated(asked, renew=self.account.renew):
            try:
                return call()
            except GlobusAPIError as error:
                if error.http_status != 401:
                    raise
                self.account.renew_access(server)
            return call()

    async def _service_time(self) -> float:
        """The service's clock, epoch seconds: this machine's may be wrong, and a deadline is judged by the service's."""
        if self._clock_offset is None:
            await self._transfer(Asked("tell the time"), self._client.get_submission_id)
        if self._clock_offset is None:
            return time.time()
        return time.monotonic() + self._clock_offset

    # --- words ----------------------------------------------------------------------------------------

    def _asked(self, deed: str, collection: str, path: str) -> Asked:
        return Asked(f"{deed} {path} of {self._named(collection)}", collection=collection, path=path)

    def _named(self, collection: str) -> str:
        name = self._names.get(collection)
        return f"{name} ({collection})" if name else f"collection {collection}"


def _id(text: str, what: str) -> str:
    """`text`, which becomes part of an address.

    Raises:
        AccountFault: it is no UUID.
    """
    if _UUID.fullmatch(text) is None:
        raise AccountFault(
            f"{text[:80]!r} is no Globus {what} id",
            hint=f"a {what} id is a UUID such as 47772002-3e5b-4fd3-b97c-18cee38d6df2",
        )
    return text
