"""The role of each file of a folder, by everything that is known: names, headers, and what somebody stated. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from empiar_imaging.role_headers import refine
from empiar_imaging.role_overrides import NO_OVERRIDES, Overrides
from empiar_imaging.roles import classify
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.role_reasons import Judgement


def judge_folder(
    imagesets: Sequence[ImageSet],
    directory: str,
    files: Sequence[ListedFile],
    *,
    facts: Mapping[int, ImageFacts] | None = None,
    overrides: Overrides = NO_OVERRIDES,
) -> list[Judgement]:
    """The role of each file of `directory`, in their order: as stated, else by headers, else by names.

    `facts` are header facts by place in `files`. The same input always gives the same roles, so that a folder can be
    judged anew whenever something more is known of it.
    """
    judged = classify(imagesets, directory, files)
    if facts:
        judged = refine(files, judged, facts)
    if overrides.rules:
        judged = [
            overrides.judge(directory, file.name) or known for file, known in zip(files, judged, strict=True)
        ]
    return judged
