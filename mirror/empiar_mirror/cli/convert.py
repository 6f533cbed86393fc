from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.conversion import ConversionReport

#: As `empiar_imaging.labels.LabelFormat`, which is imported only when it is needed.
FORMATS = ("star", "cryoppp", "cryoppp-entry", "cs", "box", "cbox", "topaz")
_ORIGINS = ("top", "bottom")
_DIAMETER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(A|Å)?")
#: So many written files are named.
_NAMED = 5
_positive = click.FloatRange(min=0, min_open=True)
_path = click.Path(path_type=Path)


@click.command("convert")
@click.argument("source", metavar="IN", type=_path)
@click.argument("target", metavar="OUT", type=_path)
@click.option(
    "--from",
    "source_format",
    type=click.Choice(FORMATS),
    help="Format of IN  [default: by content and suffix]",
)
@click.option("--to", "target_format", type=click.Choice(FORMATS), help="Format of OUT  [default: by suffix]")
@click.option("--height", type=click.IntRange(min=1), metavar="ROWS", help="Height of all micrographs.")
@click.option("--width", type=click.IntRange(min=1), metavar="COLUMNS", help="Width of all micrographs.")
@click.option(
    "--micrographs", type=_path, metavar="FOLDER", help="Take heights and widths from the images' headers."
)
@click.option("--box", type=_positive, metavar="PIXELS", help="Side of the boxes to write.")
@click.option(
    "--diameter", metavar="SIZE", help="Particle diameter: pixels, or Ångström as 180A with --pixel-size."
)
@click.option("--pixel-size", type=_positive, metavar="ANGSTROM", help="Of the micrographs.")
@click.option(
    "--scale",
    type=_positive,
    default=1.0,
    metavar="N",
    help="IN times N is in pixels of the micrograph: 4 for picks on images binned by 4.",
)
@click.option("--to-scale", type=_positive, default=1.0, metavar="N", help="Write for images binned by N.")
@click.option(
    "--origin",
    type=click.Choice(_ORIGINS),
    help="From where Y counts in IN  [default: as usual for its format]",
)
@click.option("--to-origin", type=click.Choice(_ORIGINS), help="The same for OUT.")
@click.option("--passthrough", type=_path, metavar="FILE", help="cryoSPARC's passthrough of the same job.")
@click.option(
    "--micrograph",
    metavar="NAME",
    help="The micrograph of a file that does not name it  [default: IN's stem]",
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
@standard_options
def command(
    invocation: Invocation,
    source: Path,
    target: Path,
    source_format: str | None,
    target_format: str | None,
    height: int | None,
    width: int | None,
    micrographs: Path | None,
    box: float | None,
    diameter: str | None,
    pixel_size: float | None,
    scale: float,
    to_scale: float,
    origin: str | None,
    to_origin: str | None,
    passthrough: Path | None,
    micrograph: str | None,
    force: bool,
) -> ExitCode:
    """Convert particle coordinates: RELION STAR, CryoPPP CSV, cryoSPARC .cs, EMAN .box, crYOLO .cbox, Topaz.

    IN is a file, or a folder of files of single micrographs. OUT is a folder where the format holds one micrograph a
    file and there are several. CryoPPP and cryoSPARC count Y from the bottom edge, the others from the top: between
    them the height of the micrographs is needed.
    """
    from empiar_imaging.labels import CoordinateOrigin, LabelFormat, Reading, Writing
    from empiar_mirror.conversion import Conversion, convert, read_bounded

    if width is not None and height is None:
        raise ConfigFault("--width is of no use without --height", hint="give both, or --micrographs FOLDER")
    wanted = Conversion(
        source=source,
        target=target,
        source_format=LabelFormat(source_format) if source_format else None,
        target_format=LabelFormat(target_format) if target_format else None,
        reading=Reading(
            micrograph=micrograph,
            passthrough=read_bounded(passthrough) if passthrough else None,
            scale=scale,
            origin=CoordinateOrigin(origin) if origin else None,
        ),
        writing=Writing(
            box_px=box,
            diameter_px=_diameter_px(diameter, pixel_size),
            pixel_size_angstrom=pixel_size,
            scale=to_scale,
            shapes=None if height is None else (height, width or 0),
            origin=CoordinateOrigin(to_origin) if to_origin else None,
        ),
        micrographs=micrographs,
        replace_files=force,
    )
    report = convert(wanted)
    for note in report.notes:
        say(f"note: {note}")
    invocation.result(report, _lines(report))
    return ExitCode.OK


def _diameter_px(text: str | None, pixel_size: float | None) -> float | None:
    """``120`` pixels, or ``180A`` divided by the pixel size."""
    if text is None:
        return None
    match = _DIAMETER.fullmatch(text.strip())
    size = float(match[1]) if match else 0.0
    if match is None or not size > 0:
        raise ConfigFault(f"--diameter {text!r} is no size", hint="write pixels as 120, or Ångström as 180A")
    if not match[2]:
        return size
    if pixel_size is None:
        raise ConfigFault("a diameter in Ångström needs the pixel size", hint="give --pixel-size too")
    return size / pixel_size


def _lines(report: ConversionReport) -> Iterator[str]:
    from empiar_mirror.cli.text import count

    yield (
        f"{count(report.rows, 'particle')} of {count(report.micrographs, 'micrograph')}: "
        f"{report.source_format} (Y from the {report.source_origin}) → "
        f"{report.target_format} (Y from the {report.target_origin})"
    )
    yield from report.files[:_NAMED]
    if len(report.files) > _NAMED:
        yield f"… and {len(report.files) - _NAMED:,} more files; --json names all"
