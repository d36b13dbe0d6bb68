"""Sdists whose builds do what they shouldn't, and archives of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.archive.samples import INDEX, lock_text
from tests.distributions import make_sdist
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import (
    BuildRequirement,
    Entry,
    Locked,
    Manifest,
    Origin,
    Why,
)
from uv_archive.archive.metadata import compose
from uv_archive.archive.store import Store
from uv_archive.request import Request
from uv_archive.target import Target

#: What an in-tree backend does before it packs the wheel; `{wheel}` is packed all the same.
_BACKEND = """\
import os
import pathlib
import zipfile

NAME = "{wheel}"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    root = pathlib.Path(__file__).parent / "ready"
    said = {{}}
    misdeed(wheel_directory, config_settings or {{}}, said)
    with zipfile.ZipFile(pathlib.Path(wheel_directory, NAME), "w") as wheel:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                wheel.write(path, path.relative_to(root).as_posix())
        for name, text in said.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return NAME


"""


def make_misdoer(directory: Path, name: str, misdeed: str) -> Path:
    """Write an sdist whose backend runs *misdeed*, the body of a function, when it builds.

    The body has `wheel_directory`, `settings`, and `said`: texts to put into the wheel.
    """
    wheel = f"{name}-1.0-py3-none-any.whl"
    lines = "".join(f"    {line}\n" for line in misdeed.splitlines())
    body = f"def misdeed(wheel_directory, settings, said):\n{lines}"
    files = {"backend.py": _BACKEND.format(wheel=wheel) + body}
    return make_sdist(directory, name, "1.0", files=files)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """An sdist of an archive, and the files that build it."""

    sdist: Path
    files: Sequence[Path] = ()


def make_archive(
    directory: Path,
    sources: Iterable[Needs],
    *,
    target: Target,
    builds: Mapping[str, object] | None = None,
) -> Manifest:
    """Make an archive that says of each sdist what builds it on *target*."""
    entries: dict[ArchivePath, Entry] = {}
    reasons: dict[Path, tuple[Why, ...]] = {}
    packages, gathered, exported = [], {}, []
    for needs in sources:
        name, _, rest = needs.sdist.name.partition("-")
        version = rest.removesuffix(".tar.gz")
        label = f"{canonicalize_name(name)}=={version}"
        gathered[label] = [target.label]
        packages.append(_package(needs.sdist, name, version))
        exported.append(_exported(needs.sdist, name, version))
        reasons[needs.sdist] = (*reasons.get(needs.sdist, ()), Locked())
        for file in needs.files:
            requirement = BuildRequirement(
                of=label,
                requested=canonicalize_name(file.name.partition("-")[0]),
                found="static",
                targets=(target.label,),
            )
            reasons[file] = (*reasons.get(file, ()), requirement)
    directory.mkdir()
    for file, whys in reasons.items():
        content = file.read_bytes()
        (directory / file.name).write_bytes(content)
        entries[ArchivePath(file.name)] = _entry(file.name, content, whys)
    (directory / "uv-archive.json").write_text("{}")  # what makes it an archive
    lock = lock_text(*packages).encode()
    document = {"lock-version": "1.0", "created-by": "uv-archive", "packages": exported}
    metadata = compose(
        project="example",
        lock_name="uv.lock",
        lock=lock,
        requests=[Request(project=None, targets=(target,)).to_record()],
        distributions=entries,
        exports={"": Pylock(document=document, left_out=())},
        coverage=[target.label],
        builds={"gathered": gathered, **(builds or {})},  # type: ignore[dict-item]
    )
    (directory / "uv-archive.json").unlink()
    (directory / ".partial").mkdir()
    with Store.open(directory).writing(notify=lambda _: None) as writer:
        writer.finish(metadata.manifest, metadata.documents)
    return metadata.manifest


def _package(sdist: Path, name: str, version: str) -> str:
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    return (
        f'[[package]]\nname = "{canonicalize_name(name)}"\nversion = "{version}"\n'
        f'source = {{ registry = "{INDEX}" }}\n'
        f'sdist = {{ url = "https://files.example/{sdist.name}", hash = "sha256:{digest}" }}\n'
    )


def _exported(sdist: Path, name: str, version: str) -> Mapping[str, object]:
    content = sdist.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    file = {"path": sdist.name, "size": len(content), "hashes": {"sha256": digest}}
    return {"name": canonicalize_name(name), "version": version, "sdist": file}


def _entry(filename: str, content: bytes, why: tuple[Why, ...]) -> Entry:
    name, _, rest = filename.partition("-")
    version = rest.removesuffix(".tar.gz").partition("-")[0]
    locked = Locked() in why
    return Entry(
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        origin=Origin(
            name=canonicalize_name(name),
            version=version,
            source=f"https://files.example/{filename}",
            why=why,
            vouched=locked,
        ),
    )
