"""nnU-Net raw v2: imagesTr/case_0000.nii.gz per channel, labelsTr/case.nii.gz, dataset.json.

With file_ending .png one file case_0000.png may hold all three channels (its natural images).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salearn.data.source import (
    ENDINGS,
    LOSSY,
    PICTURES,
    DataSource,
    Entry,
    Listing,
    defect_error,
    read_classes,
    read_json,
)

CHANNEL = re.compile(r"(.+)_(\d{4})")


def list_nnunet(source: DataSource, path: Path) -> Listing:
    """The cases of an nnU-Net raw v2 folder.

    A case of imagesTr without a file in labelsTr, and every case of imagesUn (our addition to the
    layout), has no mask. imagesTs is read only with `include_test`, and without masks.

    Raises:
        DataError: dataset.json is missing, or the files are not NIfTI.
    """
    content, root = read_json(path), path.parent
    ending = str(content.get("file_ending", ENDINGS[0]))
    known = tuple(e for e in (*ENDINGS, *PICTURES) if e not in LOSSY)  # masks share the ending
    if ending not in known:
        remedy = f"convert the files to one of {', '.join(known)}"
        raise defect_error("", path, f"file_ending is '{ending}'", remedy)
    listing = Listing(name=root.name, classes={})
    if source.classes is None:
        read_classes(content.get("labels"), path, listing)
    num_channels = _channels(content, path, listing)
    folders = ["imagesTr", "imagesUn", *(["imagesTs"] if source.include_test else [])]
    for folder in folders:
        for case, found in sorted(_by_case(root / folder, ending, listing).items()):
            mask = root / "labelsTr" / f"{case}{ending}"
            masked = folder == "imagesTr" and mask.exists()
            files = 1 if ending in PICTURES and len(found) == 1 else num_channels
            if _complete(case, found, files, root / folder, ending, listing):
                images = tuple(found[channel] for channel in range(files))
                entry = Entry(images=images, mask=mask if masked else None, id=case)
                listing.entries.append(entry)
    _stray_masks(root, ending, listing)
    return listing


def _channels(content: Mapping[str, Any], path: Path, listing: Listing) -> int:
    names = content.get("channel_names")
    if isinstance(names, Mapping) and names:
        return len(names)
    listing.flaw("", path, "'channel_names' is missing or empty", 'add {"0": "MRI"} or the like')
    return 1


def _by_case(folder: Path, ending: str, listing: Listing) -> dict[str, dict[int, Path]]:
    """Case -> channel -> file."""
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in sorted(folder.glob(f"[!.]*{ending}")):
        match = CHANNEL.fullmatch(path.name[: -len(ending)])
        if match:
            found[match[1]][int(match[2])] = path
        else:
            listing.flaw("", path, "the name has no channel number", f"call it case_0000{ending}")
    return dict(found)


def _complete(
    case: str, found: Mapping[int, Path], number: int, folder: Path, ending: str, listing: Listing
) -> bool:
    """Whether a case has channels 0..number-1 and no other."""
    missing = sorted(set(range(number)) - set(found))
    for channel in missing:
        file = folder / f"{case}_{channel:04d}{ending}"
        listing.flaw(case, file, "the file of this channel is missing", "add it")
    for channel in sorted(set(found) - set(range(number))):
        remedy = "add the channel to channel_names or take the file away"
        listing.flaw(case, found[channel], f"dataset.json names {number} channel(s)", remedy)
    return not missing


def _stray_masks(root: Path, ending: str, listing: Listing) -> None:
    with_image = {path.name[: -len(f"_0000{ending}")] for path in root.glob("imagesTr/*")}
    for path in sorted((root / "labelsTr").glob(f"[!.]*{ending}")):
        case = path.name[: -len(ending)]
        if case not in with_image:
            listing.flaw(case, path, "mask without image", "add the image or take the mask away")
