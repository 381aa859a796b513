"""Settings refuse what they do not know and name the nearest right key."""

from pathlib import Path

import pytest

from salearn.config import load, override, put, read_yaml
from salearn.errors import ConfigError
from salearn.settings import dump, parse, settings


@settings
class Inner:
    """Some settings."""

    rank: int = 8
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"rank: must be >= 1, got {self.rank}")


@settings
class Outer:
    """Settings with settings inside."""

    inner: Inner = Inner()
    budget: tuple[int, ...] = (1, 2)


def test_defaults_and_nested_values() -> None:
    made = parse(Outer, {"inner": {"rank": 4}}, "x.yaml")
    assert made.inner == Inner(rank=4)
    assert dump(made) == {"inner": {"rank": 4, "rate": 0.1}, "budget": [1, 2]}


def test_an_unknown_key_names_file_path_and_nearest_key() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml\.inner\.rnak: .*did you mean 'rank'"):
        parse(Outer, {"inner": {"rnak": 4}}, "x.yaml")
    with pytest.raises(ConfigError, match=r"x\.yaml\.budgt: .*did you mean 'budget'"):
        parse(Outer, {"budgt": [1]}, "x.yaml")


def test_a_value_of_the_wrong_kind_names_its_key() -> None:
    with pytest.raises(ConfigError, match=r"inner\.rank: .*got 'many'"):
        parse(Outer, {"inner": {"rank": "many"}}, "x.yaml")


def test_what_a_class_itself_refuses_is_passed_on_in_its_words() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml\.inner: rank: must be >= 1, got 0$"):
        parse(Outer, {"inner": {"rank": 0}}, "x.yaml")


def test_overrides_are_yaml_and_leave_the_original_alone() -> None:
    values = {"inner": {"rank": 8}, "strategy": "random"}
    changed = override(values, ["inner.rank=2", "budget=[1, 4]", "strategy.gate=0.1"])
    assert changed == {
        "inner": {"rank": 2},
        "budget": [1, 4],
        "strategy": {"name": "random", "gate": 0.1},
    }
    assert values == {"inner": {"rank": 8}, "strategy": "random"}


@pytest.mark.parametrize(
    ("change", "message"),
    [("rank", "key=value"), ("=3", "key=value"), ("a=[1", "not valid YAML"), ("n.x=1", "single")],
)
def test_a_wrong_override_says_how_to_write_it(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override({"n": 3}, [change])


def test_put_makes_the_mappings_on_the_way() -> None:
    values: dict[str, object] = {}
    put(values, "a.b.c", 1)
    assert values == {"a": {"b": {"c": 1}}}


def test_files_that_are_no_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_yaml(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="top level"):
        load(Outer, tmp_path / "list.yaml")
