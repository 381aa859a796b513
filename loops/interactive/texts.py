"""Zero-shot by text, for every text of every class: which words mean what to SAM3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from loops.workbench import Workbench
from salearn.cases import IGNORE, CaseId
from salearn.metrics.overlap import Counts
from salearn.models.pixels import Window, three_channels
from salearn.models.sam3 import Sam
from salearn.mosaic import MosaicStitcher, unstitch_foreground
from salearn.prompts.door import AUTOMATED, Reference
from salearn.prompts.text import TextSettings

Texts = Mapping[str, tuple[str, ...]]
Rows = list[dict[str, Any]]
MEAN = "(mean of all texts)"
BATCH = 2  # mosaics at once; every one of them meets every text


def text_probabilities(
    sam: Sam, stitcher: MosaicStitcher, image: Float[np.ndarray, "channel x y z"]
) -> Float[np.ndarray, "text x y z"]:
    """Probability of each text by itself, on the grid of the volume."""
    x, y, z = image.shape[1:]
    layout = stitcher.layout((x, y, z), sam.resolution, sam.patch)
    mosaics = layout.stitch(Window.of(image).scaled(image))
    found = []
    with torch.inference_mode():
        for first in range(0, len(mosaics), BATCH):
            part = torch.from_numpy(mosaics[first : first + BATCH])
            found.append(torch.sigmoid(sam(three_channels(part.to(sam.device)))).cpu().numpy())
    return unstitch_foreground(layout, np.concatenate(found))


def judge_texts(
    bench: Workbench,
    sam: Sam,
    stitcher: MosaicStitcher,
    texts: Texts,
    cases: Sequence[CaseId],
    purpose: Literal["validation", "test"],
) -> Rows:
    """Dice of every text on every case (whole volumes), and of the mean of a class's texts.

    Args:
        sam: loaded with all texts, class after class.
    """
    rows: Rows = []
    for case in cases:
        reference = Reference.revealed(bench.oracle, case, purpose).mask
        found = text_probabilities(sam, stitcher, bench.volume(case).image)
        first = 0
        for label, (name, options) in enumerate(texts.items(), start=1):
            own = found[first : first + len(options)]
            first += len(options)
            for text, probability in zip((*options, MEAN), (*own, own.mean(0)), strict=True):
                counts = _counts(probability, reference, label)
                rows.append({"case": case, "class": name, "text": text, "dice": counts.dice})
    return rows


def summarise_texts(rows: Rows, texts: Texts) -> Rows:
    """Of each class: Dice of every text; best, mean and worst of them; Dice of the mean map.

    The best text is known only afterwards: it says what a lucky choice would have reached.
    """
    found: Rows = []
    for name, options in texts.items():
        dice = {text: _mean(rows, name, text) for text in (*options, MEAN)}
        single = [dice[text] for text in options]
        best, worst = options[int(np.argmax(single))], options[int(np.argmin(single))]
        found.append({
            "class": name, "column": AUTOMATED, "texts": {text: dice[text] for text in options},
            "best": {"text": best, "dice": dice[best]}, "mean": float(np.mean(single)),
            "worst": {"text": worst, "dice": dice[worst]}, "averaged": dice[MEAN],
        })  # fmt: skip
    return found


def chosen_texts(given: TextSettings, texts: Texts, validation: Rows) -> dict[str, tuple[str, ...]]:
    """The texts that the automated mode asks a class by; several are averaged."""
    if given.choice == "mean":
        return dict(texts)
    if given.choice == "first":
        return {name: options[:1] for name, options in texts.items()}
    best = {row["class"]: row["best"]["text"] for row in summarise_texts(validation, texts)}
    return {name: (best[name],) for name in texts}


def _counts(probability: np.ndarray, reference: np.ndarray, label: int) -> Counts:
    answer, truth, known = probability > 0.5, reference == label, reference != IGNORE
    tp, fp = int((answer & truth).sum()), int((answer & ~truth & known).sum())
    fn = int((~answer & truth).sum())
    return Counts(tp=tp, fp=fp, fn=fn, tn=int(known.sum()) - tp - fp - fn)


def _mean(rows: Rows, name: str, text: str) -> float:
    """Over cases where it is defined; 0 if the class is nowhere."""
    values = [r["dice"] for r in rows if r["class"] == name and r["text"] == text]
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else 0.0
