"""What is worth telling, and how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from empiar_mirror.notify.gathering import KEPT, NAMED, Gathering, Message
from empiar_mirror.notify.news import EntryStanding, Notice, Standing, news, notice_of, summary, unready_news
from empiar_schema import events
from empiar_schema.notify_settings import NoticeKind
from empiar_schema.states import Channel, CopyState

GB = 2**30
ENTRY = EntryStanding("Beta-galactosidase", "transferring", 10, 10 * GB, 4, 4 * GB, 0)
STANDING = Standing({10017: ENTRY}, 0, (), None, 50 * GB, ())
HOUR = 3600.0


def told(before: Standing | None, now: Standing) -> list[tuple[str, str, str]]:
    return [(notice.kind, notice.subject, notice.sentence) for notice in news(before, now)]


def test_what_stood_at_the_start_is_no_news() -> None:
    ill = replace(STANDING, damaged_files=3, standstill=("no byte",), disk_refusal="full")
    assert told(None, ill) == []
    assert told(ill, ill) == []


def test_an_entry_that_was_asked_for_is_told_with_its_size() -> None:
    [(kind, subject, sentence)] = told(replace(STANDING, entries={}), STANDING)
    assert (kind, subject) == ("matched", "EMPIAR-10017")
    assert sentence == "EMPIAR-10017 (Beta-galactosidase) was asked for: 10 files, 10 GiB"


def test_an_entry_is_complete_once_even_if_it_was_not_seen_before() -> None:
    done = replace(
        STANDING, entries={10017: replace(ENTRY, state="complete", here_files=10, here_bytes=10 * GB)}
    )
    assert [kind for kind, *_ in told(STANDING, done)] == ["complete"]
    assert [kind for kind, *_ in told(replace(STANDING, entries={}), done)] == ["matched", "complete"]
    assert told(done, done) == []


def test_files_that_fail_and_damage_are_told_when_they_become_more() -> None:
    worse = replace(STANDING, entries={10017: replace(ENTRY, failed_files=2)}, damaged_files=1)
    assert told(STANDING, worse) == [
        (
            "stuck",
            "EMPIAR-10017",
            "EMPIAR-10017: 2 files more failed; `empiar-mirror status 10017` names them",
        ),
        (
            "damage",
            "damage",
            "1 file found changed or missing, 1 in all: `empiar-mirror repair` fetches them again",
        ),
    ]
    assert told(worse, STANDING) == []


def test_a_full_disk_and_a_standstill_are_told_with_their_end() -> None:
    ill = replace(STANDING, standstill=("no byte has come",), disk_refusal="the quota is reached")
    assert told(STANDING, ill) == [
        ("disk", "disk", "the disk takes nothing more, 50 GiB free: the quota is reached"),
        ("stuck", "standstill", "no byte has come"),
    ]
    assert told(ill, STANDING) == [
        ("disk", "disk", "the disk takes files again, 50 GiB free"),
        ("stuck", "standstill", "work goes on again"),
    ]


def test_a_root_that_is_away_is_told_with_its_return() -> None:
    assert unready_news((), ("/srv is not there",))[0].sentence == "the mirror cannot work: /srv is not there"
    assert "can work again" in unready_news(("/srv is not there",), ())[0].sentence
    assert unready_news(("a",), ("b",)) == []


def test_a_pause_for_space_and_the_loss_of_globus_are_told_and_nothing_of_single_files() -> None:
    pause = notice_of(events.Paused("900 bytes do not fit", events.UNTIL_SPACE))
    assert pause is not None
    assert pause.kind is NoticeKind.DISK
    assert notice_of(events.Paused("the service is down", "Globus answers")) is None
    out = notice_of(events.GlobusOut("the login has ended", 3))
    assert out is not None
    assert out.kind is NoticeKind.STUCK
    assert notice_of(events.FileGivenUp(1, "10017/a", CopyState.PARKED, "HTTP 404")) is None
    assert notice_of(events.AttemptBegan(1, "10017/a", Channel.FTP, 1, 0)) is None


def test_the_summary_says_what_came_what_is_left_and_who_is_needed() -> None:
    now = replace(
        STANDING,
        entries={10017: replace(ENTRY, here_files=7, here_bytes=7 * GB, failed_files=1)},
        attention=("1 file is damaged",),
    )
    assert summary(STANDING, now).sentence.splitlines() == [
        "since the last summary 3 files came, 3 GiB",
        "0 of 1 entries are complete, 7 files, 7 GiB",
        "2 files still to come, 3 GiB; 1 failed",
        "50 GiB free on the disk",
        "1 file is damaged",
    ]


# --- how often ----------------------------------------------------------------------------------------------


def notices(*subjects: str, kind: NoticeKind = NoticeKind.COMPLETE, said: str = "is here") -> list[Notice]:
    return [Notice(kind, subject, f"{subject} {said}") for subject in subjects]


def test_the_first_is_sent_at_once_and_the_next_are_gathered_for_an_hour() -> None:
    gathering = Gathering(every_s=HOUR)
    gathering.add(notices("a", "b"))
    [(kind, sent, more)] = gathering.due(0)
    assert (kind, [notice.subject for notice in sent], more) == (NoticeKind.COMPLETE, ["a", "b"], 0)
    gathering.add(notices("c"))
    assert gathering.due(HOUR - 1) == []
    gathering.add(notices("d", "c", said="is here after all"))
    [(_, sent, _)] = gathering.due(HOUR)
    assert [notice.sentence for notice in sent] == ["c is here after all", "d is here after all"]
    assert gathering.due(10 * HOUR) == []


def test_one_kind_does_not_hold_up_another() -> None:
    gathering = Gathering(every_s=HOUR)
    gathering.add(notices("a"))
    assert len(gathering.due(0)) == 1
    gathering.add(notices("x", kind=NoticeKind.DAMAGE))
    assert [kind for kind, *_ in gathering.due(1)] == [NoticeKind.DAMAGE]


def test_a_clock_that_is_set_back_silences_nobody() -> None:
    gathering = Gathering(every_s=HOUR)
    gathering.add(notices("a"))
    gathering.due(10**9)
    gathering.add(notices("b"))
    assert len(gathering.due(10**6)) == 1


def test_thousands_of_subjects_become_one_message_that_counts_them() -> None:
    gathering = Gathering(every_s=HOUR)
    gathering.add(notices(*(str(number) for number in range(KEPT + 500))))
    [(kind, sent, more)] = gathering.due(0)
    assert (len(sent), more) == (NAMED, KEPT + 500 - NAMED)
    message = Message(kind, "node1:/srv/empiar", 0, sent, more)
    assert message.text.endswith(f"and {KEPT + 450:,} more")
    document = message.document()
    assert document["count"] == KEPT + 500
    assert document["at"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_every_kind_has_a_title(kind: NoticeKind) -> None:
    assert Message(kind, "node1", 0, ()).title.startswith("empiar-mirror on node1: ")
