"""An archive's metadata, all of it at once: a pure function of what the archive is to hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from uv_archive.archive.checksums import checksums
from uv_archive.archive.exports import Pylock, export_names, requirements
from uv_archive.archive.layout import (
    CHECKSUMS,
    INSTALL,
    README,
    ArchivePath,
    locked_path,
)
from uv_archive.archive.locked import without_secrets
from uv_archive.archive.manifest import (
    Entry,
    JSONObject,
    LockRecord,
    Manifest,
    canonical_requests,
)
from uv_archive.archive.readme import ExportNames, readme


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What `Writer.finish` writes: the manifest, and every other file of metadata."""

    manifest: Manifest
    documents: Mapping[ArchivePath, bytes]


def compose(
    *,
    project: str,
    lock_name: str,
    lock: bytes,
    requests: Iterable[JSONObject],
    distributions: Mapping[ArchivePath, Entry],
    exports: Mapping[str, Pylock],
    coverage: Sequence[str],
    builds: JSONObject,
) -> Metadata:
    """Make the metadata of an archive.

    *lock_name* and *lock* are the lock's file name and its bytes, *distributions* every file
    that isn't metadata, *exports* what each selection's label stands for, *coverage* the Pythons
    and platforms in words, *builds* what was asked about builds and answered. The same
    arguments, in any order, give the same bytes.
    """
    copy = locked_path(lock_name)
    documents: dict[ArchivePath, bytes] = {copy: without_secrets(lock)}
    names = []
    for label, (pylock, text) in export_names(exports).items():
        selection = exports[label]
        for_pip = requirements(selection)
        documents[pylock] = selection.to_toml(pylock)
        documents[text] = for_pip.to_text(text)
        names.append(
            ExportNames(
                label=label,
                pylock=pylock,
                requirements=text,
                left_out_of_pylock=selection.left_out,
                left_out_of_requirements=for_pip.left_out,
            )
        )
    if any(entry.is_tool for entry in distributions.values()):
        documents[INSTALL] = _install_script()
    documents[CHECKSUMS] = checksums(
        {path: entry.sha256 for path, entry in distributions.items()}
        | {path: _sha256(content) for path, content in documents.items()}
    )
    documents[README] = readme(
        project=project, lock=copy, files=distributions, coverage=coverage, exports=names
    )
    described = {
        path: Entry(size=len(content), sha256=_sha256(content))
        for path, content in documents.items()
    }
    manifest = Manifest(
        project=project,
        lock=LockRecord(path=copy, sha256=_sha256(lock)),
        requests=canonical_requests(requests),
        files={**distributions, **described},
        builds=builds,
    )
    return Metadata(manifest=manifest, documents=documents)


def _install_script() -> bytes:
    # No module of this package: it runs where there is none, on any Python from 3.8 on.
    return resources.files(__package__).joinpath("far_side", INSTALL).read_bytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
