"""Rows of plug-ins that are read from source are those of the imported classes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from salearn.plugin_source import rows_from_source

SCRIPT = """
import json, sys
from importlib import import_module
from salearn.plugin_source import rows_from_source
places = {"strategies": "STRATEGIES", "loops.ssl": "HOSTS",
          "salearn.models.arms": "ARMS", "salearn.models.pretexts": "PRETEXTS"}
read = {name: rows_from_source(name) for name in places}
light = "torch" not in sys.modules
told = {name: getattr(import_module(f"{name}.registry"), registry).describe()
        for name, registry in places.items()}
again = [rows_from_source(name) for name in places]
print(json.dumps([light, read, told, again]))
"""
HEAD = 'from plug.registry import register\n\n\n@register("one")\nclass One:\n    """First.\n\n'


def _package(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "plug").mkdir()
    (folder / "plug" / "__init__.py").touch()
    (folder / "plug" / "one.py").write_text(text)
    monkeypatch.syspath_prepend(folder)


def test_every_folder_of_plug_ins_reads_as_it_imports_and_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    light, read, told, again = json.loads(done.stdout)
    assert light
    assert read == told
    assert again == [None] * 4  # a loaded registry knows best


def test_a_source_is_found_in_a_base_of_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = 'class Base:\n    SOURCE: str = "a " "b"\n\n\n'
    text = base + HEAD.replace("One:", "One(Base):") + '    More."""\n'
    _package(tmp_path, monkeypatch, text)
    assert rows_from_source("plug") == [{"name": "one", "summary": "First.", "source": "a b"}]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + '    """\n',  # no SOURCE to be seen
        HEAD.replace("One:", "One(One):") + '    """\n',
        HEAD + '    """\n    SOURCE = str(1)\n',
        'from plug.registry import register\n\nregister("one")(dict)\n',
        '@register("one")\nclass One:\n    SOURCE = "no words"\n',
        '@register("one"\n',
        "".join(f'@register("one")\nclass {n}:\n    "W."\n    SOURCE = ""\n\n' for n in "AB"),
    ],
)
def test_what_only_an_import_can_tell_is_left_to_it(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _package(tmp_path, monkeypatch, text)
    assert rows_from_source("plug") is None
