"""What a worker process does for the page of a micrograph: pixels of any format in, a prepared picture out. What dies there costs one picture."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Final

from empiar_mirror.makers.maker import Output, Work
from empiar_schema.faults import StorageFault
from empiar_schema.sizes import format_bytes

#: The name of what it writes, in the folder of the work.
NAME: Final = "picture.part"
#: Bytes of one frame in memory, and of a compressed file unpacked: larger ones are nothing for a browser.
_FRAME: Final = 768 * 2**20
_UNPACKED: Final = 8 * 2**30


def prepare(work: Work) -> Sequence[Output]:
    """The one image in the first input is prepared in the work's folder; of several frames their mean.

    Raises:
        StorageFault: there is no room, or the disk refused.
        UnreadableImage: it cannot be read, or is too large for this.
    """
    from empiar_imaging.pixels.limits import ReadLimits
    from empiar_imaging.pixels.pyramid import bytes_needed, write_pyramid
    from empiar_imaging.pixels.source import read_image

    limits = ReadLimits(frame_bytes=_FRAME, unpacked_bytes=_UNPACKED, scratch=work.folder)
    source = work.inputs[0]
    image = read_image(source.local, name=source.name, limits=limits)
    needed = bytes_needed(image.shape[1], image.shape[0])
    if shutil.disk_usage(work.folder).free < 1.05 * needed:
        raise StorageFault(
            f"no room for the picture: {format_bytes(needed)} needed", hint="free some space", full=True
        )
    write_pyramid(image, work.folder / NAME)
    return ()
