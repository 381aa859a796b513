"""MONAI Label app of one salearn run: its strategies as next image, its student as first mask.

Start it with   monailabel start_server --app THIS_FOLDER --studies FOLDER_WITH_IMAGES
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.strategy import Strategy

from loops.annotation.serve import NextImages, segment

HERE = Path(__file__).resolve().parent
WRITTEN = (
    json.loads((HERE / "salearn.json").read_text()) if (HERE / "salearn.json").exists() else {}
)


class NextImage(Strategy):  # type: ignore[misc]
    """One salearn strategy: the image that it wants most among those without a mask."""

    def __init__(self, run: Path, name: str) -> None:
        super().__init__(f"salearn: {name}")
        self._name = name
        self._images = NextImages(run, HERE / "next")

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        """{"id": image, ...}, or None if nothing that the strategy wants is left."""
        unlabeled = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        return self._images.next(self._name, unlabeled)


class Student(InferTask):  # type: ignore[misc]
    """The student of the last finished round draws a first mask."""

    def __init__(self, run: Path, labels: dict[str, int]) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=labels,
            dimension=3,
            description="Student of the last finished round of the salearn run",
        )
        self._run = run

    def is_valid(self) -> bool:
        """Whether a round is finished."""
        return (self._run / "rounds.jsonl").exists()

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The label file of request["image"], and the values of the classes."""
        folder = Path(tempfile.mkdtemp(prefix="salearn-"))
        file = segment(self._run, Path(request["image"]), folder)
        return str(file), {"label_names": self.labels}


class SalearnApp(MONAILabelApp):  # type: ignore[misc]
    """The app; salearn.json beside this file names the run, its classes and the strategies."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.run = Path(conf.get("run", WRITTEN["run"]) if conf else WRITTEN["run"])
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="salearn",
            description=f"Annotation rounds of {WRITTEN['dataset']}",
            version=WRITTEN["version"],
            labels=WRITTEN["classes"],
        )

    def init_infers(self) -> dict[str, Any]:
        """The student."""
        return {"student": Student(self.run, WRITTEN["classes"])}

    def init_strategies(self) -> dict[str, Any]:
        """Every strategy by name; the first is the list that people were asked for."""
        return {name: NextImage(self.run, name) for name in WRITTEN["strategies"]}
