"""The walk through an entry's directories: what it bounds, what it tries again, what it gives up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from empiar_crawler.parse.listed import Listed
from empiar_crawler.sources.base import BATCH_FILES, DEEPEST, walk_tree
from empiar_schema.faults import BadAnswer, EmpiarMirrorError, PermanentFault, TransientFault
from empiar_schema.files import ListedFile

GONE = PermanentFault("550", absent=True)
BROKEN = TransientFault("reset")


async def no_wait(_seconds: float) -> None:
    """Time is not what these tests are about."""


def files(*names: str) -> list[ListedFile]:
    return [ListedFile(name, 1, True, None, 1) for name in names]


class Archive:
    """Directories as Python lists; each failure of a directory is used up once, after its first rows."""

    def __init__(
        self, tree: dict[str, Listed], failures: dict[str, list[EmpiarMirrorError]] | None = None
    ) -> None:
        self.tree = tree
        self.failures = failures or {}
        self.reads: list[str] = []
        self.now = 0
        self.most = 0

    async def read(self, directory: str) -> AsyncGenerator[Listed, None]:
        self.reads.append(directory)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            yield self.tree[directory]
            if self.failures.get(directory):
                raise self.failures[directory].pop(0)
        finally:
            self.now -= 1


async def _walk(read: Callable[[str], AsyncGenerator[Listed, None]], readers: int = 2) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    async for batch in walk_tree(read, readers=readers, sleep=no_wait):
        assert len(batch.files) <= BATCH_FILES
        found.setdefault(batch.directory, set()).update(file.name for file in batch.files)
    return found


TREE = {
    "": Listed(files("10001.xml"), ["data"]),
    "data": Listed(files("a"), ["x", "y"]),
    "data/x": Listed(files("b")),
    "data/y": Listed(),
}
WHOLE = {"": {"10001.xml"}, "data": {"a"}, "data/x": {"b"}, "data/y": set()}


async def test_every_directory_is_read_once() -> None:
    archive = Archive(TREE)
    assert await _walk(archive.read) == WHOLE
    assert sorted(archive.reads) == sorted(TREE)


async def test_a_directory_listed_twice_is_read_once() -> None:
    archive = Archive({"": Listed(files("a"), ["d", "d"]), "d": Listed(files("b"))})
    await _walk(archive.read)
    assert archive.reads == ["", "d"]


async def test_no_more_directories_are_read_at_once_than_there_are_readers() -> None:
    names = [f"d{number}" for number in range(50)]
    archive = Archive({"": Listed([], names)} | {name: Listed(files("a")) for name in names})
    assert len(await _walk(archive.read, readers=3)) == 51
    assert archive.most == 3


async def test_a_large_directory_comes_in_batches() -> None:
    many = files(*map(str, range(2 * BATCH_FILES + 1)))
    assert len((await _walk(Archive({"": Listed(many)}).read))[""]) == len(many)


@pytest.mark.parametrize("faults", [[BROKEN], [BROKEN, BROKEN], [GONE]])
async def test_what_may_pass_is_read_again(faults: list[EmpiarMirrorError]) -> None:
    assert await _walk(Archive(TREE, {"data/x": list(faults)}).read) == WHOLE


@pytest.mark.parametrize("faults", [[BROKEN] * 3, [GONE] * 2])
async def test_what_does_not_pass_makes_the_listing_incomplete(faults: list[EmpiarMirrorError]) -> None:
    with pytest.raises(TransientFault):
        await _walk(Archive(TREE, {"data/x": list(faults)}).read)


async def test_a_page_that_cannot_be_read_is_not_read_again() -> None:
    archive = Archive(TREE, {"data": [BadAnswer("cut")]})
    with pytest.raises(BadAnswer):
        await _walk(archive.read)
    assert archive.reads.count("data") == 1


async def test_a_missing_entry_is_absent_at_once() -> None:
    archive = Archive(TREE, {"": [GONE]})
    with pytest.raises(PermanentFault) as caught:
        await _walk(archive.read)
    assert caught.value.absent
    assert archive.reads == [""]


async def test_endless_nesting_ends_as_a_bad_answer() -> None:
    deepest = 0

    async def read(directory: str) -> AsyncGenerator[Listed, None]:
        nonlocal deepest
        deepest = max(deepest, directory.count("/"))
        yield Listed(files("a"), ["again"])

    with pytest.raises(BadAnswer, match="endless"):
        await _walk(read)
    assert deepest < DEEPEST


async def test_endless_files_end_as_a_bad_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("empiar_crawler.sources.base.MOST_FILES", 10_000)

    async def read(_directory: str) -> AsyncGenerator[Listed, None]:
        while True:
            yield Listed(files(*"abc"))

    with pytest.raises(BadAnswer, match="endless"):
        await _walk(read)


async def test_leaving_early_ends_all_readers() -> None:
    archive = Archive({"": Listed(files("a"), ["d"]), "d": Listed(files("b"))})
    walk = walk_tree(archive.read, readers=2, sleep=no_wait)
    await anext(walk)
    await walk.aclose()
    assert archive.now == 0
    assert len(asyncio.all_tasks()) == 1


async def test_a_slow_consumer_slows_the_reading_down() -> None:
    names = [f"d{number}" for number in range(100)]
    archive = Archive({"": Listed([], names)} | {name: Listed(files("a")) for name in names})
    walk = walk_tree(archive.read, readers=2, sleep=no_wait)
    await anext(walk)
    for _ in range(500):
        await asyncio.sleep(0)
    assert len(archive.reads) < 15
    await walk.aclose()
