"""What can be read of a damaged manifest is read, and nothing else is believed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.archive.samples import contents, entries, metadata
from uv_archive.archive.layout import CHECKSUMS, README
from uv_archive.archive.manifest import Manifest, is_as_written
from uv_archive.archive.salvage import salvage
from uv_archive.archive.store import Store
from uv_archive.errors import ArchiveError

MADE = metadata(entries(contents(6)), requests=({}, {"project": "other"}))
CONTENT = MADE.manifest.to_json()


def salvaged(content: bytes) -> Manifest:
    readme = MADE.documents[README] + b"all platforms"
    return salvage(content, checksums=MADE.documents[CHECKSUMS], readme=readme, project="example")


def test_of_an_undamaged_one_everything_but_answers_is_read() -> None:
    lock = MADE.manifest.lock
    found = salvaged(CONTENT)
    expected = replace(MADE.manifest, builds={}, lock=replace(lock, sha256="0" * 64))
    assert replace(found, read_digest=None) == expected


@given(st.integers(0, len(CONTENT) * 8 - 1))
def test_one_bit_costs_what_stands_there_and_changes_no_digest(bit: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[bit // 8] ^= 1 << bit % 8
    assert not is_as_written(bytes(damaged))
    found = salvaged(bytes(damaged))
    whole = MADE.manifest.files
    known = {path: entry for path, entry in found.files.items() if path in whole}
    # Without its first line a section isn't found, and without its end there is one more line.
    if all(line in damaged for line in (b'\n  "files": {\n', b'\n  "requests": [\n')):
        assert len(known) + len(found.requests) >= len(whole) + 2 - 2
    for path, entry in known.items():
        if path in MADE.documents[CHECKSUMS].decode():
            assert entry.sha256 == whole[path].sha256


@given(st.binary(max_size=300), st.integers(0, len(CONTENT)), st.integers(0, len(CONTENT)))
def test_whatever_the_damage_is_something_comes_of_it(noise: bytes, one: int, other: int) -> None:
    begin, end = sorted((one, other))
    salvaged(CONTENT[:begin] + noise + CONTENT[end:])


def test_a_request_that_the_readme_doesnt_have_isnt_believed() -> None:
    found = salvage(
        CONTENT, checksums=MADE.documents[CHECKSUMS], readme=b"nothing", project="example"
    )
    assert found.requests == ()


def test_a_store_reads_a_damaged_manifest_only_when_it_is_to_be_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "uv-archive.json"
    path.write_bytes(CONTENT)
    os.truncate(path, 900)
    store = Store.open(tmp_path)
    assert store.is_damaged
    with pytest.raises(ArchiveError, match=r"its checksum|JSON"):
        store.recorded()
    rebuilding = Store.open(tmp_path, rebuild_for="example")
    assert rebuilding.find_manifest() is None
    recorded = rebuilding.recorded()
    assert recorded is not None
    assert recorded.project == "example"
    assert recorded.files
