"""The Transfer service over HTTP: submissions, tasks and their histories, operations on collections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from empiar_mirror.rehearsal.archive import Json
from empiar_mirror.rehearsal.globus import operations, paging
from empiar_mirror.rehearsal.globus.accounts import Accounts, Grant
from empiar_mirror.rehearsal.globus.collections import Collection
from empiar_mirror.rehearsal.globus.desk import Desk
from empiar_mirror.rehearsal.globus.documents import Document, ServiceError, bad_request, result
from empiar_mirror.rehearsal.globus.scopes import TRANSFER_ALL, TRANSFER_SERVER, data_access, required_for
from empiar_mirror.rehearsal.globus.submission import read_deadline, read_label, read_submission
from empiar_mirror.rehearsal.globus.tasks import Task

_API = "/v0.10"
_Answer = Callable[[web.Request, Grant], Awaitable[Document]]
#: How long a request to cancel waits for the task to end.
_CANCEL_WAIT_S = 10.0
_TASK_CLAUSES = {
    "status": paging.one_of("status"),
    "type": paging.one_of("type"),
    "task_id": paging.one_of("task_id"),
    "label": paging.like("label"),
    "request_time": paging.between("request_time"),
    "completion_time": paging.between("completion_time"),
}
_TASK_ORDER = ("request_time", "completion_time", "status", "label", "task_id", "deadline")


@dataclass(slots=True)
class TransferService:
    """Answers the requests of the Transfer API. Sizes of pages and the largest listing may be set at any time."""

    accounts: Accounts
    desk: Desk
    collections: dict[str, Collection]
    page_size: int = 100
    largest_listing: int = 100_000
    history_while_running: bool = True

    def routes(self) -> Iterable[web.RouteDef]:
        """What is served where."""
        task, operation = _API + "/task/{task_id}", _API + "/operation/endpoint/{collection}"
        return (
            web.get(_API + "/submission_id", self._answered(self._submission_id)),
            web.post(_API + "/transfer", self._answered(self._submit)),
            web.get(_API + "/task_list", self._answered(self._task_list)),
            web.get(task, self._answered(self._task)),
            web.put(task, self._answered(self._update)),
            web.post(task + "/cancel", self._answered(self._cancel)),
            web.get(task + "/event_list", self._answered(self._events)),
            web.get(task + "/successful_transfers", self._answered(self._moved)),
            web.get(task + "/skipped_errors", self._answered(self._skipped)),
            web.get(_API + "/endpoint/{collection}", self._answered(self._endpoint)),
            web.get(operation + "/ls", self._answered(self._ls)),
            web.get(operation + "/stat", self._answered(self._stat)),
            web.post(operation + "/mkdir", self._answered(self._mkdir)),
            web.post(operation + "/rename", self._answered(self._rename)),
        )

    def _answered(self, answer: _Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                self.desk.expire_overdue()
                return web.json_response(await answer(request, self._holder(request)))
            except ServiceError as error:
                return web.json_response(error.document(request.path), status=error.status)

        return handle

    def _holder(self, request: web.Request) -> Grant:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        grant = self.accounts.holder(token, TRANSFER_SERVER) if kind == "Bearer" else None
        if grant is None:
            raise ServiceError(401, "AuthenticationFailed", "Token is not active")
        if TRANSFER_ALL not in grant.scopes:
            raise ServiceError(403, "PermissionDenied", "The token does not have the required scope")
        return grant

    def _collection(self, collection_id: str) -> Collection:
        found = self.collections.get(collection_id.lower())
        if found is None or found.gone:
            raise ServiceError(404, "EndpointNotFound", f"No such endpoint '{collection_id}'")
        return found

    def _usable(self, collection_id: str, grant: Grant) -> Collection:
        """The collection, where the account may let the service at its data."""
        found = self._collection(collection_id)
        scope = data_access(found.collection_id)
        if found.needs_data_access and not self.accounts.has_consent(grant, TRANSFER_ALL, scope):
            raise ServiceError(
                403,
                "ConsentRequired",
                "Missing required data_access consent",
                required_scopes=[required_for(found.collection_id)],
            )
        return found

    async def _submission_id(self, _request: web.Request, grant: Grant) -> Document:
        return {
            "DATA_TYPE": "submission_id",
            "value": self.desk.new_submission_id(grant.identity.identity_id),
        }

    async def _submit(self, request: web.Request, grant: Grant) -> Document:
        document = await _body(request)
        owner = grant.identity.identity_id
        # A submission that was accepted once is not judged again: its deadline may have passed since.
        known = self.desk.submitted(owner, document)
        code, message = "Duplicate", "This submission was received earlier and has a task already"
        if known is None:
            asked = read_submission(
                document, self.desk.now(), lambda collection: self._usable(collection, grant)
            )
            known = self.desk.submit(owner, asked)
            code = "Accepted"
            message = "The transfer has been accepted and a task has been created and queued for execution"
        link: Json = {
            "DATA_TYPE": "link",
            "href": f"{_API}/task/{known.task_id}?format=json",
            "rel": "related",
            "resource": "task",
            "title": "related task",
        }
        return result(
            code,
            message,
            request.path,
            "transfer_result",
            submission_id=known.submission_id,
            task_id=known.task_id,
            task_link=link,
        )

    def _owned(self, request: web.Request, grant: Grant) -> Task:
        task_id = request.match_info["task_id"]
        task = self.desk.tasks.get(task_id.lower())
        if task is None or task.owner_id != grant.identity.identity_id:
            raise ServiceError(404, "ClientError.NotFound", f"No task found with id '{task_id}'")
        return task

    async def _task(self, request: web.Request, grant: Grant) -> Document:
        return paging.only_fields(request, self._owned(request, grant).document(self.desk.now()))

    async def _task_list(self, request: web.Request, grant: Grant) -> Document:
        now, owner = self.desk.now(), grant.identity.identity_id
        rows = [task.document(now) for task in self.desk.tasks.values() if task.owner_id == owner]
        # Times have whole seconds: of the same second, what came later stands first.
        rows = paging.filtered(request, rows[::-1], _TASK_CLAUSES)
        rows = paging.ordered(request, rows, _TASK_ORDER, "request_time DESC")
        return paging.offset_page(request, "task_list", [paging.only_fields(request, row) for row in rows])

    async def _update(self, request: web.Request, grant: Grant) -> Document:
        task, document = self._owned(request, grant), await _body(request)
        if not isinstance(document, dict):
            raise bad_request("The request body must be a document of type 'task'")
        if task.ended:
            raise ServiceError(409, "Conflict", "The task has ended")
        label = read_label(document["label"]) if "label" in document else task.label
        deadline = read_deadline(document.get("deadline"), self.desk.now())
        task.label, task.deadline = label, deadline or task.deadline
        return result("Updated", "The task has been updated successfully", request.path)

    async def _cancel(self, request: web.Request, grant: Grant) -> Document:
        task = self._owned(request, grant)
        if task.ended:
            return result(
                "TaskComplete", "The task completed before the cancel request was processed", request.path
            )
        try:
            async with asyncio.timeout(_CANCEL_WAIT_S):
                await self.desk.cancel(task)
        except TimeoutError:
            return result("CancelAccepted", "The cancel request is being processed", request.path)
        return result("Canceled", "The task has been cancelled successfully.", request.path)

    async def _events(self, request: web.Request, grant: Grant) -> Document:
        task = self._owned(request, grant)
        rows = [] if task.history_deleted else [event.document() for event in reversed(task.events)]
        if "filter_is_error" in request.query:
            rows = [row for row in rows if row["is_error"]]
        rows = paging.filtered(request, rows, {"is_error": paging.yes_or_no("is_error")})
        return paging.offset_page(request, "event_list", rows)

    async def _moved(self, request: web.Request, grant: Grant) -> Document:
        task = self._detailed(request, grant, "successful transfers")
        rows = [] if task.history_deleted else task.moved
        return paging.marker_page(request, "successful_transfers", rows, self.page_size)

    async def _skipped(self, request: web.Request, grant: Grant) -> Document:
        task = self._detailed(request, grant, "skipped errors")
        rows = [] if task.history_deleted else task.skipped
        return paging.marker_page(request, "skipped_errors", rows, self.page_size)

    def _detailed(self, request: web.Request, grant: Grant, what: str) -> Task:
        task = self._owned(request, grant)
        if not task.ended and not self.history_while_running:
            raise bad_request(f"Task '{task.task_id}' is still in progress, {what} are not yet available")
        return task

    async def _endpoint(self, request: web.Request, _grant: Grant) -> Document:
        return paging.only_fields(
            request, operations.described(self._collection(request.match_info["collection"]))
        )

    async def _ls(self, request: web.Request, grant: Grant) -> Document:
        found = self._usable(request.match_info["collection"], grant)
        return await operations.listing(request, found, self.largest_listing)

    async def _stat(self, request: web.Request, grant: Grant) -> Document:
        return await operations.status(request, self._usable(request.match_info["collection"], grant))

    async def _mkdir(self, request: web.Request, grant: Grant) -> Document:
        found = self._usable(request.match_info["collection"], grant)
        return await operations.make_folder(request, found, await _body(request))

    async def _rename(self, request: web.Request, grant: Grant) -> Document:
        found = self._usable(request.match_info["collection"], grant)
        return await operations.rename(request, found, await _body(request))


async def _body(request: web.Request) -> Json:
    """The JSON of a request. A large one is read in a thread, so that others are answered meanwhile."""
    data = await request.read()
    try:
        document: Json = await asyncio.to_thread(json.loads, data)
    except (ValueError, RecursionError) as error:
        raise bad_request("The request body is not valid JSON") from error
    return document
