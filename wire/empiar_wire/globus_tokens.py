"""The file of a login's tokens: for its owner alone, replaced in whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from globus_sdk.token_storage import JSONTokenStorage, TokenStorageData

from empiar_schema.faults import AccountFault, ConfigFault


class TokenFile(JSONTokenStorage):
    """The SDK's token file, with what a service that runs for years needs besides.

    Its mode is 0600, also where it had another one before. It is written aside and renamed, so that a crash leaves the old
    tokens or the new ones. The SDK's way of protecting it, a process-wide umask, would meanwhile take rights from the
    files and folders that other threads create.
    """

    def __init__(self, path: Path, *, client_id: str) -> None:
        """Tokens in `path`, kept apart by application.

        Raises:
            ConfigFault: its folder is not there, or it cannot be protected.
        """
        # A link to where secrets are kept stays a link.
        path = Path(os.path.realpath(path))
        if not path.parent.is_dir():
            raise ConfigFault(
                f"the folder {path.parent} for the Globus tokens is not there",
                hint="create it, or set globus.token_file",
            )
        self.path = path
        super().__init__(path, namespace=client_id)
        try:
            if path.exists() and path.stat().st_mode & 0o077:
                path.chmod(0o600)
        except OSError as error:
            raise ConfigFault(
                f"{path} holds tokens but is open to others, and cannot be closed: {error.strerror}",
                hint=f"let the user of this mirror own it, with `chmod 600 {path}`",
            ) from error

    def store_token_data_by_resource_server(
        self, token_data_by_resource_server: Mapping[str, TokenStorageData]
    ) -> None:
        """The tokens are in the file; a refresh token that an answer leaves out is the one that was used.

        Where they cannot be written, as on a full disk, and nothing but access tokens is new, those in the file do as well.

        Raises:
            OSError: a login, or a new refresh token, cannot be written.
        """
        known = self.get_token_data_by_resource_server()
        for server, data in token_data_by_resource_server.items():
            if data.refresh_token is None and server in known:
                data.refresh_token = known[server].refresh_token
        try:
            super().store_token_data_by_resource_server(token_data_by_resource_server)
        except OSError:
            if any(
                server not in known or data.refresh_token != known[server].refresh_token
                for server, data in token_data_by_resource_server.items()
            ):
                raise

    @contextlib.contextmanager
    def user_only_umask(self) -> Iterator[None]:
        """What is written inside stands in the file afterwards, with mode 0600; no umask is touched."""
        aside = f"{self.path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)  # noqa: PTH108 - what a crash left
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self.filepath = aside
        try:
            yield
            descriptor = os.open(aside, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(aside, self.path)  # noqa: PTH105 - beside os.open
        finally:
            self.filepath = str(self.path)

    def removed_if_empty(self) -> None:
        """The file is gone if it holds no tokens of any application."""
        if self.path.exists() and not any(self._load()["data"].values()):
            self.path.unlink()


def unreadable(path: Path | None, error: Exception) -> AccountFault:
    """The tokens cannot be read: cut, of another program, or without the right to read them."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return AccountFault(
        f"the Globus tokens in {path} cannot be read: {reason}",
        hint=f"remove {path}, then run `empiar-mirror globus login`",
    )
