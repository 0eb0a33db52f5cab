"""Packages on disk: fetched by npm alone, verified, and never able to write or read outside of themselves."""

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from underdraw.data.stickers import PACKAGES, Package, fetch
from underdraw.data.stickers import packages as module
from underdraw.data.stickers.packages import members, verify
from underdraw.errors import InputError

FILES = {"package/icons.json": b'{"icons": {}}', "package/deep/readme.md": b"hello"}


def tarball(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def package(path: Path) -> Package:
    """The package whose tarball is at `path`, pinned as it is now."""
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return Package(path.name.removesuffix("-1.0.0.tgz"), "1.0.0", f"sha512-{digest}")


def npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts an npm that runs `script` before all others."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_members_are_the_wanted_files_below_the_top_folder(tmp_path: Path) -> None:
    path = tarball(tmp_path / "a.tgz", FILES)
    assert members(path, lambda name: True) == {"icons.json": b'{"icons": {}}', "deep/readme.md": b"hello"}
    assert members(path, "icons.json".__eq__) == {"icons.json": b'{"icons": {}}'}


@pytest.mark.parametrize("name", ["../evil", "/evil", "package/../../evil", "package\\..\\evil"])
def test_a_member_that_escapes_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tarball(tmp_path / "a.tgz", {**FILES, name: b"x"})
    with pytest.raises(InputError, match="unsafe member") as error:
        members(path, lambda name: True)
    assert repr(name) in str(error.value)
    assert sorted(tmp_path.rglob("*")) == [path]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_or_device_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("package/icons.json")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match=r"unsafe member 'package/icons.json'"):
        members(path, lambda name: True)


def test_contents_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tarball(tmp_path / "a.tgz", {"package/a": bytes(600), "package/b": bytes(600)})
    monkeypatch.setattr(module, "CONTENTS_LIMIT", 1200)
    assert members(path, "a".__eq__) == {"a": bytes(600)}
    monkeypatch.setattr(module, "CONTENTS_LIMIT", 1199)
    with pytest.raises(InputError, match="over 1199 bytes"):
        members(path, "a".__eq__)


@pytest.mark.parametrize(("kept", "added"), [(60, b""), (40, b"zzzz"), (0, b"not a tarball"), (0, b"")])
def test_a_broken_tarball_is_one_clear_error(tmp_path: Path, kept: int, added: bytes) -> None:
    path = tarball(tmp_path / "a.tgz", FILES)
    path.write_bytes(path.read_bytes()[:kept] + added)
    with pytest.raises(InputError, match=r"a.tgz is broken .*; delete it and fetch it again"):
        members(path, lambda name: True)


def test_a_missing_altered_or_huge_tarball_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tarball(tmp_path / "one-1.0.0.tgz", FILES)
    pinned = package(path)
    assert verify(tmp_path, pinned) == path
    with pytest.raises(InputError, match=r"missing; fetch it with: npm pack one@1.0.0"):
        verify(tmp_path / "elsewhere", pinned)
    tarball(path, {**FILES, "package/more": b"x"})
    with pytest.raises(InputError, match="differs from the pinned checksum"):
        verify(tmp_path, pinned)
    monkeypatch.setattr(module, "TARBALL_LIMIT", 10)
    with pytest.raises(InputError, match="larger than 10 bytes"):
        verify(tmp_path, pinned)


def test_a_filled_folder_needs_no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    pinned = package(tarball(tmp_path / "one-1.0.0.tgz", FILES))
    assert fetch(tmp_path, [pinned]) == tmp_path


def test_without_npm_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"npm.* is not installed; install Node.js or put .*\.tgz into") as error:
        fetch(tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_npm_packs_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tarball(tmp_path / "one-1.0.0.tgz", FILES)
    npm(tmp_path / "bin", f'[ "$5" = one@1.0.0 ] && cp {source} "$4"', monkeypatch)
    cache = fetch(tmp_path / "cache", [package(source)])
    assert [path.name for path in cache.iterdir()] == [source.name]


def test_what_npm_complains_of_is_passed_on_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path / "bin", "echo noise >&2; echo code E404 >&2; exit 1", monkeypatch)
    with pytest.raises(InputError, match=r"could not fetch one@1.0.0: code E404"):
        fetch(tmp_path / "cache", [Package("one", "1.0.0", "sha512-")])
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        fetch(tmp_path / "file" / "cache")


def test_tarballs_are_named_as_npm_names_them() -> None:
    assert Package("@scope/name", "1.2.3", "").tarball == "scope-name-1.2.3.tgz"
    assert len({one.tarball for one in PACKAGES}) == len(PACKAGES) == 7
