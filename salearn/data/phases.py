"""4-D scans: several phases of a breath per patient, in a declared order, on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from salearn.cases import CaseId
from salearn.data.nifti import read_geometry, require_same_grid
from salearn.data.source import (
    DataSource,
    Defect,
    DefectError,
    bad_id,
    defect_error,
    read_json,
)
from salearn.errors import ConfigError, DataError
from salearn.settings import parse, settings

DECLARATION = "phases.json"
PHASE = "{phase}"
Kind = Literal["cyclic", "amplitude"]
KEYS = ("name", "kind", "phases", "images", "masks", "classes")
MANY = 5


@settings
class PhaseSource(DataSource):
    """Where 4-D scans are. What is not set here is read from phases.json below `root`.

    Attributes:
        images: "ct/{case}/{phase}.nii.gz" = a file for each phase; without {phase} = one 4-D file.
        masks: the same; masks may be there for one, some or all phases.
        kind: "cyclic" = bins of equal time over a breath, the last is followed by the first;
            "amplitude" = bins of depth, whose ends are no neighbours.
        phases: names in order, as they stand in the file names; for 4-D files names of the volumes.
    """

    kind: Kind | None = None
    phases: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.masks is not None and "{case}" not in self.masks:
            raise ConfigError(f"data.masks: '{self.masks}' needs {{case}}")
        if self.phases is not None and len(set(self.phases)) != len(self.phases):
            raise ConfigError(f"data.phases: a name occurs twice in {list(self.phases)}")


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The phases of one patient.

    Attributes:
        images: a file for each phase, or the one 4-D file.
        masks: by phase index; a 4-D mask stands at every index.
    """

    patient: str
    images: tuple[Path, ...]
    masks: Mapping[int, Path]


@dataclass(frozen=True, kw_only=True)
class PhaseSet:
    """A data set of 4-D scans.

    Attributes:
        phases: names in order. whole: images are 4-D files. whole_masks: masks are.
        classes, values: names of classes 1..K and what they are called in the mask files.
    """

    name: str
    root: Path
    kind: Kind
    phases: tuple[str, ...]
    whole: bool
    whole_masks: bool
    classes: tuple[str, ...]
    values: tuple[int, ...]
    scans: tuple[Scan, ...]

    @property
    def cyclic(self) -> bool:
        """Whether the last phase is followed by the first."""
        return self.kind == "cyclic"

    def case_id(self, patient: str, phase: int) -> CaseId:
        """The id of one phase as a case of its own."""
        return CaseId(f"{patient}_{self.phases[phase]}")


def read_phases(source: PhaseSource) -> PhaseSet:
    """All scans of a data set; grids are compared by their headers, no voxel is read.

    Raises:
        ConfigError: root, kind or order of the phases is not said.
        DataError: phases are missing, or lie on different grids; up to five defects are named.
    """
    found, defects = survey_phases(source)
    if defects:
        shown = " | ".join(defect.sentence() for defect in defects[:MANY])
        more = f" | and {len(defects) - MANY} more" if len(defects) > MANY else ""
        raise DataError(f"{shown}{more}")
    return found


def survey_phases(source: PhaseSource) -> tuple[PhaseSet, list[Defect]]:
    """What there is, and every defect of files, numbers and grids.

    Raises:
        ConfigError: root, kind, order of phases or classes are not said.
        DataError: there is nothing to read.
    """
    root, said = _declared(source)
    images, masks = str(said["images"]), said.get("masks")
    defects: list[Defect] = []
    patients = _patients(root, images)
    names = _phase_names(root, images, said, patients)
    classes = dict(sorted(_classes(said).items(), key=lambda item: item[1]))
    made = PhaseSet(
        name=str(said.get("name") or root.name),
        root=root,
        kind=said["kind"],
        phases=names,
        whole=PHASE not in images,
        whole_masks=masks is not None and PHASE not in masks,
        classes=tuple(classes),
        values=tuple(classes.values()),
        scans=tuple(_scan(root, p, names, images, masks) for p in patients),
    )
    for scan in made.scans:
        _look(made, scan, defects)
    return made, defects


def _declared(source: PhaseSource) -> tuple[Path, dict[str, Any]]:
    """Root and everything that is said of it, in the config first."""
    if source.root is None:
        raise ConfigError("data.root: not set; give the folder of the 4-D scans, data.root=PATH")
    root = Path(source.root).expanduser()
    if not root.is_dir():
        raise defect_error("", root, "there is no such folder", "set data.root to the data set")
    file = root / DECLARATION
    said = read_json(file) if file.exists() else {}
    if strange := sorted(set(said) - set(KEYS)):
        raise defect_error("", file, f"unknown keys {strange}", f"known are {list(KEYS)}")
    parse(PhaseSource, {k: said[k] for k in KEYS[1:] if k in said}, str(file))
    for key in KEYS[1:]:
        if getattr(source, key) is not None:
            said[key] = getattr(source, key)
    for key, how in (
        ("images", "'images/{case}/{phase}.nii.gz', or 'images/{case}.nii.gz' for 4-D files"),
        ("kind", "cyclic (phase bins) or amplitude; filters over phases depend on it"),
    ):
        if key not in said:
            raise ConfigError(f"{file}: '{key}' is not said; set data.{key}={how}")
    return root, said


def _patients(root: Path, images: str) -> list[str]:
    """Patients with any image, sorted."""
    from salearn.data.formats_folder import matches

    pattern = images.replace(PHASE, "*")
    found = sorted({patient for patient, _ in matches(root, pattern)})
    if not found:
        raise defect_error("", root, f"no NIfTI file fits '{images}'", "correct data.images")
    if strange := [name for name in found if bad_id(name)]:
        raise defect_error(strange[0], root, "the name cannot be a case id", "rename it")
    return found


def _phase_names(
    root: Path, images: str, said: Mapping[str, Any], patients: list[str]
) -> tuple[str, ...]:
    if PHASE not in images:
        count = read_geometry(root / images.replace("{case}", patients[0]), patients[0])[1]
        names = tuple(said.get("phases") or (f"{k:02d}" for k in range(count)))
    elif "phases" not in said:
        raise ConfigError(
            f"{root}: the order of the phases is not said; set data.phases=[...] or 'phases' in "
            f"{DECLARATION}, names as they stand in '{images}'"
        )
    else:
        names = tuple(str(name) for name in said["phases"])
    if len(names) < 2:
        raise DataError(
            f"{root}: only {len(names)} phase; a motion needs at least 2. For single volumes use "
            "`salearn run` and `salearn predict`"
        )
    return names


def _classes(said: Mapping[str, Any]) -> dict[str, int]:
    classes = said.get("classes")
    if not classes:
        raise ConfigError("data.classes: not set; give {name: value in the masks}")
    return {str(name): int(value) for name, value in classes.items() if int(value) != 0}


def _scan(root: Path, patient: str, names: tuple[str, ...], images: str, masks: str | None) -> Scan:
    def path(pattern: str, phase: str) -> Path:
        return root / pattern.replace("{case}", patient).replace(PHASE, phase)

    files = {k: path(masks, phase) for k, phase in enumerate(names)} if masks else {}
    return Scan(
        patient=patient,
        images=tuple(dict.fromkeys(path(images, phase) for phase in names)),
        masks={k: file for k, file in files.items() if file.exists()},
    )


def _look(found: PhaseSet, scan: Scan, defects: list[Defect]) -> None:
    """Note every defect of one patient's files."""
    first = None
    for k, path in enumerate(scan.images):
        try:
            geometry, volumes = read_geometry(path, scan.patient)
            first = first or geometry
            _require_volumes(found, scan, path, volumes, found.whole)
            require_same_grid(first, geometry, path, scan.patient, f"phase {found.phases[0]}")
        except DefectError as error:
            problem = error.defect.problem
            if not path.exists():
                problem = f"phase {found.phases[k]} is missing"
            defects.append(_at(error.defect, problem))
    for path in dict.fromkeys(scan.masks.values()):
        if first is None:
            return
        try:
            geometry, volumes = read_geometry(path, scan.patient)
            _require_volumes(found, scan, path, volumes, found.whole_masks)
            require_same_grid(first, geometry, path, scan.patient, "image")
        except DefectError as error:
            defects.append(error.defect)


def _require_volumes(found: PhaseSet, scan: Scan, path: Path, volumes: int, whole: bool) -> None:
    wanted = len(found.phases) if whole else 1
    if volumes != wanted:
        problem = f"holds {volumes} volumes, {wanted} are declared"
        remedy = "correct the file, or data.phases (and {phase} in the pattern)"
        raise defect_error(scan.patient, path, problem, remedy)


def _at(defect: Defect, problem: str) -> Defect:
    return Defect(case=defect.case, file=defect.file, problem=problem, remedy=defect.remedy)
