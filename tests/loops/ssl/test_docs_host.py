"""The example host of docs/hosts.md, taken from the page itself."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from host_step import make_step, reached

from loops.config import parse_run
from loops.ssl.registry import HOSTS
from loops.student import PseudoLossSettings, StudentSettings, train_student
from salearn.cases import CaseId
from salearn.data.patches import Example
from salearn.errors import ConfigError
from salearn.store import read_lines

PAGE = Path(__file__).parents[3] / "docs" / "hosts.md"
NAME = "entropy_minimisation"


@pytest.fixture
def host(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    assert len(code.splitlines()) < 60
    (tmp_path / f"{NAME}.py").write_text(code)
    HOSTS.available()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    importlib.import_module(NAME)
    yield HOSTS.build(NAME, {"weight": 0.5})
    del HOSTS._classes[NAME], sys.modules[NAME]


def test_the_example_is_a_host_with_a_term_that_acts(host):
    step = make_step(host)
    terms = host.terms(step)
    assert set(terms) == {"supervised", "entropy"}
    for term in terms.values():
        assert reached(step, term) == {"encoder", "decoder", "head"}
    assert set(host.terms(make_step(host, unlabeled=0))) == {"supervised"}


def test_the_example_is_a_learner_by_name_and_refuses_wrong_settings(host):
    config = parse_run({"learner": {"name": f"sfr_{NAME}", "weight": 0.2}}, "here")
    assert config.build_host().weight == 0.2
    with pytest.raises(ConfigError, match="ramp"):
        parse_run({"learner": {"name": NAME, "ramp": 2}}, "here")


def test_the_example_trains_with_sfr_plugged_in(host, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 9, 9, 9)).astype(np.float32)
    mask = rng.integers(0, 3, (9, 9, 9)).astype(np.uint8)
    pseudo = np.moveaxis(np.eye(3)[mask], -1, 0).astype(np.float16)
    settings = StudentSettings(width=2, depth=2, patch=(8, 8, 8), iterations=2)
    train_student(
        [Example(case_id=CaseId("a"), image=image, mask=mask)],
        [Example(case_id=CaseId("u"), image=image, pseudo=pseudo)],
        3, settings, host, PseudoLossSettings(), tmp_path / "work", 0,
    )  # fmt: skip
    (line,) = read_lines(tmp_path / "work" / "train.jsonl")
    assert {"supervised", "entropy", "pseudo", "doubt"} < set(line)


def test_the_matrix_has_every_host_bare_and_wrapped():
    study = yaml.safe_load((PAGE.parents[1] / "configs" / "host_matrix.yaml").read_text())
    hosts = HOSTS.available()
    assert sorted(study["study"]["factors"]["learner"]) == sorted(
        [*hosts, *(f"sfr_{host}" for host in hosts)]
    )
