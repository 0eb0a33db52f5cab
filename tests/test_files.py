import os
from pathlib import Path

import pytest

from underdraw.errors import InputError
from underdraw.files import atomic, inside


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with atomic(tmp_path / "a") as draft:
        draft.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
        assert draft.parent == tmp_path
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_folders_are_made_on_the_way(tmp_path: Path) -> None:
    with atomic(tmp_path / "b" / "c" / "d.txt") as draft:
        draft.write_text("here")
    assert (tmp_path / "b" / "c" / "d.txt").read_text() == "here"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), atomic(tmp_path / "a") as draft:
        draft.write_text("half")
        raise error
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with atomic(tmp_path / "folder") as draft:
            draft.mkdir()
            (draft / text).write_text(text)
    assert names(tmp_path) == ["folder", "two"]


def test_a_folder_that_fails_vanishes(tmp_path: Path) -> None:
    with pytest.raises(ValueError), atomic(tmp_path / "folder") as draft:
        draft.mkdir()
        (draft / "half").write_text("half")
        raise ValueError
    assert names(tmp_path) == []


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*a: No such file"), atomic(tmp_path / "a"):
        pass


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*a: No space left on device"), atomic(tmp_path / "a") as draft:
        draft.write_text("half")
        raise OSError(28, os.strerror(28))
    assert names(tmp_path) == []


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*b"), atomic(tmp_path / "a" / "b") as draft:
        draft.write_text("x")
    with pytest.raises(InputError, match="no name"), atomic(""):
        pass


def test_inside_stays_inside(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b.png") == tmp_path.resolve() / "a" / "b.png"
    for name in ("../b", "/etc/passwd", "a/../../b"):
        with pytest.raises(InputError, match="leads out of"):
            inside(tmp_path, name)
    (tmp_path / "link").symlink_to(tmp_path.parent)
    with pytest.raises(InputError, match="leads out of"):
        inside(tmp_path, "link/b")


@pytest.mark.skipif(os.name == "nt", reason="no such modes")
def test_what_is_written_can_be_read_by_others(tmp_path: Path) -> None:
    with atomic(tmp_path / "plain") as draft:
        draft.write_text("x")
    with atomic(tmp_path / "secret") as draft:
        draft.write_text("x")
        draft.chmod(0o600)
    with atomic(tmp_path / "folder") as draft:
        draft.mkdir()
        (draft / "inside").write_text("x")
        (draft / "inside").chmod(0o600)
    usual = (tmp_path / "plain").stat().st_mode & 0o777
    assert usual & 0o400
    assert (tmp_path / "secret").stat().st_mode & 0o777 == usual
    assert (tmp_path / "folder" / "inside").stat().st_mode & 0o777 == usual
