"""What refusals of Globus mean, who must act, and that texts from the network do no harm."""

from __future__ import annotations

import pytest

from empiar_schema.faults import (
    AccountFault,
    BadAnswer,
    EmpiarMirrorError,
    PermanentFault,
    TransientFault,
)
from empiar_wire.globus_faults import (
    CHECK_CLIENT,
    LOG_IN,
    Asked,
    MoreLoginNeeded,
    NotPermitted,
    Refusal,
    Service,
    SessionNeeds,
    fault_of,
    http_date,
    retry_after_s,
    shown,
    unreachable,
)

COLLECTION = "47772002-3e5b-4fd3-b97c-18cee38d6df2"
LIST = Asked(f"list /a of collection {COLLECTION}", collection=COLLECTION, path="/a")
DESCRIBE = Asked(f"describe collection {COLLECTION}", collection=COLLECTION)
TASK = Asked("tell how task 1 stands", task_id="1")
SUBMIT = Asked("transfer 3 items")


def transfer(status: int, code: str = "", message: str = "") -> Refusal:
    return Refusal(Service.TRANSFER, status, code, message, retry_after_s=7.0)


def auth(status: int, code: str = "") -> Refusal:
    return Refusal(Service.AUTH, status, code, "the token was SECRET")


@pytest.mark.parametrize(
    ("asked", "refusal", "kind", "words"),
    [
        (LIST, transfer(401, "AuthenticationFailed"), AccountFault, "no longer accepts the login"),
        (LIST, transfer(403, "ConsentRequired"), MoreLoginNeeded, f"collection {COLLECTION}"),
        (LIST, transfer(403, "EndpointPermissionDenied"), NotPermitted, f"may not list /a of collection {COLLECTION}"),
        (LIST, transfer(403, "PermissionDenied"), NotPermitted, "may not list /a"),
        (LIST, transfer(403, "ExternalError.MkdirFailed.PermissionDenied"), NotPermitted, "may not list /a"),
        (LIST, transfer(502, "ExternalError.DirListingFailed.PermissionDenied"), NotPermitted, "may not list /a"),
        (LIST, transfer(403), NotPermitted, "may not list /a"),
        (LIST, transfer(502, "ExternalError.DirListingFailed.LoginFailed"), AccountFault, "does not let this login in"),
        (LIST, transfer(404, "EndpointNotFound"), AccountFault, f"no Globus collection {COLLECTION}"),
        (DESCRIBE, transfer(404, "ClientError.NotFound"), AccountFault, f"no Globus collection {COLLECTION}"),
        (LIST, transfer(404, "ClientError.NotFound", "no such"), PermanentFault, "no such"),
        (LIST, transfer(502, "ExternalError.DirListingFailed.NotDirectory"), PermanentFault, "NotDirectory"),
        (LIST, transfer(502, "ExternalError.DirListingFailed.SizeLimit"), BadAnswer, "more names than Globus lists"),
        (LIST, transfer(502, "ExternalError.DirListingFailed.GCDisconnected"), TransientFault, "GCDisconnected"),
        (LIST, transfer(502, "ExternalError.DirListingFailed.ConnectFailed"), TransientFault, "ConnectFailed"),
        (TASK, transfer(404, "TaskNotFound"), PermanentFault, "tell how task 1 stands"),
        (TASK, transfer(410), PermanentFault, "HTTP 410"),
        (SUBMIT, transfer(409, "Conflict"), PermanentFault, "Conflict"),
        (SUBMIT, transfer(400, "ClientError.BadRequest.NoTransferItems"), PermanentFault, "NoTransferItems"),
        (SUBMIT, transfer(409, "TooManyPendingJobs"), TransientFault, "too many unfinished tasks"),
        (SUBMIT, transfer(429, "TooManyRequests"), TransientFault, "429"),
        (SUBMIT, transfer(500), TransientFault, "500"),
        (SUBMIT, transfer(502), TransientFault, "502"),
        (SUBMIT, transfer(503, "ServiceUnavailable", "maintenance"), TransientFault, "maintenance"),
        (SUBMIT, transfer(504), TransientFault, "504"),
        (SUBMIT, auth(400, "invalid_grant"), AccountFault, "has ended, or was revoked"),
        (SUBMIT, auth(401), AccountFault, "does not accept this application"),
        (SUBMIT, auth(400, "invalid_client"), AccountFault, "does not accept this application"),
        (SUBMIT, auth(400, "invalid_scope"), AccountFault, "invalid_scope"),
        (SUBMIT, auth(503), TransientFault, "503"),
        (SUBMIT, auth(429), TransientFault, "429"),
    ],
)  # fmt: skip
def test_each_refusal_is_the_fault_that_says_who_must_act(
    asked: Asked, refusal: Refusal, kind: type[EmpiarMirrorError], words: str
) -> None:
    fault = fault_of(asked, refusal)
    assert type(fault) is kind
    assert words in str(fault)
    assert bool(fault.hint) == isinstance(fault, AccountFault)
    assert "SECRET" not in str(fault) + fault.hint
    if isinstance(fault, PermanentFault):
        assert fault.absent == (refusal.status in (404, 410))
    if isinstance(fault, TransientFault):
        assert fault.retry_after_s == refusal.retry_after_s
        assert not fault.host_down


def test_the_hint_is_for_the_kind_of_account() -> None:
    dead = auth(400, "invalid_grant")
    assert fault_of(LIST, dead).hint == LOG_IN
    assert fault_of(LIST, auth(401), renew=CHECK_CLIENT).hint == CHECK_CLIENT
    assert fault_of(LIST, transfer(401), renew=CHECK_CLIENT).hint == CHECK_CLIENT


def test_what_another_login_must_bring_is_told_and_kept() -> None:
    scopes = ("urn:globus:auth:scope:transfer.api.globus.org:all[x]",)
    lack = fault_of(LIST, Refusal(Service.TRANSFER, 403, "ConsentRequired", required_scopes=scopes))
    assert isinstance(lack, MoreLoginNeeded)
    assert lack.required_scopes == scopes
    assert "globus login" in lack.hint

    unsaid = fault_of(LIST, Refusal(Service.TRANSFER, 403, "ConsentRequired"))
    assert isinstance(unsaid, MoreLoginNeeded)
    assert unsaid.required_scopes == (
        f"urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/{COLLECTION}/data_access]",
    )

    needs = SessionNeeds(domains=("lab.example",))
    fresh = fault_of(LIST, Refusal(Service.TRANSFER, 403, "PermissionDenied", session=needs))
    assert isinstance(fresh, MoreLoginNeeded)
    assert fresh.session == needs
    assert fresh.required_scopes == ()
    assert "an identity of lab.example" in str(fresh)


def test_nothing_reaching_the_service_rests_the_whole_service() -> None:
    assert unreachable(LIST, "transfer.api.globus.org", "ConnectTimeout").host_down


def test_a_hostile_message_is_one_short_line() -> None:
    fault = fault_of(
        LIST, transfer(500, "X" * 10_000, "\x1b[2J\r\nempiar-mirror: all is well\x9b" + "y" * 9_999)
    )
    assert str(fault).isprintable()
    assert len(str(fault)) < 600
    assert shown("a\n\tb") == "a b"


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        ("120", None, 120.0),
        ("86400", None, 86_400.0),  # the SDK cuts it to ten seconds
        ("Fri, 27 Nov 2026 15:00:30 GMT", "Fri, 27 Nov 2026 15:00:00 GMT", 30.0),
        ("Fri, 27 Nov 2026 15:00:30 GMT", None, 27.0),
        ("Fri, 27 Nov 2026 14:00:00 GMT", "Fri, 27 Nov 2026 15:00:00 GMT", 0.0),
        ("", None, None),
        ("soon", None, None),
        ("-5", None, None),
        ("9" * 400, None, None),
        ("Fri, 99 Nov 2026 15:00:30 GMT", None, None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_never_shortened(
    header: str, date: str | None, seconds: float | None
) -> None:
    now = http_date("Fri, 27 Nov 2026 15:00:03 GMT")
    assert now is not None
    headers = {"Retry-After": header} | ({"Date": date} if date else {})
    assert retry_after_s(headers, now=now) == seconds
