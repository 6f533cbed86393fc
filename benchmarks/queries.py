"""How long saved queries and searches take. Run by hand: ``python benchmarks/queries.py --files 20000000``.

A catalogue of 3,000 entries is filled (or one is taken: `--folder`), every saved query runs with its defaults, and a few
searches; beside some of them the naive SQL that answers the same. Prints a table; asserts nothing, because figures
depend on the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from empiar_mirror.query import Limits, Value, ask
from empiar_mirror.reading import reading
from empiar_mirror.saved.known import library
from empiar_mirror.searching import search
from empiar_schema.catalogue import Catalogue

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.idle import fill, show

SEARCHES = ("membrane protein", "cryo-et", "10017", "EMD-1234", "mem* -10500", "membrain")
#: What one would write first.
NAIVE = {
    "duplicates": "SELECT sha256, count(DISTINCT empiar_id) FROM copies WHERE sha256 IS NOT NULL AND bytes >= 1000000"
    " GROUP BY sha256 HAVING count(DISTINCT empiar_id) > 1",
    "biggest-folders": "SELECT empiar_id, directory, sum(bytes) FROM files GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 50",
    "incomplete": "SELECT empiar_id, state, error, count(*) FROM copies WHERE state IN ('parked', 'quarantined', 'damaged')"
    " GROUP BY 1, 2, 3",
    "throughput": "SELECT substr(ended_at, 1, 13), channel, sum(bytes_moved) FROM transfers"
    " WHERE ended_at >= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day') GROUP BY 1, 2",
    "eer-entries": "SELECT DISTINCT e.empiar_id FROM entries e JOIN files f USING (empiar_id)"
    " WHERE f.suffix = '.eer' AND e.dataset_bytes <= 2e12",
}


def seconds(work: Callable[[], object]) -> float:
    """The better of two runs."""
    taken = []
    for _ in range(2):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--here", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="the catalogue is made here, or is here already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.folder or Path(temporary)).absolute()
        new = not (root / "empiar.db").exists()
        with Catalogue.open(root / "empiar.db", create=True) as catalogue:
            if new:
                fill(catalogue, entries=3_000, files=arguments.files, here=arguments.here)

        def run(sql: str, values: dict[str, Value]) -> None:
            with ask(root, sql, parameters=values, limits=Limits(rows=None, seconds=None)) as rows:
                for _ in rows:
                    pass

        for name, query in library({}).items():
            values = query.values({p.name: "10500" for p in query.parameters if p.default is None})
            ours = seconds(lambda query=query, values=values: run(query.sql, values))  # type: ignore[misc] # bound at once
            text = f"{ours:.2f}"
            if name in NAIVE:
                naive = seconds(lambda name=name: run(NAIVE[name], {}))  # type: ignore[misc] # the same
                text += f"  {naive:.2f}  {ours / naive:.2f}"
            show(f"query {name}, s{'; naive SQL; ratio' if name in NAIVE else ''}", text)
        with reading(root) as connection:
            for words in SEARCHES:
                taken = seconds(lambda words=words: search(connection, words, limit=20))  # type: ignore[misc] # the same
                show(f"search {words}, ms", f"{1000 * taken:.0f}")


if __name__ == "__main__":
    main()
