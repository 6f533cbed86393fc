"""What the Transfer service does at once: collections described, folders listed and made, names changed."""

from __future__ import annotations

from itertools import islice

from aiohttp import web

from empiar_mirror.rehearsal.archive import Json
from empiar_mirror.rehearsal.globus import paging
from empiar_mirror.rehearsal.globus.accounts import PERSON
from empiar_mirror.rehearsal.globus.collections import Collection, Listed, StorageError
from empiar_mirror.rehearsal.globus.copying import in_thread
from empiar_mirror.rehearsal.globus.documents import (
    Document,
    ServiceError,
    bad_request,
    modified,
    path_bytes,
    request_id,
    result,
    shown,
)

_LISTED_BY = ("name", "type", "size", "last_modified")


def described(collection: Collection) -> Document:
    """The document of a collection."""
    return {
        "DATA_TYPE": "endpoint",
        "id": collection.collection_id,
        "display_name": collection.display_name,
        "canonical_name": None,
        "entity_type": collection.entity_type,
        "owner_id": PERSON.identity_id,
        "owner_string": PERSON.username,
        "username": PERSON.username,
        "subscription_id": "00000000-0000-4000-8000-00000000005b" if collection.managed else None,
        "default_directory": shown(collection.base_path),
        "public": True,
        "high_assurance": False,
        "force_verify": False,
        "disable_verify": False,
        "non_functional": False,
        "gcp_connected": None,
        "gcp_paused": None,
        "requester_pays": False,
        "description": None,
        "organization": None,
        "DATA": [],
    }


async def listing(request: web.Request, collection: Collection, largest: int) -> Document:
    """The names of the folder that the request asks for.

    Raises:
        ServiceError: there is none, it may not be seen, or it has more than `largest` names.
    """
    path = _path(request, collection)

    def names() -> list[Listed]:
        return list(islice(collection.storage.names(collection.inner(path)), largest + 1))

    try:
        found = await in_thread(names)
    except StorageError as error:
        raise translated(error, "DirListingFailed", collection) from error
    if len(found) > largest:
        raise ServiceError(
            502,
            "ExternalError.DirListingFailed.SizeLimit",
            f"Directory listing exceeds the limit of {largest} entries",
        )
    rows = [
        _file(item) for item in found if request.query.get("show_hidden", "1") != "0" or item.name[:1] != b"."
    ]
    clauses = {
        "name": paging.like("name"),
        "type": paging.one_of("type"),
        "last_modified": paging.between("last_modified"),
    }
    rows = paging.filtered(request, rows, clauses)
    if "orderby" in request.query:
        rows = paging.ordered(request, rows, _LISTED_BY, "name")
    limit = paging.number(request, "limit", largest, most=max(largest, 1))
    offset = paging.number(request, "offset", 0, most=10**9)
    page: list[Json] = list(rows[offset : offset + limit])
    return {
        "DATA_TYPE": "file_list",
        "DATA": page,
        "path": shown(path),
        "absolute_path": shown(path),
        "endpoint": collection.collection_id,
        "rename_supported": True,
        "symlink_supported": True,
        "length": len(page),
        "limit": limit,
        "offset": offset,
        "total": len(rows),
        "request_id": request_id(),
    }


async def status(request: web.Request, collection: Collection) -> Document:
    """What stands at the path of the request.

    Raises:
        ServiceError: nothing does, or it may not be seen.
    """
    path = _path(request, collection)
    try:
        found = await in_thread(lambda: collection.storage.stat(collection.inner(path)))
    except StorageError as error:
        if error.code == "FILE_NOT_FOUND":
            raise ServiceError(404, "NotFound", f"Path not found, {error.details}") from error
        raise translated(error, "StatFailed", collection) from error
    return _file(found)


async def make_folder(request: web.Request, collection: Collection, asked: Json) -> Document:
    """The folder is there and is new.

    Raises:
        ServiceError: it cannot be made.
    """
    path = path_bytes(asked.get("path") if isinstance(asked, dict) else None)
    try:
        await in_thread(
            lambda: collection.writable().make_folder(collection.inner(path.rstrip(b"/")), parents=False)
        )
    except StorageError as error:
        raise translated(error, "MkdirFailed", collection) from error
    return result("DirectoryCreated", "The directory was created successfully", request.path, "mkdir_result")


async def rename(request: web.Request, collection: Collection, asked: Json) -> Document:
    """What had the old path has the new one.

    Raises:
        ServiceError: it cannot be renamed.
    """
    if not isinstance(asked, dict):
        raise bad_request("The request body must be a document")
    old, new = path_bytes(asked.get("old_path"), "old_path"), path_bytes(asked.get("new_path"), "new_path")
    try:
        await in_thread(lambda: collection.writable().rename(collection.inner(old), collection.inner(new)))
    except StorageError as error:
        raise translated(error, "RenameFailed", collection) from error
    return result("FileRenamed", "File or directory renamed successfully", request.path)


def translated(error: StorageError, what: str, collection: Collection) -> ServiceError:
    """The service's error where `collection` refuses an operation; `what` such as ``MkdirFailed``."""
    where = f"Error ({what})\nEndpoint: {collection.display_name} ({collection.collection_id})\nMessage: {error.details}"
    match error.code:
        case "FILE_NOT_FOUND":
            return ServiceError(404, "ClientError.NotFound", f"Directory not found, {where}")
        case "PERMISSION_DENIED":
            return ServiceError(403, "EndpointPermissionDenied", f"Denied by endpoint, {where}")
        case "NOT_A_DIRECTORY":
            return ServiceError(502, f"ExternalError.{what}.NotDirectory", where)
        case "EXISTS":
            return ServiceError(502, f"ExternalError.{what}.Exists", f"Path already exists, {where}")
        case "CONNECT_FAILED":
            return ServiceError(502, f"ExternalError.{what}.GCDisconnected", where)
        case "INVALID_PATH":
            return ServiceError(400, "InvalidPath", where)
        case _:
            return ServiceError(502, f"ExternalError.{what}", where)


def _path(request: web.Request, collection: Collection) -> bytes:
    text = request.query.get("path")
    return path_bytes(text) if text else collection.base_path


def _file(found: Listed) -> Document:
    link = shown(found.link_target) if found.link_target is not None else None
    return {
        "DATA_TYPE": "file",
        "name": shown(found.name),
        "type": found.kind,
        "size": found.size,
        "last_modified": modified(found.mtime),
        "permissions": "0755" if found.kind == "dir" else "0644",
        "user": "empiar",
        "group": "empiar",
        "link_target": link,
        "link_size": None if link is None else len(link),
        "link_last_modified": None if link is None else modified(found.mtime),
        "link_user": None,
        "link_group": None,
    }
