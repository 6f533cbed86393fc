"""Sizes and durations as people and EMPIAR write them."""

import pytest

from empiar_schema.sizes import format_bytes, parse_dataset_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000),
        ("2TiB", 2 * 2**40),
        ("1.5 GiB", 3 * 2**29),
        ("10 kb", 10_000),
        ("0", 0),
        (" 7 B ", 7),
        (12, 12),
        (None, None),
    ],
)
def test_a_size_is_decimal_or_binary_by_its_unit_and_numbers_pass_through(text: object, size: object) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1 QB", "1,5GB", "0x10", "1e9", "GB", "٣GB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write 500MB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("6h", 21_600.0),
        ("7d", 604_800.0),
        ("1.5 m", 90.0),
        ("250ms", 0.25),
        ("30", 30.0),
        (4.5, 4.5),
    ],
)
def test_a_duration_is_seconds(text: object, seconds: object) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-6h", "6 H", "h", "1h30m", ""])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write 90s"):
        parse_duration(text)


def test_a_stated_dataset_size_is_binary_whatever_its_letters() -> None:
    """EMPIAR-10988's 1,283 files add up to 327,980,789,226 bytes, and the archive says 305.5 GB."""
    stated = parse_dataset_size("305.5 GB")
    assert stated is not None
    assert abs(stated - 327_980_789_226) <= 0.05 * 2**30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1.9 TB", int(1.9 * 2**40)),
        ("24 B", 24),
        ("24", 24),
        ("1 KB", 1024),
        ("2 PB", 2 * 2**50),
        ("1.0 GiB", 2**30),
        ("8 PB", 8 * 2**50),
    ],
)
def test_all_units_of_a_dataset_size_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_dataset_size(text) == size


@pytest.mark.parametrize(
    "text", [None, "", "unknown", "1,9 TB", "-1 GB", "1 light-year", "9" * 40 + " PB", "9000000 PB"]
)
def test_a_dataset_size_that_states_nothing_or_cannot_be_stored_is_none(text: str | None) -> None:
    assert parse_dataset_size(text) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1023, "1023 B"),
        (1023.9, "1 KiB"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (999.4 * 1024, "999 KiB"),
        (999.7 * 1024, "1000 KiB"),
        (1023 * 1024, "1023 KiB"),
        (2**20 - 1, "1 MiB"),
        (305.456 * 2**30, "305 GiB"),
        (8.9 * 2**50, "8.9 PiB"),
        (5000 * 2**50, "5000 PiB"),
        (-1536, "-1.5 KiB"),
    ],
)
def test_bytes_are_shown_in_binary_units_without_exponents(count: float, text: str) -> None:
    assert format_bytes(count) == text
