"""The stand-in as a whole: both services on one port, their faults, and what tests ask it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path, PurePosixPath

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from empiar_mirror.rehearsal.archive import RehearsalArchive
from empiar_mirror.rehearsal.faults import HTML_PAGE
from empiar_mirror.rehearsal.globus.accounts import (
    CLIENT_ID,
    CLIENT_SECRET,
    NATIVE_CLIENT_ID,
    SERVICE_IDENTITY,
    Accounts,
)
from empiar_mirror.rehearsal.globus.auth import AuthService
from empiar_mirror.rehearsal.globus.collections import (
    ARCHIVE_COLLECTION,
    DESTINATION_COLLECTION,
    ArchiveStorage,
    Collection,
    FolderStorage,
)
from empiar_mirror.rehearsal.globus.copying import Surroundings
from empiar_mirror.rehearsal.globus.desk import Desk, Submitted
from empiar_mirror.rehearsal.globus.documents import ServiceError
from empiar_mirror.rehearsal.globus.faults import (
    REQUEST_KINDS,
    GlobusFault,
    GlobusFaultBook,
    GlobusFaultKind,
)
from empiar_mirror.rehearsal.globus.scopes import required_for
from empiar_mirror.rehearsal.globus.tasks import Task
from empiar_mirror.rehearsal.globus.transfer import TransferService
from empiar_mirror.rehearsal.link import listening_socket
from empiar_mirror.rehearsal.served import ServedLog

#: A hundred thousand items are 22 MB.
_LARGEST_REQUEST = 256 * 1024 * 1024
#: Statuses that the service itself answers with; other ones come from what stands before it, as pages.
_SAID = {
    "429": ("TooManyRequests", "Too many requests, please wait"),
    "503": ("ServiceUnavailable", "The service is not available now"),
}
_GARBAGE = '{"DATA_TYPE": "task", "DATA": [{"status": "SUCC'


@dataclass(slots=True, kw_only=True)
class GlobusConfig:
    """How a stand-in is set up. `folder` is what its destination collection exports, at `folder_path` of the collection."""

    folder: Path | None = None
    folder_path: str = "/"
    #: Where the source collection shows the archive.
    archive_path: str = "/gridftp/empiar/world_availability"
    #: Bytes a second of one task; None: as fast as it goes.
    rate: float | None = None
    #: Files in a page of a task's history.
    page_size: int = 100
    #: Whether lists of a task's files can be read before it has ended.
    history_while_running: bool = True
    #: Whether the destination collection wants a consent of its own.
    needs_data_access: bool = False
    #: Seconds for which an access token is good.
    token_lifetime_s: float = 172_800.0
    #: Seconds after which a task tries again what has failed.
    retry_interval_s: float = 0.05
    faults: Sequence[GlobusFault] = field(default_factory=tuple)


class GlobusStandIn:
    """Globus Auth and Globus Transfer, serving inside ``async with``.

    `accounts`, `collections`, `book`, `desk` and `transfer` may be read and changed at any time.
    """

    def __init__(self, archive: RehearsalArchive, config: GlobusConfig, served: ServedLog) -> None:
        self.config = config
        self._served = served
        self._loop: asyncio.AbstractEventLoop | None = None
        self.book = GlobusFaultBook(list(config.faults))
        self.accounts = Accounts(token_lifetime_s=config.token_lifetime_s)
        #: Seconds by which the clock of the Transfer service is ahead.
        self.clock_offset_s = 0.0
        self._around = Surroundings(
            book=self.book, clock=self.now, rate=config.rate, retry_interval_s=config.retry_interval_s
        )
        self.desk = Desk(around=self._around)
        self.collections = _collections(archive, config)
        self.transfer = TransferService(
            self.accounts,
            self.desk,
            self.collections,
            page_size=config.page_size,
            history_while_running=config.history_while_running,
        )
        self._auth = AuthService(self.accounts)
        #: Requests so far by method and path.
        self.requests: Counter[tuple[str, str]] = Counter()
        self._closing = contextlib.AsyncExitStack()
        self._port = 0

    async def start(self) -> None:
        """It serves on a free port of the loopback."""
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            app = web.Application(client_max_size=_LARGEST_REQUEST, middlewares=[self._middleware()])
            app.add_routes([*self._auth.routes(), *self.transfer.routes()])
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            stack.push_async_callback(self.desk.close)
            listener = listening_socket()
            await web.SockSite(runner, listener, backlog=256).start()
            self._port = listener.getsockname()[1]
            self._auth.issuer = self.url
            self._closing = stack.pop_all()

    async def close(self) -> None:
        """Nothing is served and nothing copied any more."""
        await self._closing.aclose()

    @property
    def url(self) -> str:
        """The address of both services, for `globus.transfer_url` and `globus.auth_url`."""
        return f"http://127.0.0.1:{self._port}"

    def settings(self, root: Path) -> dict[str, dict[str, str]]:
        """What a mirror below `root` needs to know, by table and setting."""
        return {
            "archive": {
                "globus_collection": ARCHIVE_COLLECTION,
                "globus_path": self.config.archive_path,
            },
            "globus": {
                "collection": DESTINATION_COLLECTION,
                "path": self.collection_path(root),
                "client_id": CLIENT_ID,
                "transfer_url": self.url,
                "auth_url": self.url,
                "poll": "0.1s",
            },
        }

    def ids(self) -> dict[str, str]:
        """Ids and paths for a client in another process, and the secret that opens nothing but this stand-in."""
        return {
            "globus_collection": ARCHIVE_COLLECTION,
            "globus_path": self.config.archive_path,
            "collection": DESTINATION_COLLECTION,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "native_client_id": NATIVE_CLIENT_ID,
        }

    def now(self) -> float:
        """Unix time by the clock of the Transfer service."""
        return time.time() + self.clock_offset_s

    def authorize(self, url: str) -> str:
        """The code for a person who opens a login's `url` and agrees."""
        return self._auth.authorize(url)

    def add_collection(self, collection: Collection) -> None:
        """`collection` is there, in place of one with the same id."""
        self.collections[collection.collection_id] = collection

    @property
    def archive_collection(self) -> Collection:
        """The collection that shows the archive."""
        return self.collections[ARCHIVE_COLLECTION]

    @property
    def destination(self) -> Collection:
        """The collection on `config.folder`.

        Raises:
            LookupError: the stand-in was set up without a folder.
        """
        return self.collections[DESTINATION_COLLECTION]

    @property
    def storage(self) -> FolderStorage:
        """What the destination collection exports, with its quota.

        Raises:
            LookupError: the stand-in was set up without a folder.
            TypeError: a test has put something else in its place.
        """
        storage = self.destination.storage
        if not isinstance(storage, FolderStorage):
            raise TypeError("the destination collection is no folder")
        return storage

    def collection_path(self, place: Path) -> str:
        """Where the destination collection shows `place` of the local disk; its root where it does not."""
        base = PurePosixPath(self.config.folder_path)
        folder = self.config.folder
        if folder is None or not place.resolve().is_relative_to(folder.resolve()):
            return str(base)
        return str(base / place.resolve().relative_to(folder.resolve()))

    @property
    def tasks(self) -> list[Task]:
        """All tasks, in the order in which they came."""
        return list(self.desk.tasks.values())

    @property
    def submissions(self) -> list[Submitted]:
        """Accepted submissions, in the order in which they came."""
        return list(self.desk.submissions.values())

    @property
    def copies(self) -> dict[str, int]:
        """How often copying of each file was begun, by its path in the source collection."""
        return dict(self._around.copies)

    @property
    def bytes_moved(self) -> int:
        """Bytes written to destinations so far."""
        return self._around.bytes_moved

    @property
    def rate(self) -> float | None:
        """Bytes a second of one task; None: as fast as it goes."""
        return self._around.rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self._around.rate = rate

    def hold(self) -> None:
        """Nothing moves until `release`; requests are answered."""
        self._around.held = True

    def release(self) -> None:
        """Tasks go on."""
        self._around.held = False

    def add_foreign_task(
        self, label: str = "somebody's own", owner_id: str = SERVICE_IDENTITY.identity_id
    ) -> Task:
        """The account has a task that this mirror did not submit; it takes a place until `end_task`. From any thread.

        Raises:
            RuntimeError: the stand-in does not serve.
        """
        if self._loop is None:
            raise RuntimeError("the stand-in does not serve")

        async def add() -> Task:
            return self.desk.add_foreign(owner_id, label)

        if self._loop is _running_loop():
            return self.desk.add_foreign(owner_id, label)
        return asyncio.run_coroutine_threadsafe(add(), self._loop).result()

    def end_task(self, task: Task) -> None:
        """The foreign task has succeeded. From any thread.

        Raises:
            ValueError: it is not a foreign one.
        """
        if task.submission is not None:
            raise ValueError(f"task {task.task_id} was submitted and ends by itself")
        task.end("SUCCEEDED", self.now())

    def resume(self, task: Task) -> None:
        """An administrator lets a paused task go on, or the user has renewed credentials."""
        self.desk.resume(task)

    def _middleware(self) -> Middleware:
        @web.middleware
        async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.requests[request.method, request.path] += 1
            status = 0
            try:
                response = await self._faulty(request, handler)
                response.headers["Date"] = formatdate(self.now(), usegmt=True)
                status = response.status
            finally:
                self._served.add("globus", request.method, request.path, status=status)
            return response

        return serve

    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = self.book.take(REQUEST_KINDS, f"{request.method} {request.path}")
        kinds = GlobusFaultKind
        match fault.kind if fault is not None else None:
            case kinds.EXPIRE_TOKENS:
                self.accounts.expire_tokens()
            case kinds.REVOKE_LOGIN:
                self.accounts.revoke_logins()
            case kinds.HANG:
                await asyncio.Event().wait()
            case kinds.DROP_REQUEST:
                return _dropped(request)
            case kinds.LOSE_ANSWER:
                await handler(request)
                return _dropped(request)
        if fault is not None and fault.kind not in (kinds.EXPIRE_TOKENS, kinds.REVOKE_LOGIN):
            return _instead(fault, request.path)
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            unknown = ServiceError(error.status, "ClientError.NotFound", error.reason)
            return web.json_response(unknown.document(request.path), status=error.status)


def _instead(fault: GlobusFault, resource: str) -> web.Response:
    """The answer that `fault` demands."""
    wait = ""
    match fault.kind:
        case GlobusFaultKind.GARBAGE:
            return web.Response(text=fault.value or _GARBAGE, content_type="application/json")
        case GlobusFaultKind.STATUS:
            status, _, wait = (fault.value or "503").partition(" ")
            if status not in _SAID:
                return web.Response(status=int(status), body=HTML_PAGE, content_type="text/html")
            error = ServiceError(int(status), *_SAID[status])
        case GlobusFaultKind.MAINTENANCE:
            wait = fault.value
            error = ServiceError(503, "ServiceUnavailable", "The service is down for maintenance")
        case GlobusFaultKind.CONSENT_REQUIRED:
            scope = fault.value or required_for(DESTINATION_COLLECTION)
            error = ServiceError(
                403, "ConsentRequired", "Missing required data_access consent", required_scopes=[scope]
            )
        case _:
            word, _, rest = (fault.value or "403 PermissionDenied").partition(" ")
            code, _, message = rest.partition(" ")
            error = ServiceError(int(word), code, message or code)
    document = error.document(resource) if resource.startswith("/v0.10/") else {"error": error.code}
    return web.json_response(document, status=error.status, headers={"Retry-After": wait} if wait else {})


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _dropped(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _collections(archive: RehearsalArchive, config: GlobusConfig) -> dict[str, Collection]:
    source = Collection(
        collection_id=ARCHIVE_COLLECTION,
        display_name="EMPIAR rehearsal archive",
        storage=ArchiveStorage(archive),
        base_path=config.archive_path.encode(),
        read_only=True,
    )
    found = {source.collection_id: source}
    if config.folder is not None:
        destination = Collection(
            collection_id=DESTINATION_COLLECTION,
            display_name="Rehearsal storage",
            storage=FolderStorage(config.folder),
            base_path=config.folder_path.encode(),
            needs_data_access=config.needs_data_access,
        )
        found[destination.collection_id] = destination
    return found
