"""Functions of makers, in a module of their own so that worker processes can import them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from empiar_mirror.makers.maker import JobFault, Output, Work


def shout(work: Work) -> Sequence[Output]:
    """The input in capitals, with its length in the details."""
    data = work.inputs[0].local.read_bytes()
    print("this must not get among the answers")
    (work.folder / "out").write_bytes(data.upper() + b"!" * int(str(work.parameters.get("loud", 1))))
    gain = [source.name for source in work.inputs[1:]]
    return [Output(Path("out"), f"{work.stem}.txt", "shout", details={"length": len(data), "gain": gain})]


def go_wrong(work: Work) -> Sequence[Output]:
    """Goes wrong on the file a.tif in the way that the parameters say."""
    if work.stem != "a":
        return shout(work)
    match work.parameters["way"]:
        case "raise":
            raise ValueError("row 7 is ragged")
        case "fault":
            raise JobFault("there is nothing to average", permanent=True)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(600)
        case "memory":
            raise MemoryError
        case "outside":
            return [Output(Path("../../x"), "x", "shout")]
        case "absolute":
            return [Output(Path("/etc/passwd"), "x", "shout")]
        case "hostile name":
            (work.folder / "out").write_text("x")
            return [Output(Path("out"), "../../x", "shout")]
        case "one name twice":
            (work.folder / "out").write_text("x")
            return [Output(Path("out"), "x", "shout"), Output(Path("out"), "x", "shout")]
    return []


def whole_entry(work: Work) -> Sequence[Output]:
    """One file for the entry, in a folder of its own."""
    (work.folder / "all").write_text(" ".join(source.name for source in work.inputs))
    return [Output(Path("all"), "ground_truth/all.txt", "list")]


def when_told(work: Work) -> Sequence[Output]:
    """As `shout`, once the file `go` stands in the folder of the parameters (for the stem in the file `last`, if there is one, `end`, too); says who began, and that it has ended."""
    control = Path(str(work.parameters["control"]))
    begun = control / f"{work.stem}.{os.getppid()}.{os.getpid()}"
    begun.touch()
    while not (control / "go").exists():
        time.sleep(0.01)
    last = control / "last"
    while last.exists() and last.read_text() == work.stem and not (control / "end").exists():
        time.sleep(0.01)
    try:
        return shout(work)
    finally:
        begun.with_suffix(f"{begun.suffix}.ended").touch()


def kill_worker(work: Work) -> Sequence[Output]:
    """As `shout`; on the file a.tif, kills whoever has called the process in which it runs."""
    if work.stem == "a":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    return shout(work)
