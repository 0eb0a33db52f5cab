import pytest

from underdraw.errors import ConfigError, MissingExtra, UnderdrawError
from underdraw.registry import Registry, nearest


def parts() -> Registry[int]:
    registry: Registry[int] = Registry("brush")
    for number, name in enumerate(("round", "flat", "fan")):
        assert registry.register(name)(number) == number
    return registry


def test_parts_by_name() -> None:
    assert parts()["flat"] == 1
    assert "fan" in parts() and "mop" not in parts()
    assert parts().names() == list(parts()) == ["fan", "flat", "round"]
    assert len(parts()) == 3


def test_an_unknown_name_says_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"^unknown brush 'rownd'; did you mean 'round'\?$"):
        parts()["rownd"]
    with pytest.raises(ConfigError, match=r"^unknown brush 'xyz'; there is fan, flat, round$"):
        parts()["xyz"]


def test_a_name_is_given_once() -> None:
    with pytest.raises(AssertionError, match="brush 'flat' is registered twice"):
        parts().register("flat")(3)


def test_where_there_is_nothing_that_is_said() -> None:
    assert nearest("a", []) == "there is none"


def test_a_missing_extra_prints_its_install_line() -> None:
    error = MissingExtra("resvg_py", "stickers")
    assert str(error) == "resvg_py is not installed; run: pip install 'underdraw[stickers]'"
    assert isinstance(error, UnderdrawError)
