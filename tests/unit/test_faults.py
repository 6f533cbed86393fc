"""What answers of servers mean, and what exit code each fault has."""

import pytest

from empiar_schema import faults
from empiar_schema.faults import (
    BadAnswer,
    CatalogueFault,
    ConfigFault,
    EmpiarMirrorError,
    ExitCode,
    HostileName,
    IntegrityFault,
    PermanentFault,
    Stalled,
    StorageFault,
    TransferFault,
    TransientFault,
    UnreachableFault,
    fault_from_ftp_reply,
    fault_from_http_status,
)


@pytest.mark.parametrize("status", [403, 408, 425, 429, 500, 502, 503, 504, 599])
def test_an_http_status_of_a_passing_trouble_is_tried_again(status: int) -> None:
    fault = fault_from_http_status(status, "GET https://archive/a", retry_after_s=7.0)
    assert isinstance(fault, TransientFault)
    assert fault.retry_after_s == 7.0
    assert not fault.host_down


@pytest.mark.parametrize("status", [404, 410])
def test_an_http_status_of_absence_is_permanent_and_says_so(status: int) -> None:
    fault = fault_from_http_status(status, "GET https://archive/a")
    assert isinstance(fault, PermanentFault)
    assert fault.absent


@pytest.mark.parametrize("status", [300, 301, 304, 400, 401, 405, 409, 413, 414, 416, 451])
def test_any_other_http_status_is_permanent_but_no_absence(status: int) -> None:
    fault = fault_from_http_status(status, "GET https://archive/a")
    assert isinstance(fault, PermanentFault)
    assert not fault.absent


@pytest.mark.parametrize("code", [421, 530])
def test_an_ftp_reply_of_a_full_server_rests_the_host(code: int) -> None:
    fault = fault_from_ftp_reply(
        code, "There are too many connected users, please try later.", "USER anonymous"
    )
    assert isinstance(fault, TransientFault)
    assert fault.host_down


@pytest.mark.parametrize("code", [425, 426, 450, 451, 452, 552])
def test_an_ftp_reply_of_a_passing_trouble_concerns_one_file(code: int) -> None:
    fault = fault_from_ftp_reply(code, "Failed to establish connection.", "RETR a.mrc")
    assert isinstance(fault, TransientFault)
    assert not fault.host_down


@pytest.mark.parametrize(("code", "absent"), [(550, True), (500, False), (502, False), (553, False)])
def test_an_ftp_refusal_is_permanent_and_only_550_means_absent(code: int, absent: bool) -> None:
    fault = fault_from_ftp_reply(code, "Failed to open file.", "RETR a.mrc")
    assert isinstance(fault, PermanentFault)
    assert fault.absent is absent


def test_a_fault_says_what_was_asked_and_what_came_without_endless_text() -> None:
    assert str(fault_from_http_status(503, "GET https://archive/a")) == "GET https://archive/a: HTTP 503"
    assert len(str(fault_from_ftp_reply(550, "x" * 10_000, "RETR a"))) < 250


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ConfigFault, ExitCode.USAGE),
        (UnreachableFault, ExitCode.UNREACHABLE),
        (StorageFault, ExitCode.STORAGE),
        (CatalogueFault, ExitCode.STORAGE),
        (BadAnswer, ExitCode.SOME_FILES_FAILED),
        (HostileName, ExitCode.SOME_FILES_FAILED),
        (TransferFault, ExitCode.SOME_FILES_FAILED),
        (Stalled, ExitCode.SOME_FILES_FAILED),
        (IntegrityFault, ExitCode.SOME_FILES_FAILED),
    ],
)
def test_every_kind_of_fault_has_the_exit_code_of_the_contract(
    kind: type[EmpiarMirrorError], code: ExitCode
) -> None:
    assert kind("what happened").exit_code is code
    assert kind("what happened", hint="what to do").hint == "what to do"


def test_the_tree_in_the_module_names_every_fault_there_is() -> None:
    assert faults.__doc__ is not None
    kinds = [
        name
        for name, kind in vars(faults).items()
        if isinstance(kind, type) and issubclass(kind, EmpiarMirrorError)
    ]
    assert len(kinds) > 10
    for name in kinds:
        assert name in faults.__doc__
