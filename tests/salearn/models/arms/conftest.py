import pytest
import torch

from salearn.models.sam3 import Sam, SamSettings, load_sam


@pytest.fixture(scope="module")
def sam():
    return load_sam(SamSettings(weights="tiny", resolution=64), ("object",))


@pytest.fixture(scope="module")
def full_size():
    from transformers import Sam3Config, Sam3Model

    with torch.device("meta"):
        text = (torch.empty(1, 32, 256), torch.ones(1, 32, dtype=torch.bool))
        return Sam(Sam3Model(Sam3Config()), SamSettings(), ("object",), text)
