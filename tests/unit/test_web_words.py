"""What pages say of numbers, words and addresses; and charts."""

from __future__ import annotations

import pytest

from empiar_mirror.web.charts import Bar, largest, over_time, running_total
from empiar_mirror.web.door import is_loopback
from empiar_mirror.web.searching import Question, match_of
from empiar_mirror.web.serving import token_of
from empiar_mirror.web.wording import address, duration, moment, pieces, share
from empiar_schema.serve_settings import ServeSettings
from empiar_schema.settings import Settings


@pytest.mark.parametrize(
    ("words", "match"),
    [("", None), ("!!", None), ("ribosome", '"ribosome"*'), ('a" OR "b', '"a" "OR" "b"*'), ("EMDB-1 NEAR(x)", '"EMDB" "1" "NEAR" "x"*')],
)  # fmt: skip
def test_words_are_never_the_search_language(words: str, match: str | None) -> None:
    assert match_of(words) == match


def test_a_question_takes_what_makes_sense() -> None:
    question = Question.of({"q": " x ", "state": "complete", "order": "DROP", "page": "-1", "other": "y"})
    assert question == Question("x", (("state", "complete"),), "", 1)
    assert address("/entries", question.address(state=None)) == "/entries?q=x"


def test_a_share_is_whole_only_when_all_is_here() -> None:
    assert [share(n, 1000) for n in (0, 1, 999, 1000, 2000)] == [0, 0, 99, 100, 100]
    assert share(None, 5) == share(5, None) == 0


def test_times_are_short() -> None:
    assert [duration(s).replace("\xa0", " ") for s in (None, 5, 120, 7200, 9e5)] == [
        "–",
        "5 s",
        "2 min",
        "2 h",
        "10 d",
    ]
    assert moment("2026-01-01T12:30:00Z") == moment(1_767_270_600) == "2026-01-01 12:30 UTC"
    assert moment("2026-01-01") == "2026-01-01"


def test_charts_keep_proportions_and_show_what_is_small() -> None:
    chart = over_time("c", "t", [Bar("a", 100 * 2**40), Bar("b", 50 * 2**40), Bar("c", 1), Bar("d", 0)])
    tall = [bar.height for bar in chart.bars]
    assert tall[0] == pytest.approx(2 * tall[1], abs=0.2)
    assert (tall[2], tall[3]) == (1.0, 0.0)
    assert all(bar.y >= 0 for bar in chart.bars)
    assert over_time("c", "t", []).bars == ()
    assert [bar.bytes for bar in running_total([Bar("a", 1), Bar("b", 2)])] == [1, 3]
    assert largest([Bar("a", 1), Bar("b", 3), Bar("c", 2)], most=1) == [Bar("b", 3), Bar("others", 3)]


def test_what_is_to_be_typed_is_told_from_what_is_said() -> None:
    assert pieces("`repair` fetches again") == [("repair", True), (" fetches again", False)]
    assert pieces("say `sync 1` or `why 1`") == [
        ("say ", False),
        ("sync 1", True),
        (" or ", False),
        ("why 1", True),
    ]
    assert pieces("an odd ` is no mark") == [("an odd ` is no mark", False)]


@pytest.mark.parametrize(("host", "own"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("localhost.evil.example", False), ("", False)])  # fmt: skip
def test_a_token_is_asked_for_wherever_others_can_come(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    if host:
        try:
            serve = ServeSettings(host=host)
        except ValueError:
            return
        assert (token_of(Settings(serve=serve)) is None) is own


@pytest.mark.parametrize("token", ["short", "with spaces in the middle of it", "ümlaut-ümlaut-ümlaut"])
def test_a_token_that_can_be_guessed_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="16 characters"):
        ServeSettings.model_validate({"token": token})
