"""Locks, manifests and archives to try things on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from packaging.utils import NormalizedName

from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import (
    BuildRequirement,
    BuiltFrom,
    Entry,
    JSONObject,
    Locked,
    Origin,
    Tool,
)
from uv_archive.archive.metadata import Metadata, compose
from uv_archive.lock import Lock, parse_lock

INDEX = "https://index.example/simple"
OTHER = "https://other.example/simple"


def hexdigest(content: bytes | str) -> str:
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()


def package(
    name: str,
    version: str = "1.0",
    *,
    source: str = f'registry = "{INDEX}"',
    wheels: Mapping[str, str | None] | None = None,
    sdist: str | None = None,
) -> str:
    """Write a `[[package]]`; *wheels* has locations, and bytes to take for their content."""
    lines = [
        "[[package]]",
        f'name = "{name}"',
        f'version = "{version}"',
        f"source = {{ {source} }}",
    ]
    if sdist is not None:
        lines.append(f'sdist = {{ url = "{sdist}", hash = "sha256:{hexdigest(sdist)}" }}')
    if wheels:
        lines.append("wheels = [")
        for location, content in wheels.items():
            key = "url" if "://" in location else "path"
            digest = "" if content is None else f', hash = "sha256:{hexdigest(content)}"'
            lines.append(f'    {{ {key} = "{location}"{digest} }},')
        lines.append("]")
    return "\n".join([*lines, ""])


def lock_text(*packages: str) -> str:
    return "\n".join(['version = 1\nrevision = 3\nrequires-python = ">=3.11"\n', *packages])


def lock_of(*packages: str) -> Lock:
    return parse_lock(lock_text(*packages).encode())


def contents(number: int = 3) -> dict[ArchivePath, bytes]:
    """Return the bytes of some distributions by path."""
    return {
        ArchivePath(f"part{i}-1.0-py3-none-any.whl"): f"content {i}".encode() * 50
        for i in range(number)
    } | {ArchivePath("index/0123abcd/twin-1.0-py3-none-any.whl"): b"another twin"}


def entries(files: Mapping[ArchivePath, bytes]) -> dict[ArchivePath, Entry]:
    """Describe distributions as locked ones."""
    return {
        path: Entry(
            size=len(content),
            sha256=hexdigest(content),
            origin=Origin(
                name=NormalizedName(path.rpartition("/")[2].partition("-")[0]),
                version="1.0",
                source=f"https://files.example/{path}",
                why=(Locked(),),
                vouched=True,
            ),
        )
        for path, content in files.items()
    }


def varied() -> dict[ArchivePath, Entry]:
    """Describe a file of every kind there is."""

    def entry(name: str, why: tuple[object, ...], *, commit: str | None = None) -> Entry:
        kinds = (Locked, BuildRequirement, BuiltFrom, Tool)
        return Entry(
            size=7,
            sha256=hexdigest(name),
            origin=Origin(
                name=NormalizedName(name),
                version=None if commit else "1.0",
                source=f"https://files.example/{name}",
                why=tuple(reason for reason in why if isinstance(reason, kinds)),
                vouched=name == "locked",
                commit=commit,
            ),
        )

    needed = BuildRequirement(
        of="docopt==0.6.2", requested="setuptools>=40.8.0", found="static", targets=("a", "b")
    )
    return {
        ArchivePath("locked-1.0.tar.gz"): entry("locked", (Locked(), needed)),
        ArchivePath("setuptools-1.0-py3-none-any.whl"): entry("setuptools", (needed,)),
        ArchivePath("made-1.0-py3-none-any.whl"): entry("made", (BuiltFrom(sha256="0" * 64),)),
        ArchivePath("tools/uv-1.0-py3-none-any.whl"): entry("uv", (Tool(),)),
        ArchivePath("left-1.0-py3-none-any.whl"): entry("left", ()),
        ArchivePath(f"git/repo-{'a' * 12}.bundle"): entry("repo", (Locked(),), commit="a" * 40),
    }


def metadata(
    distributions: Mapping[ArchivePath, Entry],
    *,
    requests: tuple[JSONObject, ...] = ({"groups": ["dev"]},),
    exports: Mapping[str, Pylock] | None = None,
    lock: bytes = b"version = 1\n",
    coverage: tuple[str, ...] = ("Python 3.11 on Linux",),
) -> Metadata:
    return compose(
        project="example",
        lock_name="uv.lock",
        lock=lock,
        requests=requests,
        distributions=distributions,
        exports={} if exports is None else exports,
        coverage=coverage,
        builds={"docopt==0.6.2": ["setuptools"]},
    )


def pylock(*names: str) -> Pylock:
    packages = [{"name": name, "version": "1.0"} for name in names]
    return Pylock(
        document={"lock-version": "1.0", "created-by": "uv-archive", "packages": packages},
        left_out=(),
    )
