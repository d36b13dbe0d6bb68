"""What an environment says of its distributions, and what it has to say after a sync.

Specifications: recording installed projects; direct URL data structure.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.lock.model import GitSource, UrlSource

_DIRECT_URL = "direct_url.json"
# When uv took the file of a local distribution. It writes none for one from a URL.
_UV_CACHE = "uv_cache.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class DirectUrl:
    """What the lock says of a distribution that isn't from an index. *git* is of a commit."""

    url: str
    subdirectory: str | None = None
    git: Mapping[str, object] | None = None

    @classmethod
    def of(cls, source: UrlSource | GitSource) -> DirectUrl:
        url, subdirectory = source.url.exposed, source.subdirectory
        if isinstance(source, UrlSource):
            return cls(url=url, subdirectory=subdirectory)
        git: dict[str, object] = {"vcs": "git", "commit_id": source.commit}
        if source.reference is not None:
            git["requested_revision"] = source.reference[1]
        if source.lfs:
            git["git_lfs"] = True
        return cls(url=url, subdirectory=subdirectory, git=git)

    def content(self) -> bytes:
        """Return `direct_url.json` as uv writes it: no spaces, its order of keys."""
        kind = {"archive_info": {}} if self.git is None else {"vcs_info": self.git}
        written: dict[str, object] = {"url": self.url, **kind}
        if self.subdirectory is not None:
            written["subdirectory"] = self.subdirectory
        return json.dumps(written, separators=(",", ":"), ensure_ascii=False).encode()


def installed(environment: Path) -> Mapping[NormalizedName, Path]:
    """Return the `.dist-info` directory of each distribution in *environment*, by name."""
    return {
        canonicalize_name(path.name.removesuffix(".dist-info").rpartition("-")[0]): path
        for path in _dist_infos(environment)
    }


def _dist_infos(environment: Path) -> Iterator[Path]:
    # `lib64` is a link to `lib` on most systems, and the same directory then.
    for pattern in ("lib*/*/site-packages/*.dist-info", "Lib/site-packages/*.dist-info"):
        yield from sorted(environment.glob(pattern), reverse=True)


def restore_direct_urls(environment: Path, urls: Mapping[NormalizedName, DirectUrl]) -> None:
    """Make `direct_url.json` of the distributions in *urls* name the locked URL again.

    uv installed them from files, and would otherwise install them anew the next time it
    compares the environment with the lock. Those that already name a URL are left alone.
    Raises `OSError`.
    """
    directories = installed(environment)
    for name in sorted(urls.keys() & directories.keys()):
        _restore(directories[name], urls[name])


def _restore(directory: Path, locked: DirectUrl) -> None:
    path = directory / _DIRECT_URL
    if not path.is_file():
        return
    content = locked.content()
    if path.read_bytes() != content:
        _write(path, content)
    with suppress(FileNotFoundError):
        (directory / _UV_CACHE).unlink()
    _rewrite_record(directory, content)


def _rewrite_record(directory: Path, direct_url: bytes) -> None:
    record = directory / "RECORD"
    if not record.is_file():
        return
    rows = []
    for row in csv.reader(io.StringIO(record.read_text("utf-8"), newline="")):
        if row and row[0] == f"{directory.name}/{_UV_CACHE}":
            continue
        if row and row[0] == f"{directory.name}/{_DIRECT_URL}":
            digest = base64.urlsafe_b64encode(hashlib.sha256(direct_url).digest()).rstrip(b"=")
            rows.append([row[0], f"sha256={digest.decode()}", str(len(direct_url))])
        else:
            rows.append(row)
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    _write(record, buffer.getvalue().encode())


def _write(path: Path, content: bytes) -> None:
    # Never in place: the file may be a hard link.
    temporary = path.with_name(f"{path.name}.uv-archive")
    temporary.write_bytes(content)
    temporary.replace(path)
