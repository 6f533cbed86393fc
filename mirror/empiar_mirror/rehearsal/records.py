"""What the archive says of an entry: the API's JSON, key for key, and the header XML."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from empiar_mirror.rehearsal.archive import Json

#: Categories of image sets, in the archive's words.
SINGLE_FRAME = "micrographs - single frame"
MULTI_FRAME = "micrographs - multiframe"
PARTICLES = "picked particles - single frame - processed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """One image set as a depositor describes it."""

    name: str
    directory: str
    category: str
    form: str
    count: int
    frames: int = 1
    voxel: str = "32 BIT FLOAT"
    pixel: float | None = 1.77
    pixel_height: float | None = 1.77
    side: int | None = 512
    #: Columns and rows of images that are not square.
    shape: tuple[int, int] | None = None
    pattern: str = ""
    details: str = ""

    @property
    def _stated(self) -> tuple[int | None, int | None]:
        return self.shape or (self.side, self.side)

    def record(self) -> dict[str, Json]:
        """Its 18 keys in the API's order."""
        width, height = self._stated
        return {
            "segmentations": [],
            "name": self.name,
            "directory": self.directory,
            "category": self.category,
            "header_format": self.form,
            "data_format": self.form,
            "num_images_or_tilt_series": self.count,
            "frames_per_image": self.frames,
            "frame_range_min": 1 if self.frames > 1 else None,
            "frame_range_max": self.frames if self.frames > 1 else None,
            "voxel_type": self.voxel,
            "pixel_width": self.pixel,
            "pixel_height": self.pixel_height,
            "micrographs_file_pattern": self.pattern,
            "picked_particles_file_pattern": "",
            "picked_particles_directory": "",
            "details": self.details,
            "image_width": None if width is None else str(width),
            "image_height": None if height is None else str(height),
        }

    def xml(self) -> str:
        """Its element; the directory has a leading slash here, as in the archive's files."""
        width, height = self._stated
        pixels = "".join(
            f"<{tag}>{value}</{tag}>"
            for tag, value in (
                ("imageWidth", width or "variable"),
                ("pixelWidth", self.pixel),
                ("imageHeight", height or "variable"),
                ("pixelHeight", self.pixel_height),
            )
            if value is not None
        )
        return (
            f"    <imageSet>\n        <name>{escape(self.name)}</name>\n"
            f"        <directory>/{escape(self.directory)}</directory>\n"
            f"        <category>{escape(self.category)}</category>\n"
            f"        <headerFormat>{self.form}</headerFormat>\n        <dataFormat>{self.form}</dataFormat>\n"
            f"        <numImagesOrTiltSeries>{self.count}</numImagesOrTiltSeries>\n"
            f"        <framesPerImage>{self.frames}</framesPerImage>\n"
            f"        <voxelType>{self.voxel}</voxelType>\n        <dimensions>{pixels}</dimensions>\n"
            f"        <details>{escape(self.details)}</details>\n        <segmentationList/>\n"
            f"        <micrographsFilePattern>{escape(self.pattern)}</micrographsFilePattern>\n"
            "        <pickedParticlesFilePattern></pickedParticlesFilePattern>\n"
            "        <pickedParticlesDirectory></pickedParticlesDirectory>\n    </imageSet>\n"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is said of an entry besides its files."""

    empiar_id: int
    title: str
    imagesets: tuple[ImageSet, ...]
    release_date: str = "2022-11-17"
    status: str = "REL"
    obsolete_date: str | None = None
    experiment_type: str = "EMDB"
    scale: str | None = "molecule"
    cross_references: tuple[str, ...] = ()
    #: The older shape of the API: ``{"name": "EMD-…"}`` instead of ``"EMD-…"``.
    references_as_objects: bool = False
    #: Says this in place of the size that the files have.
    stated_size: str | None = None
    empiar_references: tuple[str, ...] = ()
    extra: dict[str, Json] = field(default_factory=dict)

    @property
    def accession(self) -> str:
        """``EMPIAR-10101``."""
        return f"EMPIAR-{self.empiar_id}"

    def record(self, data_bytes: int) -> dict[str, Json]:
        """The entry as the API answers it for files of `data_bytes` together; keys in the order of a real answer."""
        references: list[Json] = [
            {"name": name} if self.references_as_objects else name for name in self.cross_references
        ]
        names: list[Json] = [{"name": name} for name in self.empiar_references]
        return {
            "imagesets": [imageset.record() for imageset in self.imagesets],
            "workflow_file": None,
            "grant_references": [
                {
                    "funding_body": "Rehearsal Research Council",
                    "code": "RH/0001/1",
                    "country": "United Kingdom",
                }
            ],
            "version_history": [],
            "title": self.title,
            "principal_investigator": [{**_PERSON, "entry": self.accession}],
            "status": self.status,
            "deposition_date": "2021-12-31",
            "release_date": self.release_date,
            "obsolete_date": self.obsolete_date,
            "update_date": self.obsolete_date or self.release_date,
            "corresponding_author": {"author": dict(_PERSON)},
            "authors": [
                {"author": {"name": "Example A", "author_orcid": "0000-0000-0000-0001"}},
                {"author": {"name": "Beispiel BÖ", "author_orcid": None}},
            ],
            "cross_references": references,
            "biostudies_references": [],
            "idr_references": [],
            "empiar_references": names,
            "citation": [_citation(self.title)],
            "dataset_size": self.stated_size or size_text(data_bytes),
            "experiment_type": self.experiment_type,
            "scale": self.scale,
            "entry_doi": f"10.6019/{self.accession}",
            **self.extra,
        }

    def xml(self, data_bytes: int) -> bytes:
        """The header file ``NNNNN.xml``, with the oddities of real ones: ``&amp;amp;`` and an empty country."""
        number, unit = (self.stated_size or size_text(data_bytes)).split(" ")
        related = "".join(f"<emdbEntry>{name}</emdbEntry>" for name in self.cross_references)
        obsolete = f"<obsoleteDate>{self.obsolete_date}</obsoleteDate>" if self.obsolete_date else ""
        text = (
            '<entry xmlns="http://pdbe.org/empiar" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            'xsi:schemaLocation="https://ftp.ebi.ac.uk/pub/databases/emtest/empiar/schema/empiar.xsd" '
            f'accessionCode="{self.accession}" public="true">\n    <admin>\n'
            f"        <currentStatus>{self.status}</currentStatus>\n        <keyDates>\n"
            f"            <depositionDate>2021-12-31</depositionDate>\n"
            f"            <releaseDate>{self.release_date}</releaseDate>\n            {obsolete}\n"
            f"            <updateDate>{self.obsolete_date or self.release_date}</updateDate>\n        </keyDates>\n"
            f"        <title>{escape(self.title)}</title>\n        <correspondingAuthor>\n"
            "            <authorORCID>0000-0000-0000-0001</authorORCID>\n            <firstName>Alex</firstName>\n"
            "            <lastName>Example</lastName>\n"
            '            <organization type="academic">Institute of Rehearsal &amp;amp; Practice</organization>\n'
            "            <country></country>\n        </correspondingAuthor>\n        <authorsList>\n"
            '            <author authorORCID="0000-0000-0000-0001">Example A</author>\n'
            "            <author>Beispiel BÖ</author>\n        </authorsList>\n"
            f'        <datasetSize units="{unit}">{number}</datasetSize>\n'
            f"        <entryDOI>10.6019/{self.accession}</entryDOI>\n"
            f"        <experimentType>{self.experiment_type}</experimentType>\n    </admin>\n    <crossReferences>\n"
            f"        <relatedEMDBEntries>{related}</relatedEMDBEntries>\n    </crossReferences>\n"
            + "".join(imageset.xml() for imageset in self.imagesets)
            + "</entry>\n"
        )
        return text.encode()


_PERSON: dict[str, Json] = {
    "author_orcid": "0000-0000-0000-0001",
    "middle_name": None,
    "organization": "Institute of Rehearsal & Practice",
    "street": "1 Loopback Lane",
    "town_or_city": "Cambridge",
    "state_or_province": None,
    "post_or_zip": "CB0 0AA",
    "telephone": "+44 1223 000000",
    "fax": "+44 1223 000001",
    "first_name": "Alex",
    "last_name": "Example",
    "email": "alex [at] rehearsal.invalid",
    "country": "United Kingdom",
}


def _citation(title: str) -> Json:
    return {
        "authors": [
            {"name": "Example A", "author_orcid": "0000-0000-0000-0001"},
            {"name": "Beispiel BÖ", "author_orcid": None},
        ],
        "editors": [],
        "published": True,
        "j_or_nj_citation": True,
        "title": f"On {title}",
        "volume": "5",
        "country": "",
        "first_page": "604",
        "last_page": "615",
        "year": "2022",
        "language": "English",
        "doi": "10.0000/rehearsal",
        "pubmedid": "10000001",
        "details": None,
        "book_chapter_title": None,
        "publisher": None,
        "publication_location": None,
        "journal": "Journal of Rehearsals",
        "journal_abbreviation": "J Rehears",
        "issue": "6",
        "preprint": False,
    }


def size_text(size: int) -> str:
    """`size` bytes as `dataset_size` states them: powers of 1024, one decimal, MB to TB."""
    for unit, power in (("TB", 4), ("GB", 3)):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size / 1024**2:.1f} MB"
