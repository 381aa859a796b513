"""The few classes of MONAI Label's interface that an app touches, where the package is not there.

Written from the documented interface: constructors, init_* hooks called by the app's constructor,
`Strategy.__call__(request, datastore)`, `InferTask.__call__(request) -> (file, params)`.
"""

import sys
from enum import StrEnum
from types import ModuleType
from typing import Any


class Strategy:
    def __init__(self, description: str) -> None:
        self.description = description

    def info(self) -> dict[str, Any]:
        return {"description": self.description}


class InferType(StrEnum):
    SEGMENTATION = "segmentation"


class InferTask:
    def __init__(
        self, type: Any, labels: Any, dimension: int, description: str, config: Any = None
    ) -> None:
        self.type, self.labels, self.dimension = type, labels, dimension
        self.description = description

    def info(self) -> dict[str, Any]:
        return {"type": self.type, "labels": self.labels, "dimension": self.dimension}


class Datastore:
    """Images by id, and which of them have a final label."""

    def __init__(self, images: dict[str, str]) -> None:
        self.images = images
        self.labeled: set[str] = set()

    def get_unlabeled_images(self, label_tag: Any = None, labels: Any = None) -> list[str]:
        return [image for image in self.images if image not in self.labeled]

    def get_image_uri(self, image_id: str) -> str:
        return self.images[image_id]


class MONAILabelApp:
    def __init__(
        self,
        app_dir: str,
        studies: str,
        conf: dict[str, str],
        name: str = "",
        description: str = "",
        version: str = "2.0",
        labels: Any = None,
    ) -> None:
        self.app_dir, self.studies, self.conf = app_dir, studies, conf or {}
        self.name, self.description, self.version, self.labels = name, description, version, labels
        self._infers = self.init_infers()
        self._strategies = self.init_strategies()

    def init_infers(self) -> dict[str, Any]:
        return {}

    def init_strategies(self) -> dict[str, Any]:
        return {}


def modules() -> dict[str, ModuleType]:
    """What to put into sys.modules."""
    parts = {
        "monailabel": {},
        "monailabel.interfaces": {},
        "monailabel.interfaces.tasks": {},
        "monailabel.interfaces.app": {"MONAILabelApp": MONAILabelApp},
        "monailabel.interfaces.tasks.strategy": {"Strategy": Strategy},
        "monailabel.interfaces.tasks.infer_v2": {"InferTask": InferTask, "InferType": InferType},
    }
    made = {name: ModuleType(name) for name in parts}
    for name, values in parts.items():
        vars(made[name]).update(values)
    return made


def installed() -> bool:
    """Whether the real package and everything that its app module needs can be imported."""
    try:
        __import__("monailabel.interfaces.app")
    except ImportError:
        for name in [n for n in sys.modules if n.split(".")[0] == "monailabel"]:
            del sys.modules[name]
        return False
    return True
