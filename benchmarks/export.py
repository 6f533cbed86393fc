"""How long exports take, and how much memory. Run by hand: ``python benchmarks/export.py --files 1700000``.

Each export runs in a process of its own; beside the Parquet of `micrographs` pandas.read_sql with to_parquet, and DuckDB's
reader of SQLite, where those are installed. Prints a table; asserts nothing, because figures depend on the machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from empiar_schema.catalogue import Catalogue

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.idle import fill, show

PANDAS = (
    "import pandas, sqlite3, sys; pandas.read_sql('SELECT * FROM micrographs', sqlite3.connect(sys.argv[1]))"
    ".to_parquet(sys.argv[2])"
)
DUCKDB = (
    'import duckdb, sys; c = duckdb.connect(); c.execute("ATTACH \'" + sys.argv[1] + "\' AS m (TYPE sqlite)");'
    ' c.execute("COPY (SELECT * FROM m.micrographs) TO \'" + sys.argv[2] + "\' (FORMAT parquet)")'
)


def measured(what: str, command: list[str]) -> None:
    begun = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    taken = time.perf_counter() - begun
    if process.returncode:
        show(what, f"failed: {errors.strip().splitlines()[-1]}")
        return
    cpu = usage.ru_utime + usage.ru_stime
    show(f"{what}: s, processor s, MiB", f"{taken:.1f}  {cpu:.1f}  {usage.ru_maxrss / 1024:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_700_000)
    parser.add_argument("--folder", type=Path, help="the catalogue is made here, or is here already")
    parser.add_argument("--views", nargs="*", default=["micrographs", "files", "cryoppp"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.folder or Path(temporary) / "mirror").absolute()
        root.mkdir(parents=True, exist_ok=True)
        new = not (root / "empiar.db").exists()
        with Catalogue.open(root / "empiar.db", create=True) as catalogue:
            if new:
                fill(catalogue, entries=3_000, files=arguments.files, here=100_000)
        config = Path(temporary) / "export.toml"
        config.write_text(f'root = "{root}"\n')
        for view in arguments.views:
            out = Path(temporary) / f"{view}.parquet"
            ours = [sys.executable, "-m", "empiar_mirror", "export", "--config", str(config)]
            measured(f"export --view {view}", [*ours, "--view", view, str(out)])
            if view == "micrographs":
                for name, code in (("pandas", PANDAS), ("duckdb", DUCKDB)):
                    if importlib.util.find_spec(name):
                        peer = Path(temporary) / f"{name}.parquet"
                        measured(
                            f"  by {name}", [sys.executable, "-c", code, str(root / "empiar.db"), str(peer)]
                        )
                    else:
                        show(f"  by {name}", "not installed")
            out.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
