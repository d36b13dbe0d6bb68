"""Tiny real wheels and sdists, byte for byte the same on every call."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from packaging.tags import parse_tag

#: 1980-01-01, the first instant that a ZIP file can hold.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
# The same in seconds: backends zip what they find in an sdist.
_TAR_EPOCH = 315_532_800

# An in-tree backend (PEP 517) of the standard library alone. The wheel's files lie ready in the
# sdist, so that building is packing.
_BACKEND = """\
import pathlib
import zipfile

NAME = "{wheel}"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    root = pathlib.Path(__file__).parent / "ready"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, NAME), "w") as wheel:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                wheel.write(path, path.relative_to(root).as_posix())
    return NAME


build_editable = build_wheel
"""

_SETUP = """\
from setuptools import setup

setup(name="{name}", version="{version}", packages=["{module}"], install_requires={requires!r})
"""


def make_wheel(
    directory: Path,
    name: str,
    version: str,
    *,
    tags: str = "py3-none-any",
    build: str = "",
    requires: Iterable[str] = (),
    extras: Mapping[str, Iterable[str]] | None = None,
    requires_python: str | None = None,
    entry_points: Mapping[str, str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> Path:
    """Write a wheel into *directory* and return its path.

    *tags* is the compressed tag set of the file name, *build* its build tag, *requires* and
    *extras* are requirement strings (PEP 508), *entry_points* console scripts. Without *files*
    the wheel has one module that knows its `__version__`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "-".join(filter(None, (_stem(name), version, build, f"{tags}.whl")))
    content = _wheel_content(
        name,
        version,
        tags=tags,
        build=build,
        metadata=_metadata(name, version, requires, extras or {}, requires_python),
        entry_points=entry_points or {},
        files=files,
    )
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in content.items():
            information = zipfile.ZipInfo(member, _ZIP_EPOCH)
            information.external_attr = 0o100644 << 16
            archive.writestr(information, data)
    return path


def make_sdist(
    directory: Path,
    name: str,
    version: str,
    *,
    style: Literal["in-tree", "legacy"] = "in-tree",
    requires: Iterable[str] = (),
    build_requires: Iterable[str] = (),
    requires_python: str | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> Path:
    """Write an sdist (`.tar.gz`) into *directory* and return its path.

    `in-tree` brings its own backend and builds with nothing but *build_requires* installed;
    `legacy` has a `setup.py` and no `pyproject.toml`, so that frontends assume setuptools.
    *files* are added to the top of the tree, and replace what stands there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    top = f"{_stem(name)}-{version}"
    requires = tuple(requires)
    metadata = _metadata(name, version, requires, {}, requires_python)
    content: dict[str, bytes] = {"PKG-INFO": metadata}
    if style == "legacy":
        setup = _SETUP.format(
            name=name, version=version, module=_stem(name), requires=list(requires)
        )
        content |= {"setup.py": setup.encode()} | _module(name, version)
    else:
        content |= _in_tree(name, version, metadata, tuple(build_requires))
    content |= {member: _bytes(data) for member, data in (files or {}).items()}
    path = directory / f"{top}.tar.gz"
    path.write_bytes(_packed({f"{top}/{member}": data for member, data in content.items()}))
    return path


def sha256(path: Path) -> str:
    """Return the digest of a file as locks write it."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _in_tree(
    name: str, version: str, metadata: bytes, build_requires: tuple[str, ...]
) -> dict[str, bytes]:
    wheel = f"{_stem(name)}-{version}-py3-none-any.whl"
    ready = _wheel_content(name, version, metadata=metadata)
    pyproject = (
        "[build-system]\n"
        f"requires = {list(build_requires)!r}\n"
        'build-backend = "backend"\n'
        'backend-path = ["."]\n'
    )
    return {
        "pyproject.toml": pyproject.encode(),
        "backend.py": _BACKEND.format(wheel=wheel).encode(),
    } | {f"ready/{member}": data for member, data in ready.items()}


def _wheel_content(
    name: str,
    version: str,
    *,
    metadata: bytes,
    tags: str = "py3-none-any",
    build: str = "",
    entry_points: Mapping[str, str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
) -> dict[str, bytes]:
    """Return the members of a wheel, `RECORD` last. Specification: binary distribution format."""
    information = f"{_stem(name)}-{version}.dist-info"
    if files is None:
        content = _module(name, version)
    else:
        content = {member: _bytes(data) for member, data in files.items()}
    content[f"{information}/METADATA"] = metadata
    content[f"{information}/WHEEL"] = _wheel_file(tags, build)
    if entry_points:
        lines = ["[console_scripts]", *(f"{key} = {at}" for key, at in entry_points.items())]
        content[f"{information}/entry_points.txt"] = _text(lines)
    rows = [f"{member},{_record_hash(data)},{len(data)}" for member, data in content.items()]
    content[f"{information}/RECORD"] = _text([*rows, f"{information}/RECORD,,"])
    return content


def _metadata(
    name: str,
    version: str,
    requires: Iterable[str],
    extras: Mapping[str, Iterable[str]],
    requires_python: str | None,
) -> bytes:
    lines = ["Metadata-Version: 2.2", f"Name: {name}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    for extra, requirements in extras.items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {_with_extra(text, extra)}" for text in requirements]
    return _text(lines)


def _with_extra(requirement: str, extra: str) -> str:
    text, separator, marker = requirement.partition(";")
    condition = f"({marker.strip()}) and extra == '{extra}'" if separator else f"extra == '{extra}'"
    return f"{text.strip()} ; {condition}"


def _wheel_file(tags: str, build: str) -> bytes:
    lines = ["Wheel-Version: 1.0", "Generator: tests"]
    lines.append(f"Root-Is-Purelib: {str(tags.endswith('-none-any')).lower()}")
    if build:
        lines.append(f"Build: {build}")
    lines += [f"Tag: {tag}" for tag in sorted(str(tag) for tag in parse_tag(tags))]
    return _text(lines)


def _module(name: str, version: str) -> dict[str, bytes]:
    return {f"{_stem(name)}/__init__.py": _text([f'__version__ = "{version}"'])}


def _packed(members: Mapping[str, bytes]) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, data in sorted(members.items()):
            information = tarfile.TarInfo(member)
            information.size = len(data)
            information.mtime = _TAR_EPOCH
            archive.addfile(information, io.BytesIO(data))
    packed = io.BytesIO()
    # Level 0: what deflate makes of the same bytes depends on the library.
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=0) as file:
        file.write(tar.getvalue())
    return packed.getvalue()


def _stem(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _record_hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"sha256={digest}"


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
