"""The configuration of notifications: who is told what, and how, each a table ``[notify.NAME]``."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from empiar_schema.settings_types import EnvironmentOnly, Seconds, Table, each_once


class NoticeKind(StrEnum):
    """What people may want to be told."""

    MATCHED = "matched"
    COMPLETE = "complete"
    STUCK = "stuck"
    DAMAGE = "damage"
    DISK = "disk"
    UPSTREAM = "upstream"
    SUMMARY = "summary"


#: Sentences for people, one a kind.
NOTICE_MEANING: Final[dict[NoticeKind, str]] = {
    NoticeKind.MATCHED: "entries were asked for, by a subscription or a person",
    NoticeKind.COMPLETE: "all that was asked for of an entry is here",
    NoticeKind.STUCK: "work does not go on, files were given up, or `root` is away; also that it goes on again",
    NoticeKind.DAMAGE: "files that were here were found changed or missing",
    NoticeKind.DISK: "the disk takes nothing more, or takes files again; files were evicted by the service, or could not be",
    NoticeKind.UPSTREAM: "the archive made an entry obsolete or withdrew it, or files of it, of which there are copies here; the copies stay",
    NoticeKind.SUMMARY: "once a day: what came, what is still to come, what needs somebody",
}

_ADDRESS: Final = re.compile(r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+")


def _secret_url(secret: SecretStr | None) -> SecretStr | None:
    # Service units pass on variables that are empty. The text is a secret, so no error shows it.
    text = secret.get_secret_value().strip() if secret is not None else ""
    if not text:
        return None
    try:
        parts = urlsplit(text)
        good = (
            parts.scheme in ("https", "http")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be an address such as https://host/path")
    return SecretStr(text)


def _set_secret(secret: SecretStr | None) -> SecretStr | None:
    return secret if secret is not None and secret.get_secret_value().strip() else None


def _mail_address(text: str) -> str:
    if text and not (_ADDRESS.fullmatch(text) and text.isascii() and text.isprintable()):
        raise ValueError("must be a plain e-mail address, such as mirror@example.org")
    return text


def _arguments(command: tuple[str, ...]) -> tuple[str, ...]:
    if any("\0" in argument for argument in command) or (command and not command[0]):
        raise ValueError("must begin with a program, and hold no NUL character")
    return command


MailAddress = Annotated[str, AfterValidator(_mail_address)]


class NotifySettings(Table):
    """Somebody who is told what happens: by a program of yours, a webhook, or an e-mail."""

    kind: Literal["command", "webhook", "email"] = Field(examples=["email"])
    """How: command runs a program, webhook sends a POST request, email a message."""
    events: Annotated[tuple[NoticeKind, ...], AfterValidator(each_once)] = Field(
        default=tuple(NoticeKind), min_length=1
    )
    """What is told: matched, complete, stuck, damage, disk, upstream, summary (docs/operations.md says what each means)."""
    enabled: bool = True
    """`false` keeps the table but tells nothing."""
    timeout: Seconds = Field(default=30.0, gt=0, le=600)
    """Time after which one try is given up, and a program ended."""
    command: Annotated[tuple[str, ...], AfterValidator(_arguments)] = ()
    """command: the program and its arguments; there is no shell. It gets the message as JSON on its standard input."""
    url: Annotated[SecretStr | None, AfterValidator(_secret_url), EnvironmentOnly()] = None
    """webhook: the address to which the message is sent as JSON; from the environment only, because such addresses are secrets."""
    host: str = ""
    """email: the mail server."""
    port: int | None = Field(default=None, ge=1, le=65_535, examples=[587])
    """email: its port; not set means 587 with starttls, 465 with tls, 25 with none."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """email: how the connection is encrypted; none only for a server on this machine or in a network that you trust, and without a password."""
    user: str = ""
    """email: the account's name, where the server asks for one."""
    password: Annotated[SecretStr | None, AfterValidator(_set_secret), EnvironmentOnly()] = None
    """email: the account's password; from the environment only, never from the file."""
    sender: MailAddress = ""
    """email: from whom."""
    recipients: Annotated[tuple[MailAddress, ...], AfterValidator(each_once)] = ()
    """email: to whom."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        match self.kind:
            case "command":
                lacks = [] if self.command else ["command"]
            case "webhook":
                lacks = []  # the address comes from the daemon's environment, which other commands need not have
            case "email":
                needed = {"host": self.host, "sender": self.sender, "recipients": self.recipients}
                lacks = [name for name, given in needed.items() if not given or given == ("",)]
        if lacks:
            raise ValueError(f'lacks {", ".join(lacks)}, which kind = "{self.kind}" needs')
        if self.kind == "email" and self.security == "none" and self.user:
            raise ValueError('user needs security = "starttls" or "tls": a password is never sent in clear')
        return self
