"""Bring files into the archive: over the network, or from the project's own files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uv_archive.archive.layout import ArchivePath, partial_key
from uv_archive.archive.store import Writer
from uv_archive.download.asked import Asked
from uv_archive.download.contents import Content
from uv_archive.download.outcome import Failed
from uv_archive.fetch import (
    Credentials,
    FetchResult,
    Mirrors,
    Reporter,
    Transfer,
    Transport,
    fetch_all,
)
from uv_archive.fetch.local import Copied, copy_local
from uv_archive.fetch.unverified import unverified_hosts
from uv_archive.lock.model import Distribution, LocalPath
from uv_archive.owner import Owner
from uv_archive.settings import Settings
from uv_archive.url import Url
from uv_archive.uv import Uv


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrived:
    """A file that is in the archive now. *sha256* is in hexadecimal, *size* in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """What came, by path, and what didn't."""

    arrived: Mapping[ArchivePath, Arrived]
    failed: tuple[Failed, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bringer:
    """How files are brought. *transport* makes the client, when something has to be fetched.

    Paths of the lock are relative to *root*.
    """

    root: Path
    transport: Callable[[], Transport]
    credentials: Credentials
    mirrors: Mirrors
    reporter: Reporter
    jobs: int

    def bring(self, contents: Sequence[Content], writer: Writer) -> Brought:
        """Bring every file of *contents*, and go on when some fail. Raises `StorageError`."""
        local = [content for content in contents if isinstance(_origin(content), LocalPath)]
        remote = [content for content in contents if isinstance(_origin(content), Url)]
        copied = self._copy(local, writer)
        fetched = self._fetch(remote, writer)
        return Brought(
            arrived={**copied.arrived, **fetched.arrived}, failed=copied.failed + fetched.failed
        )

    def obtain(
        self, distributions: Sequence[Distribution], directory: Path
    ) -> Sequence[Path | None]:
        """Fetch files for a look into them; `None` for one that didn't come."""
        transfers = {
            directory / distribution.filename.text: self._transfer(
                distribution,
                partial=directory / partial_key(distribution),
                destination=directory / distribution.filename.text,
            )
            for distribution in distributions
            if isinstance(distribution.location, Url)
        }
        self._run(list(transfers.values()), _rename)
        wanted = [directory / distribution.filename.text for distribution in distributions]
        return [path if path.is_file() else None for path in wanted]

    def _copy(self, contents: Sequence[Content], writer: Writer) -> Brought:
        arrived, failed = {}, []
        for content in contents:
            distribution, path = content.distribution, content.path

            def commit(partial: Path, path: ArchivePath = path) -> None:
                writer.commit(partial, path)

            outcome = copy_local(
                self.root / str(distribution.location),
                digest=distribution.digest,
                partial=writer.partial(partial_key(distribution)),
                commit=commit,
            )
            match outcome:
                case Copied(sha256=sha256, size=size):
                    arrived[path] = Arrived(sha256=sha256, size=size)
                case reason:
                    failed.append(Failed(name=path, reason=reason, hint=None))
        return Brought(arrived=arrived, failed=tuple(failed))

    def _fetch(self, contents: Sequence[Content], writer: Writer) -> Brought:
        paths = {writer.store.path(content.path): content.path for content in contents}
        transfers = [
            self._transfer(
                content.distribution,
                partial=writer.partial(partial_key(content.distribution)),
                destination=writer.store.path(content.path),
            )
            for content in contents
        ]
        result = self._run(
            transfers, lambda partial, destination: writer.commit(partial, paths[destination])
        )
        return Brought(
            arrived={
                paths[one.transfer.destination]: Arrived(sha256=one.sha256, size=one.size)
                for one in result.done
            },
            failed=tuple(
                Failed(name=one.transfer.label, reason=one.reason, hint=one.hint)
                for one in result.failed
            ),
        )

    def _transfer(
        self, distribution: Distribution, *, partial: Path, destination: Path
    ) -> Transfer:
        location = distribution.location
        if not isinstance(location, Url):
            raise TypeError("only a URL can be fetched")
        return Transfer(
            url=self.mirrors.apply(location),
            digest=distribution.digest,
            size=distribution.size,
            partial=partial,
            destination=destination,
            label=distribution.filename.text,
        )

    def _run(
        self, transfers: Sequence[Transfer], commit: Callable[[Path, Path], None]
    ) -> FetchResult:
        if not transfers:
            return FetchResult(done=(), failed=())
        transport = self.transport()
        try:
            return fetch_all(
                transfers,
                transport=transport,
                commit=commit,
                credentials=self.credentials,
                reporter=self.reporter,
                jobs=self.jobs,
            )
        finally:
            transport.close()


def _rename(partial: Path, destination: Path) -> None:
    partial.replace(destination)


def _origin(content: Content) -> Url | LocalPath:
    return content.distribution.location


def bringer_of(
    asked: Asked, *, owner: Owner, settings: Settings, uv: Uv, reporter: Reporter
) -> Bringer:
    """Make what brings files for *asked*, with uv's settings and credentials."""
    unverified = unverified_hosts(settings)

    def transport() -> Transport:
        # The client takes time to import, and not every run fetches something.
        from uv_archive.fetch.client import ReqwestTransport  # noqa: PLC0415

        return ReqwestTransport(unverified=unverified)

    return Bringer(
        root=owner.root,
        transport=transport,
        credentials=Credentials.of(settings, uv=uv),
        mirrors=Mirrors.parse(asked.mirrors),
        reporter=reporter,
        jobs=asked.jobs,
    )
