"""DigitalMicrograph files made by hand, as descriptions of the format have them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

CODES = {"<": 1, ">": 0}
#: DataType, encoded type of an array's items, bytes of one.
KINDS = {
    "int16": (1, 2, 2),
    "float32": (2, 6, 4),
    "uint8": (6, 10, 1),
    "uint16": (10, 4, 2),
    "int32": (7, 3, 4),
}


@dataclass
class DmFile:
    """A writer of DM3 (version 3) and DM4 files; `order` is that of the values."""

    version: int = 4
    order: str = "<"
    #: Where structure begins and ends, for cuts.
    marks: list[int] = field(default_factory=list)

    def length(self, number: int) -> bytes:
        return struct.pack(">Q" if self.version == 4 else ">I", number)

    def tag(self, kind: int, label: str, body: bytes) -> bytes:
        name = label.encode("latin-1")
        stated = self.length(len(body)) if self.version == 4 else b""
        return struct.pack(">BH", kind, len(name)) + name + stated + body

    def directory(self, label: str, *tags: bytes) -> bytes:
        return self.tag(20, label, b"\1\0" + self.length(len(tags)) + b"".join(tags))

    def data(self, label: str, info: list[int], value: bytes) -> bytes:
        words = self.length(len(info)) + b"".join(self.length(word) for word in info)
        return self.tag(21, label, b"%%%%" + words + value)

    def number(self, label: str, value: int) -> bytes:
        return self.data(label, [5], struct.pack(f"{self.order}I", value))

    def real(self, label: str, value: float) -> bytes:
        return self.data(label, [6], struct.pack(f"{self.order}f", value))

    def text(self, label: str, value: str) -> bytes:
        coded = value.encode("utf-16-le" if self.order == "<" else "utf-16-be")
        return self.data(label, [20, 4, len(value)], coded)

    def image(
        self, shape: tuple[int, ...], kind: str, pixels: bytes, *, scale: float, units: str, padding: int = 0
    ) -> bytes:
        data_type, item, width = KINDS[kind]
        dimension = self.directory(
            "", self.real("Origin", 0.0), self.real("Scale", scale), self.text("Units", units)
        )
        other = self.directory("", self.real("Scale", 7.0), self.text("Units", "s"))
        sides = [self.number("", side) for side in shape]
        return self.directory(
            "",
            self.directory(
                "ImageData",
                self.directory(
                    "Calibrations",
                    self.directory("Brightness", self.real("Scale", 3.0), self.text("Units", "counts")),
                    self.directory("Dimension", dimension, other),
                ),
                self.data("Data", [20, item, len(pixels) // width], pixels),
                self.number("DataType", data_type),
                self.directory("Dimensions", *sides),
                self.number("PixelDepth", width),
            ),
            self.directory("ImageTags", self.text("Name", "x" * padding)),
        )

    def thumbnail(self) -> bytes:
        return self.directory(
            "",
            self.directory(
                "ImageData",
                self.data("Data", [20, 3, 64], bytes(256)),
                self.number("DataType", 23),
                self.directory("Dimensions", self.number("", 8), self.number("", 8)),
            ),
        )

    def file(self, *images: bytes) -> bytes:
        root = (
            b"\1\0"
            + self.length(4)
            + self.data("ApplicationBounds", [15, 0, 4, 0, 3, 0, 3, 0, 3, 0, 3], bytes(16))
            + self.directory("DocumentObjectList", self.directory("", self.number("AnnotationType", 20)))
            + self.directory("ImageList", *images)
            + self.number("InImageMode", 1)
        )
        head = struct.pack(">I", self.version) + self.length(len(root)) + struct.pack(">I", CODES[self.order])
        return head + root + bytes(8)


def dm_file(
    *,
    version: int = 4,
    order: str = "<",
    shape: tuple[int, ...] = (7, 5),
    kind: str = "uint16",
    scale: float = 0.0529,
    units: str = "nm",
) -> bytes:
    """A whole file with a thumbnail and one image of `shape` (columns first)."""
    writer = DmFile(version, order)
    pixels = KINDS[kind][2]
    for side in shape:
        pixels *= side
    image = writer.image(
        shape, kind, bytes(range(256)) * (pixels // 256) + bytes(pixels % 256), scale=scale, units=units
    )
    return writer.file(writer.thumbnail(), image)
