"""Errors of the Globus SDK, translated where they arise."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import jwt
import requests
from globus_sdk import AuthAPIError, GlobusAPIError, GlobusError, NetworkError
from globus_sdk.token_storage import TokenValidationError
from globus_sdk.token_storage.validating_token_storage import (
    IdentityMismatchError,
    MissingTokenError,
    UnmetScopeRequirementsError,
)

from empiar_schema.faults import AccountFault, BadAnswer, EmpiarMirrorError, StorageFault
from empiar_wire.globus_faults import (
    NO_NEEDS,
    Asked,
    Refusal,
    Service,
    SessionNeeds,
    fault_of,
    no_sense,
    retry_after_s,
    unreachable,
)
from empiar_wire.globus_transport import OverlongAnswer

#: What an answer of a shape that the SDK does not expect raises out of its depths.
_OF_ODD_ANSWERS: Final = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
_OAUTH_ERROR = re.compile(r"[a-z_]{1,40}")


@contextmanager
def translated(asked: Asked, *, renew: str) -> Iterator[None]:
    """What the SDK raises inside comes out as a fault.

    The SDK's own errors are not chained to it: they carry the service's whole answer, which ``--debug`` would print.
    """
    fault: EmpiarMirrorError
    try:
        yield
    except GlobusAPIError as error:
        fault = fault_of(asked, refusal_of(error), renew=renew)
    except NetworkError as error:
        fault = _network_fault(error, asked)
    except TokenValidationError as error:
        fault = _token_fault(error, asked, renew)
    except GlobusError as error:
        fault = AccountFault(f"Globus cannot be asked to {asked.deed}: {error}", hint=renew)
    except jwt.PyJWTError as error:
        fault = AccountFault(
            f"the identity that {Service.AUTH} states cannot be verified: {type(error).__name__}",
            hint="check this machine's clock (NTP), then log in again",
        )
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        text = f"the Globus tokens cannot be kept: {error.strerror}: {error.filename}"
        fault = StorageFault(text, hint="free space, or set globus.token_file to another disk", full=full)
    except _OF_ODD_ANSWERS as error:
        fault = no_sense(asked, "Globus", type(error).__name__)
    else:
        return
    raise fault from None


def refusal_of(error: GlobusAPIError) -> Refusal:
    """What decides, of an error answer. Never raises, whatever the answer was."""
    service = Service.AUTH if isinstance(error, AuthAPIError) else Service.TRANSFER
    try:
        document = error.raw_json
    except RecursionError:
        document = None
    fields: dict[str, object] = document if isinstance(document, dict) else {}
    code = error.code or ""
    word = fields.get("error")
    if service is Service.AUTH and isinstance(word, str) and _OAUTH_ERROR.fullmatch(word):
        code = word
    try:
        scopes = tuple(error.info.consent_required.required_scopes)
        needs = error.info.authorization_parameters
        session = SessionNeeds(
            domains=tuple(needs.session_required_single_domain or ()),
            identities=tuple(needs.session_required_identities or ()),
            policies=tuple(needs.session_required_policies or ()),
            mfa=needs.session_required_mfa is True,
        )
    except (TypeError, ValueError, AttributeError, RecursionError):
        scopes, session = (), NO_NEEDS
    return Refusal(
        service=service,
        status=error.http_status,
        code=code,
        message=error.message or "",
        retry_after_s=retry_after_s(error.headers, now=time.time()),
        required_scopes=scopes,
        session=session,
    )


def _token_fault(error: TokenValidationError, asked: Asked, renew: str) -> EmpiarMirrorError:
    match error:
        case MissingTokenError():
            return AccountFault("not logged in to Globus", hint=renew)
        case UnmetScopeRequirementsError():
            return AccountFault("the Globus login lacks rights that this version needs", hint=renew)
        case IdentityMismatchError():
            return AccountFault(
                "this login is of another identity than the tokens that are kept",
                hint="run `empiar-mirror globus logout` first",
            )
    return no_sense(asked, Service.AUTH, type(error).__name__)


def _network_fault(error: NetworkError, asked: Asked) -> EmpiarMirrorError:
    cause = error.underlying_exception
    if isinstance(cause, OverlongAnswer):
        return BadAnswer(f"the answer of {_host(error)} when asked to {asked.deed} is {cause}")
    return unreachable(asked, _host(error), _reason(error))


def _host(error: NetworkError) -> str:
    cause = error.underlying_exception
    request = cause.request if isinstance(cause, requests.RequestException) else None
    url = request.url if request is not None else None
    return urlsplit(url).hostname or "Globus" if isinstance(url, str) else "Globus"


def _reason(error: NetworkError) -> str:
    """The last cause in a word: its texts would show whole addresses."""
    cause: BaseException = error.underlying_exception
    reason = cause.args[0] if cause.args and isinstance(cause.args[0], BaseException) else cause
    inner = getattr(reason, "reason", None)
    return type(inner if isinstance(inner, BaseException) else reason).__name__
