"""The verb `bench`: where it looks, and what it hands on; nothing is measured here."""

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loops import benches
from loops.cli import app
from salearn.errors import ConfigError


def test_benchmarks_are_found_beside_the_checkout() -> None:
    assert (benches.checkout() / "benchmarks" / "common.py").is_file()
    assert {"stitch", "select", "gpu", "feed"} <= set(benches.bench_names())


def test_without_a_checkout_the_message_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benches, "__file__", str(tmp_path / "loops" / "benches.py"))
    with pytest.raises(ConfigError, match=r"no folder 'benchmarks'.*clone the repository"):
        benches.run_benches([], as_json=True)


def test_an_unknown_name_is_refused_with_the_nearest_right_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown benchmark 'stich': did you mean 'stitch'"):
        benches.run_benches(["stich"], as_json=False)


def test_names_and_json_are_handed_on_and_the_exit_code_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert CliRunner().invoke(app, ["bench", "stitch", "--json"]).exit_code == 1
    assert seen[0][1:] == ["-m", "benchmarks", "stitch", "--json"]


def test_the_list_is_one_json_document() -> None:
    result = CliRunner().invoke(app, ["bench", "--list", "--json"])
    assert json.loads(result.stdout) == benches.bench_names()
