"""Emoji packages on disk: fetched by the npm client, verified by checksum, read without ever being unpacked."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from underdraw.data.stickers.sets import PACKAGES, Package
from underdraw.errors import InputError

TARBALL_LIMIT = 64 * 2**20  # bytes; the largest package has 16 MB …
CONTENTS_LIMIT = 256 * 2**20  # … and the largest contents 104 MB
FETCH_SECONDS = 600


def fetch(cache: str | Path, packages: Iterable[Package] = PACKAGES) -> Path:
    """Make sure that every package's tarball lies in the folder `cache`, by `npm pack`, and return the folder.

    Tarballs that are there already are verified and kept: a folder filled by hand needs neither npm nor a network.
    Raises InputError if npm is missing or fails, or if a tarball is not the pinned one.
    """
    folder = Path(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"stickers: cannot make the folder {folder}: {error.strerror}; choose another") from error
    for package in packages:
        if not (folder / package.tarball).exists():
            _pack(package, folder)
        verify(folder, package)
    return folder


def _pack(package: Package, folder: Path) -> None:
    name = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"stickers: npm, which fetches {name}, is not installed; "
            f"install Node.js or put {package.tarball} into {folder}"
        )
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # npm writes in place: move only what is whole
        command = [npm, "pack", "--silent", "--pack-destination", scratch, name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
        except (subprocess.TimeoutExpired, OSError) as error:
            raise InputError(f"stickers: npm could not fetch {name}: {error}; try again") from error
        made = Path(scratch) / package.tarball
        if done.returncode or not made.exists():
            reason = (done.stderr.strip() or "it gave no reason").splitlines()[-1]
            raise InputError(f"stickers: npm could not fetch {name}: {reason}; see that npm reaches its registry")
        made.replace(folder / package.tarball)


def verify(folder: Path, package: Package) -> Path:
    """The path of the package's tarball in `folder`; raises InputError if it is missing, too large or altered."""
    path = folder / package.tarball
    if not path.is_file():
        raise InputError(f"stickers: {path} is missing; fetch it with: npm pack {package.name}@{package.version}")
    if path.stat().st_size > TARBALL_LIMIT:
        raise InputError(f"stickers: {path} is larger than {TARBALL_LIMIT} bytes; delete it and fetch it again")
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise InputError(f"stickers: {path} differs from the pinned checksum; delete it and fetch it again")
    return path


def members(tarball: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Read the files whose path below the tarball's top folder is `wanted`: {path: contents}.

    Nothing is written to disk. Raises InputError if a member is neither a file nor a folder or points outside of the
    tarball (and names it), if all together are larger than CONTENTS_LIMIT, or if the tarball is broken.
    """
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for member in archive:
                path, total = _inside(member, tarball), total + member.size
                if total > CONTENTS_LIMIT:
                    raise InputError(f"stickers: {tarball} unpacks to over {CONTENTS_LIMIT} bytes; fetch it again")
                if member.isfile() and wanted(path):
                    stream = archive.extractfile(member)
                    assert stream is not None  # a file has contents
                    found[path] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"stickers: {tarball} is broken ({error}); delete it and fetch it again") from error
    return found


def _inside(member: tarfile.TarInfo, tarball: Path) -> str:
    """The member's path below the top folder ("package/…")."""
    path = PurePosixPath(member.name)
    escapes = path.is_absolute() or ".." in path.parts or "\\" in member.name
    if escapes or not (member.isfile() or member.isdir()):
        raise InputError(f"stickers: {tarball} holds the unsafe member {member.name!r}; delete it and fetch it again")
    return "/".join(path.parts[1:])
