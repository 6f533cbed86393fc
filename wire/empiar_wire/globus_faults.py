"""What a refusal of the Globus services means, and who must do what about it. Pure: no network, nothing of the SDK.

Codes: https://docs.globus.org/api/transfer/file_operations/, …/task_submit/, …/overview/#errors, and of Auth
https://docs.globus.org/api/auth/reference/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from empiar_schema.faults import (
    AccountFault,
    BadAnswer,
    EmpiarMirrorError,
    PermanentFault,
    TransientFault,
)

LOG_IN: Final = "run `empiar-mirror globus login`"
CHECK_CLIENT: Final = "check globus.client_id and EMPIAR_MIRROR_GLOBUS__CLIENT_SECRET"
#: A directory listing, a folder's making: the path is there already.
EXISTS: Final = "ExternalError.MkdirFailed.Exists"

_TRANSFERS: Final = "urn:globus:auth:scope:transfer.api.globus.org:all"
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LONGEST_MESSAGE = 200
#: A collection's host maps identities to local accounts; these say that it would not let ours in.
_NOT_LET_IN = ("LoginFailed", "ActivationRequired", "AuthenticationFailed", "CredentialsRequired")


class Service(StrEnum):
    """The two services that an account speaks with."""

    TRANSFER = "Globus Transfer"
    AUTH = "Globus Auth"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, for sentences: `deed` is what would be done, such as ``list /a of collection …``."""

    deed: str
    #: The collection that it concerned, where it was one.
    collection: str | None = None
    #: The path in it.
    path: str | None = None
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionNeeds:
    """What a login must bring besides consents, in the service's own words."""

    domains: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    mfa: bool = False

    def __bool__(self) -> bool:
        return bool(self.domains or self.identities or self.policies or self.mfa)


NO_NEEDS: Final = SessionNeeds()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusing answer of either service, reduced to what decides."""

    service: Service
    status: int
    #: The service's own word: ``ClientError.NotFound``, ``invalid_grant``; "" where it gave none.
    code: str = ""
    message: str = ""
    retry_after_s: float | None = None
    required_scopes: tuple[str, ...] = ()
    session: SessionNeeds = NO_NEEDS


class MoreLoginNeeded(AccountFault):
    """The login stands but lacks something that another login can bring: consents, or an identity of a certain domain."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        required_scopes: tuple[str, ...] = (),
        session: SessionNeeds = NO_NEEDS,
    ) -> None:
        super().__init__(message, hint=hint)
        self.required_scopes = required_scopes
        self.session = session


class NotPermitted(AccountFault):
    """The account is let in but may not do this, at this path: a permission that lacks, or a path that the collection does not show."""


def fault_of(asked: Asked, refusal: Refusal, *, renew: str = LOG_IN) -> EmpiarMirrorError:
    """The fault that a refusal means. `renew` is the hint for an account that is not, or no longer, let in."""
    if refusal.service is Service.AUTH:
        return _auth_fault(asked, refusal, renew)
    code, last = refusal.code, refusal.code.rpartition(".")[2]
    said = _said(refusal)
    if code == "ConsentRequired" or refusal.session:
        return _more_login(asked, refusal)
    if refusal.status == 401:
        return AccountFault(f"Globus no longer accepts the login: {said}", hint=renew)
    if last in ("PermissionDenied", "EndpointPermissionDenied") or refusal.status == 403:
        return _denied(asked, said)
    if last in _NOT_LET_IN:
        hint = (
            "ask whoever runs the collection whether this identity has an account there, and log in again"
            " with `empiar-mirror globus login`"
        )
        return AccountFault(f"the collection does not let this login in to {asked.deed}: {said}", hint=hint)
    if last == "SizeLimit":
        return BadAnswer(f"could not {asked.deed}: there are more names than Globus lists")
    if "TooManyPending" in code:
        return TransientFault(
            f"the account has too many unfinished tasks: {said}", retry_after_s=refusal.retry_after_s
        )
    if refusal.status == 404 or refusal.status == 410 or last in ("NotFound", "EndpointNotFound"):
        return _not_found(asked, refusal, said)
    if last in ("NotDirectory", "Exists", "NotSupported"):
        return PermanentFault(f"could not {asked.deed}: {said}")
    if refusal.status in (408, 425, 429) or refusal.status >= 500:
        return TransientFault(f"could not {asked.deed}: {said}", retry_after_s=refusal.retry_after_s)
    return PermanentFault(f"Globus refused to {asked.deed}: {said}")


def unreachable(asked: Asked, service: str, reason: str) -> TransientFault:
    """Nothing reached the service, or its answer broke off."""
    return TransientFault(f"{service} cannot be reached to {asked.deed}: {reason}", host_down=True)


def no_sense(asked: Asked, service: str, what: str) -> TransientFault:
    """The answer is no document at all: a proxy's page, a cut one. The same call may succeed later."""
    return TransientFault(f"{service} gave no sensible answer when asked to {asked.deed}: {what}")


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds that the service wants us to stay away, from a number or a date; None where it said nothing usable.

    A date counts from the answer's own Date where it has one, because this machine's clock (`now`, epoch seconds) may be wrong.
    """
    text = (headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    until = http_date(text)
    if until is None:
        return None
    return max(0.0, until - (http_date(headers.get("Date") or "") or now))


def http_date(text: str) -> float | None:
    """Epoch seconds of a date in an HTTP header; None if it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def shown(text: str) -> str:
    """A text from the network as a sentence may hold it: one line, at most 200 characters."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def _said(refusal: Refusal) -> str:
    parts = [f"HTTP {refusal.status}", shown(refusal.code), shown(refusal.message)]
    return ", ".join(part for part in parts if part)


def _auth_fault(asked: Asked, refusal: Refusal, renew: str) -> EmpiarMirrorError:
    # Messages of Auth are left out: what was sent there are secrets, and an answer may quote them.
    said = f"HTTP {refusal.status}" + (f", {shown(refusal.code)}" if refusal.code else "")
    if refusal.status in (408, 425, 429) or refusal.status >= 500:
        return TransientFault(
            f"{Service.AUTH} could not help to {asked.deed}: {said}", retry_after_s=refusal.retry_after_s
        )
    if refusal.code == "invalid_grant":
        return AccountFault("the Globus login has ended, or was revoked", hint=renew)
    if refusal.status == 401 or refusal.code in ("invalid_client", "unauthorized_client"):
        return AccountFault(
            f"{Service.AUTH} does not accept this application: {said}",
            hint="check globus.client_id" if renew == LOG_IN else renew,
        )
    return AccountFault(f"{Service.AUTH} refused to let this account {asked.deed}: {said}", hint=renew)


def _more_login(asked: Asked, refusal: Refusal) -> MoreLoginNeeded:
    where = f" for collection {asked.collection}" if asked.collection else ""
    needs = refusal.session
    if needs:
        which = f" with an identity of {', '.join(map(shown, needs.domains))}" if needs.domains else ""
        text = f"a fresh login{which} is needed to {asked.deed}"
    else:
        text = f"the login lacks the consent to use the data{where}: it is needed to {asked.deed}"
    return MoreLoginNeeded(
        text,
        hint=f"{LOG_IN}, which asks for what is lacking",
        required_scopes=refusal.required_scopes or (() if needs else _data_access(asked)),
        session=needs,
    )


def _data_access(asked: Asked) -> tuple[str, ...]:
    """The consent that mapped collections want, where the service has not said which it is."""
    if asked.collection is None:
        return ()
    return (f"{_TRANSFERS}[*https://auth.globus.org/scopes/{asked.collection}/data_access]",)


def _denied(asked: Asked, said: str) -> NotPermitted:
    whom = f"whoever runs collection {asked.collection}" if asked.collection else "the owner"
    hint = f"ask {whom} for that permission for this account; `empiar-mirror globus whoami` names it"
    return NotPermitted(f"this Globus account may not {asked.deed}: {said}", hint=hint)


def _not_found(asked: Asked, refusal: Refusal, said: str) -> EmpiarMirrorError:
    whole = asked.path is None and asked.task_id is None
    if refusal.code.endswith("EndpointNotFound") or (whole and asked.collection is not None):
        return AccountFault(
            f"there is no Globus collection {asked.collection}, or none that this account may see: {said}",
            hint="check globus.collection and archive.globus_collection, and ask whoever runs it whether it has moved",
        )
    return PermanentFault(f"could not {asked.deed}: {said}", absent=True)
