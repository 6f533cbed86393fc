"""What the maker `labels` does, in a worker process: label files in, CryoPPP's ground truth out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from empiar_mirror.makers.maker import Output, Source, Work
from empiar_mirror.makers.stack_references import DepositedStacks, resolved
from empiar_schema.faults import BadLabels, EmpiarMirrorError
from empiar_schema.layout_views import HAND_LABELS
from empiar_schema.paths import NAME_MAX_BYTES, bytes_from_text
from empiar_schema.products import Kind
from empiar_schema.stems import stem_of

if TYPE_CHECKING:
    from empiar_imaging.labels.by_hand import HandVersion
    from empiar_imaging.labels.ground_truth import GroundTruth
    from empiar_imaging.labels.matching import LabelledMicrograph
    from empiar_imaging.labels.orientation import OrientationCheck
    from empiar_imaging.labels.recognise import LabelFile
    from empiar_imaging.labels.table import LabelTable

#: Images that are looked at to see whether their picks are upside down.
CHECKED_IMAGES: Final = 4
#: Names of each side that the record shows; the report file has all.
SHOWN: Final = 20
#: Which imported file names the micrographs that are annotated and hold no particle: a line each.
WITHOUT_PARTICLES: Final = "without_particles"
_ENTRY_KINDS: Final = {
    "selected.star": Kind.SELECTED_STAR,
    "selected.csv": Kind.SELECTED_CSV,
    "excluded.star": Kind.EXCLUDED_STAR,
    "excluded.csv": Kind.EXCLUDED_CSV,
}


@dataclass(slots=True)
class _Read:
    """What was read of the label files so far."""

    selected: list[LabelTable] = field(default_factory=list)
    excluded: list[LabelTable] = field(default_factory=list)
    by_hand: list[HandVersion] = field(default_factory=list)
    sources: list[dict[str, object]] = field(default_factory=list)


def make_labels(work: Work) -> Sequence[Output]:
    """Ground truth of the entry, the images that its particles have in deposited stacks, and a report of what became of every label file.

    A file that cannot be read is named in the report with the reason, and the others go on.
    """
    from empiar_imaging.labels.ground_truth import build_ground_truth
    from empiar_imaging.labels.table import CoordinateOrigin

    parameters = work.parameters
    empiar_id = int(str(parameters["empiar_id"]))
    ids, micrographs = _micrographs(parameters)
    read = _read_all(work.inputs, micrographs)
    diameter = parameters.get("diameter_px")
    truth = build_ground_truth(
        empiar_id,
        micrographs,
        selected=read.selected,
        excluded=read.excluded,
        by_hand=read.by_hand,
        diameter_px=float(diameter) if isinstance(diameter, int | float) else None,
        cryoppp=bool(parameters["cryoppp_names"]),
        star_origin=CoordinateOrigin(str(parameters["star_origin"])),
    )
    files = [_kept(work.folder, name, data, ids) for name, data in truth.files.items()]
    notes: list[str] = []
    files += _references(work.folder, truth, _stacks(parameters), ids, notes)
    outputs = [output for output in files if _has_a_name(output)]
    if nameless := [output.name.rpartition("/")[2] for output in files if not _has_a_name(output)]:
        notes.append(
            f"{len(nameless)} tables are left out, whose names have more than {NAME_MAX_BYTES} bytes: {nameless[0]}"
        )
    outputs.append(_report(work, read, truth, micrographs, notes))
    return outputs


def _micrographs(parameters: Mapping[str, object]) -> tuple[dict[str, int], list[LabelledMicrograph]]:
    from empiar_imaging.labels.matching import LabelledMicrograph

    rows = parameters["micrographs"]
    assert isinstance(rows, list)
    ids, found = {}, []
    for file_id, path, name, height, width, pixel in rows:
        # The last suffix alone comes off: what labels are joined by in CryoPPP.
        stem = stem_of(name)
        ids[stem] = file_id
        found.append(LabelledMicrograph(stem, name, height, width, pixel, path))
    return ids, found


def _stacks(parameters: Mapping[str, object]) -> DepositedStacks:
    paths = parameters["stacks"]
    assert isinstance(paths, list)
    return DepositedStacks(paths)


def imported_kind(word: str) -> str:
    """The kind of product that an imported file is: of ``selected``, ``excluded`` or `WITHOUT_PARTICLES`."""
    return f"imported_{word}"


# --- reading ------------------------------------------------------------------------------------------------


def _read_all(sources: Sequence[Source], micrographs: Sequence[LabelledMicrograph]) -> _Read:
    from empiar_imaging.labels.by_hand import read_versions
    from empiar_imaging.labels.recognise import LabelKind

    read = _Read()
    shapes = {m.stem: (m.height, m.width) for m in micrographs}
    recognised = {source.path: _recognised(source) for source in sources}
    beside = {
        source.path: source
        for source in sources
        if (found := recognised[source.path]) is not None and found.kind is LabelKind.PASSTHROUGH
    }
    for source in sources:
        found = recognised[source.path]
        row: dict[str, object] = {"path": _shown(source)}
        if source.maker == HAND_LABELS:
            read.by_hand += read_versions(source.local.read_bytes())
            row |= {"kind": "by hand", "particles": sum(len(v.of_state("kept")) for v in read.by_hand)}
        elif source.role == imported_kind(WITHOUT_PARTICLES):
            read.selected.append(_without_particles(source))
            row["particles"] = 0
        elif found is None:
            row["problem"] = "holds no coordinates that are known"
        elif found.kind is LabelKind.TOMOGRAPHY:
            row["problem"] = "holds positions in tomograms, which are no positions in an image"
        elif found.kind is not LabelKind.PASSTHROUGH:
            _read_one(source, found, beside, shapes, row, read)
        else:
            row |= {"format": found.form.value, "kind": found.kind.value}
        read.sources.append(row)
    return read


def _read_one(
    source: Source,
    found: LabelFile,
    beside: Mapping[str, Source],
    shapes: Mapping[str, tuple[int, int]],
    row: dict[str, object],
    read: _Read,
) -> None:
    from empiar_imaging.labels.formats import Reading, read_labels
    from empiar_imaging.labels.recognise import LabelKind, counts_from_bottom, passthrough_of
    from empiar_imaging.labels.table import CoordinateOrigin

    partner = passthrough_of(source.path, beside)
    kind = LabelKind.EXCLUDED if source.role == imported_kind("excluded") else found.kind
    reading = Reading(
        micrograph=stem_of(source.path) if found.form.one_micrograph else None,
        passthrough=None if partner is None else beside[partner].local.read_bytes(),
        shapes=shapes,
        origin=CoordinateOrigin.BOTTOM if counts_from_bottom(source.name) else None,
    )
    row |= {"format": found.form.value, "kind": kind.value}
    try:
        table = read_labels(source.local.read_bytes(), name=source.name, form=found.form, reading=reading)
    except BadLabels as fault:
        row["problem"] = f"{fault}; {fault.hint}" if fault.hint else str(fault)
        return
    table = _in_its_folder(table, source)
    row |= {"origin": table.origin.value, "particles": len(table), "notes": list(table.notes[:SHOWN])}
    (read.excluded if kind is LabelKind.EXCLUDED else read.selected).append(table)


def _without_particles(source: Source) -> LabelTable:
    import numpy as np

    from empiar_imaging.labels.table import CoordinateOrigin, LabelTable

    names = tuple(source.local.read_text("utf-8").split("\n")[:-1])
    none = np.zeros(0)
    return LabelTable([], none, none, CoordinateOrigin.BOTTOM, without_particles=names)


def _in_its_folder(table: LabelTable, source: Source) -> LabelTable:
    """Bare names in a table mean micrographs near it: its folder tells those of one name apart."""
    from dataclasses import replace

    if not source.directory or source.product is not None:
        return table

    def placed(name: str) -> str:
        return name if "/" in name else f"{source.directory}/{name}"

    return replace(
        table,
        micrograph=[placed(name) for name in table.micrograph],
        shapes={placed(name): shape for name, shape in table.shapes.items()},
        without_particles=tuple(placed(name) for name in table.without_particles),
    )


def _recognised(source: Source) -> LabelFile | None:
    from empiar_imaging.labels.recognise import HEAD_BYTES, recognise

    with source.local.open("rb") as stream:
        return recognise(source.name, stream.read(HEAD_BYTES))


def _shown(source: Source) -> str:
    return source.path if source.product is None else f"derived: {source.product}"


# --- writing ------------------------------------------------------------------------------------------------


def _kept(folder: Path, name: str, data: bytes, ids: Mapping[str, int]) -> Output:
    """One file of the ground truth, below the job's folder as it will stand below the maker's."""
    base = name.rpartition("/")[2]
    if name.startswith("particle_coordinates/"):
        stem, kind = base.removesuffix(".csv"), Kind.PARTICLE_COORDINATES
    elif name.startswith("false_positives/"):
        stem, kind = base.removesuffix("_false_positives.csv"), Kind.FALSE_POSITIVES
    else:
        kind = _ENTRY_KINDS[base.rpartition("_")[2]]
        return Output(_written(folder, kind.value, data), name, kind.value)
    place = f"{kind}_{ids[stem]}"
    return Output(_written(folder, place, data), name, kind.value, stem, parent_file_id=ids[stem])


def _references(
    folder: Path, truth: GroundTruth, stacks: DepositedStacks, ids: Mapping[str, int], notes: list[str]
) -> Iterator[Output]:
    """For each micrograph the particles' images in deposited stacks, a line a row: ``000001@data/stack.mrcs``, or nothing."""
    table = truth.selected
    if table is None or table.image is None:
        return
    unknown: list[str] = []
    for name, index in table.by_micrograph().items():
        images = [table.image[row] for row in index.tolist()]
        rows = resolved(images, stacks)
        if isinstance(rows, str):
            unknown.append(rows)
        elif any(rows):
            stem = stem_of(name)
            path = _written(folder, f"references_{ids[stem]}", "".join(f"{row}\n" for row in rows).encode())
            yield Output(
                path,
                f"references/{stem}.txt",
                Kind.PARTICLE_REFERENCES.value,
                stem,
                parent_file_id=ids[stem],
            )
    if unknown:
        notes.append(
            f"particles of {len(unknown)} micrographs have their images in stacks of which the entry has none, or several: {unknown[0][:200]}"
        )


def _written(folder: Path, name: str, data: bytes) -> Path:
    # Names of the job's own: those of micrographs can be longer than a file's, with what is put behind them.
    (folder / name).write_bytes(data)
    return Path(name)


def _has_a_name(output: Output) -> bool:
    """Whether a file system takes its name: that of a micrograph can be as long as any, without what is put behind it."""
    return len(bytes_from_text(output.name.rpartition("/")[2])) <= NAME_MAX_BYTES


# --- reporting ----------------------------------------------------------------------------------------------


def _report(
    work: Work,
    read: _Read,
    truth: GroundTruth,
    micrographs: Sequence[LabelledMicrograph],
    notes: Sequence[str],
) -> Output:
    check = _orientation(work.inputs, truth, micrographs)
    annotated = len(micrographs) - len(truth.unmatched_micrographs)
    facts: dict[str, object] = {
        "selected": 0 if truth.selected is None else len(truth.selected),
        "excluded": 0 if truth.excluded is None else len(truth.excluded),
        "annotated": annotated,
        "by_hand": truth.by_hand,
        "unmatched_labels": len(truth.unmatched_labels),
        "ambiguous_labels": len(truth.ambiguous_labels),
        "unmatched_micrographs": len(truth.unmatched_micrographs),
        "diameter_px": truth.diameter.px,
        "diameter_source": truth.diameter.source or None,
        "orientation": None if check is None else check.orientation.value,
        "orientation_score": None if check is None else check.score,
        "notes": [*truth.notes[:SHOWN], *notes, *_about_orientation(check)],
    }
    whole = facts | {
        "sources": read.sources,
        "names": {
            "unmatched_labels": truth.unmatched_labels,
            "ambiguous_labels": truth.ambiguous_labels,
            "unmatched_micrographs": truth.unmatched_micrographs,
        },
    }
    data = (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")
    shown = facts | {"sources": read.sources[:SHOWN], "source_count": len(read.sources)}
    path = _written(work.folder, "report", data)
    return Output(path, "report.json", Kind.LABEL_REPORT.value, details=shown)


def _orientation(
    sources: Sequence[Source], truth: GroundTruth, micrographs: Sequence[LabelledMicrograph]
) -> OrientationCheck | None:
    """What contrast at the picks says, on a few images spread over the entry; None where none could be read."""
    from empiar_imaging.labels.orientation import check_orientation, combined
    from empiar_imaging.pixels.source import read_image

    table = truth.selected
    if table is None or not len(table):
        return None
    rows = table.by_micrograph()
    picked = [micrograph for micrograph in micrographs if len(rows.get(micrograph.name, ()))]
    step = max(1, len(picked) // CHECKED_IMAGES)
    archive = _archive_of(sources)
    checks = []
    for micrograph in picked[::step][:CHECKED_IMAGES]:
        try:
            image = read_image(_local(archive, micrograph.path))
        except (EmpiarMirrorError, OSError):
            continue  # the image's own findings say what is wrong with it
        own = table.rows(rows[micrograph.name])
        checks.append(check_orientation(image, own, diameter_px=truth.diameter.px))
    return combined(checks) if checks else None


def _about_orientation(check: OrientationCheck | None) -> list[str]:
    if check is None or check.orientation.value != "mirrored":
        return []
    return [
        "the contrast at the picks says that they are upside down: nothing was turned; see docs/labels.md"
    ]


def _archive_of(sources: Sequence[Source]) -> Path:
    """The entry's folder below ``archive/``: label files of the entry stand in it, imported ones in its sister."""
    for source in sources:
        if source.product is None:
            return source.local.parents[source.path.count("/")]
    product = sources[0].product or ""
    derived = sources[0].local.parents[product.count("/")]
    return derived.parent.parent / "archive" / derived.name


def _local(archive: Path, path: str) -> Path:
    from empiar_mirror.makers.templates import on_disk

    return archive / on_disk(path)
