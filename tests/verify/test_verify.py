"""Damage of every kind is named, and nothing is written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
from jsonschema import Draft202012Validator

from tests.conftest import give_up, without_privileges
from tests.verify.archives import distributions, findings, flip, make, verified
from uv_archive.archive.checksums import checksums
from uv_archive.archive.layout import CHECKSUMS, README, ArchivePath
from uv_archive.archive.manifest import Entry, Locked, Manifest
from uv_archive.archive.store import Store
from uv_archive.digest import Digest
from uv_archive.errors import ArchiveError
from uv_archive.verify import Kind, VerifyRequest, verify

SCHEMA = json.loads(files("uv_archive.cli").joinpath("verify.schema.json").read_text("utf-8"))
ONE, OTHER, THIRD = (f"part000{number}-1.0-py3-none-any.whl" for number in range(3))

Found = list[tuple[str, str | None]]


def entry_of(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_mode, status.st_size, status.st_mtime_ns


def state(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Return what can be seen of everything below a directory, and of itself."""
    return {str(path): entry_of(path) for path in (directory, *directory.rglob("*"))}


def test_a_whole_archive_has_no_findings(archive: Path) -> None:
    before = state(archive)
    report = verified(archive)
    assert report.findings == ()
    assert report.files == len([path for path in archive.rglob("*") if path.is_file()]) - 1
    assert report.digest == Store(archive).manifest().digest
    assert state(archive) == before


def truncated(length: int) -> Callable[[Path], None]:
    return lambda archive: os.truncate(archive / ONE, length)


def missing(archive: Path) -> None:
    (archive / ONE).unlink()


def extra(archive: Path) -> None:
    (archive / "extra-1.0-py3-none-any.whl").write_bytes(b"extra")


def longer(archive: Path) -> None:
    with (archive / ONE).open("ab") as file:
        file.write(b"\0")


def renamed(archive: Path) -> None:
    (archive / ONE).rename(archive / "other-1.0-py3-none-any.whl")


def moved_into_a_directory(archive: Path) -> None:
    (archive / "foo").mkdir()
    (archive / ONE).rename(archive / "foo" / ONE)


def swapped(archive: Path) -> None:
    (archive / ONE).rename(archive / "between")
    (archive / OTHER).rename(archive / ONE)
    (archive / "between").rename(archive / OTHER)


def twin(archive: Path) -> None:
    shutil.copyfile(archive / ONE, archive / ONE.upper())


def link_to_the_same(archive: Path) -> None:
    (archive / ONE).rename(archive.parent / "elsewhere")
    (archive / ONE).symlink_to(archive.parent / "elsewhere")


def link_to_nothing(archive: Path) -> None:
    (archive / ONE).unlink()
    (archive / ONE).symlink_to("nowhere")


def linked_directory(archive: Path) -> None:
    (archive / "locked").rename(archive.parent / "locked")
    (archive / "locked").symlink_to(archive.parent / "locked")


def pipe(archive: Path) -> None:
    (archive / ONE).unlink()
    os.mkfifo(archive / ONE)


def directory(archive: Path) -> None:
    (archive / ONE).unlink()
    (archive / ONE).mkdir()


def bound_socket(archive: Path) -> None:
    (archive / ONE).unlink()
    before = Path.cwd()
    os.chdir(archive)  # The path of a socket has at most 107 bytes.
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(ONE)
    finally:
        os.chdir(before)


def unfinished(archive: Path) -> None:
    (archive / ".partial").mkdir()
    (archive / ".partial" / ("0" * 64)).write_bytes(b"half")


def without_manifest(archive: Path) -> None:
    (archive / "uv-archive.json").unlink()


def manifest_a_link(archive: Path) -> None:
    (archive / "uv-archive.json").rename(archive.parent / "uv-archive.json")
    (archive / "uv-archive.json").symlink_to("../uv-archive.json")


def manifest_a_directory(archive: Path) -> None:
    (archive / "uv-archive.json").rename(archive.parent / "uv-archive.json")
    (archive / "uv-archive.json").mkdir()


def manifest_cut(archive: Path) -> None:
    os.truncate(archive / "uv-archive.json", 512)


def manifest_of_another(archive: Path) -> None:
    other = make(archive.parent / "another", distributions(2, 5_000))
    shutil.copyfile(other / "uv-archive.json", archive / "uv-archive.json")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        *(
            pytest.param(truncated(length), [("changed", ONE)], id=f"truncated-to-{length}")
            for length in (0, 1, 512, 4096, 8192)
        ),
        pytest.param(longer, [("changed", ONE)], id="longer"),
        pytest.param(missing, [("missing", ONE)], id="missing"),
        pytest.param(extra, [("extra", "extra-1.0-py3-none-any.whl")], id="extra"),
        pytest.param(renamed, [("renamed", ONE)], id="renamed"),
        pytest.param(
            moved_into_a_directory,
            [("extra", "foo"), ("missing", ONE)],
            id="moved-into-a-directory",
        ),
        pytest.param(swapped, [("changed", ONE), ("changed", OTHER)], id="swapped"),
        pytest.param(twin, [("twin", ONE.upper())], id="twin"),
        pytest.param(link_to_the_same, [("wrong type", ONE)], id="link-to-the-same-bytes"),
        pytest.param(link_to_nothing, [("wrong type", ONE)], id="link-to-nothing"),
        pytest.param(
            linked_directory,
            [("wrong type", "locked"), ("missing", "locked/uv.lock")],
            id="linked-directory",
        ),
        pytest.param(pipe, [("wrong type", ONE)], id="pipe"),
        pytest.param(directory, [("wrong type", ONE)], id="directory"),
        pytest.param(bound_socket, [("wrong type", ONE)], id="socket"),
        pytest.param(unfinished, [("unfinished", f".partial/{'0' * 64}")], id="unfinished"),
        pytest.param(without_manifest, [("missing", "uv-archive.json")], id="no-manifest"),
        pytest.param(manifest_a_link, [("wrong type", "uv-archive.json")], id="manifest-a-link"),
        pytest.param(
            manifest_a_directory, [("wrong type", "uv-archive.json")], id="manifest-a-directory"
        ),
        pytest.param(manifest_cut, [("changed", "uv-archive.json")], id="manifest-cut"),
    ],
)
def test_damage_is_named_exactly(
    archive: Path, damage: Callable[[Path], None], expected: Found
) -> None:
    damage(archive)
    before = state(archive)
    assert sorted(findings(archive)) == sorted(expected)
    assert state(archive) == before


@pytest.mark.parametrize("path", ["README.md", "SHA256SUMS", "pylock.toml", "locked/uv.lock"])
def test_damaged_metadata_are_named(archive: Path, path: str) -> None:
    flip(archive / path, 4001)
    assert findings(archive) == [("changed", path)]
    (archive / path).unlink()
    assert findings(archive) == [("missing", path)]


def test_without_a_manifest_everything_else_is_still_looked_at(archive: Path) -> None:
    without_manifest(archive)
    flip(archive / ONE, 1)
    missing_one = archive / OTHER
    missing_one.unlink()
    extra(archive)
    assert findings(archive) == [
        ("missing", "uv-archive.json"),
        ("extra", "extra-1.0-py3-none-any.whl"),
        ("changed", ONE),
        ("missing", OTHER),
    ]


def test_the_manifest_of_another_archive_is_true_of_nothing_here(archive: Path) -> None:
    manifest_of_another(archive)
    named = {path for _, path in findings(archive)}
    assert {ONE, OTHER, THIRD, "locked/uv.lock", "SHA256SUMS"} <= named


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_named(archive: Path) -> None:
    missing(archive)
    try:
        os.mknod(archive / ONE, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this system lets nobody make devices")
    assert findings(archive) == [("wrong type", ONE)]


# Metadata that were changed together


def rewritten(archive: Path, change: Callable[[Manifest], Manifest]) -> None:
    """Change a manifest, and write it as its maker would, with `SHA256SUMS`."""
    store = Store(archive)
    changed = change(store.manifest())
    listed = {
        path: entry.sha256
        for path, entry in changed.files.items()
        if path not in {CHECKSUMS, README}
    }
    sums = checksums(listed)
    (archive / CHECKSUMS).write_bytes(sums)
    own = Entry(size=len(sums), sha256=Digest("sha256", _sha256(sums)).hex)
    changed = replace(changed, files={**changed.files, CHECKSUMS: own}, read_digest=None)
    (archive / "uv-archive.json").write_bytes(changed.to_json())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def with_forged(archive: Path, manifest: Manifest) -> Manifest:
    content = b"forged"
    (archive / ONE).write_bytes(content)
    path = ArchivePath(ONE)
    entry = replace(manifest.files[path], size=len(content), sha256=_sha256(content))
    return replace(manifest, files={**manifest.files, path: entry})


def test_a_file_changed_together_with_the_manifest_contradicts_the_other_metadata(
    archive: Path,
) -> None:
    rewritten(archive, lambda manifest: with_forged(archive, manifest))
    assert findings(archive) == [
        ("contradiction", "pylock.toml"),
        ("contradiction", "requirements.txt"),
        ("contradiction", ONE),
    ]


def test_what_was_expected_is_compared(archive: Path) -> None:
    right = Digest("sha256", Store(archive).manifest().digest)
    report = verify(VerifyRequest(directory=archive, expect=right))
    assert (report.findings, report.expected) == ((), True)
    wrong = Digest("sha256", "0" * 64)
    report = verify(VerifyRequest(directory=archive, expect=wrong))
    assert [finding.kind for finding in report.findings] == ["unexpected"]
    assert not report.expected


def test_checksums_that_say_something_else_contradict(archive: Path) -> None:
    def change(manifest: Manifest) -> Manifest:
        content = (archive / CHECKSUMS).read_bytes().replace(b"a", b"b", 1)
        (archive / CHECKSUMS).write_bytes(content)
        own = Entry(size=len(content), sha256=_sha256(content))
        return replace(manifest, files={**manifest.files, CHECKSUMS: own}, read_digest=None)

    manifest = change(Store(archive).manifest())
    (archive / "uv-archive.json").write_bytes(manifest.to_json())
    assert findings(archive) == [("contradiction", CHECKSUMS)]


def test_a_file_that_the_lock_is_said_to_name_and_doesnt(archive: Path) -> None:
    def change(manifest: Manifest) -> Manifest:
        path, origin = ArchivePath("more-1.0-py3-none-any.whl"), manifest.files[ArchivePath(ONE)]
        assert origin.origin is not None
        (archive / path).write_bytes(b"more")
        named = replace(origin.origin, name=type(origin.origin.name)("more"), why=(Locked(),))
        entry = Entry(size=4, sha256=_sha256(b"more"), origin=named)
        return replace(manifest, files={**manifest.files, path: entry})

    rewritten(archive, change)
    assert findings(archive) == [("contradiction", "more-1.0-py3-none-any.whl")]


def test_a_request_that_cant_be_read(archive: Path) -> None:
    rewritten(archive, lambda manifest: replace(manifest, requests=({"targets": "all"},)))
    assert findings(archive) == [("contradiction", None)]


# What can't be carried out


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda _: None, id="nothing-there"),
        pytest.param(lambda path: path.mkdir(), id="empty"),
        pytest.param(lambda path: path.write_bytes(b""), id="a-file"),
        pytest.param(
            lambda path: (path.mkdir(), (path / "notes.txt").write_bytes(b"")), id="somebody-elses"
        ),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, prepare: Callable[[Path], object]) -> None:
    prepare(tmp_path / "here")
    with pytest.raises(ArchiveError, match="no archive"):
        verified(tmp_path / "here")


def test_another_format_is_refused_though_it_is_undamaged(archive: Path) -> None:
    path = archive / "uv-archive.json"
    content = path.read_bytes().replace(b'"format-version": 1', b'"format-version": 2')
    rest = re.sub(rb'^  "checksum".*\n', b"", content, flags=re.MULTILINE)
    digest = _sha256(rest).encode()
    path.write_bytes(re.sub(rb'(?<="checksum": ")[0-9a-f]+', digest, content))
    with pytest.raises(ArchiveError, match="format 2"):
        verified(archive)


# The command


def run(*arguments: str | Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "uv_archive", "verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def as_json(*arguments: str | Path, status: int) -> dict[str, object]:
    done = run(*arguments, "--output-format", "json")
    assert done.returncode == status, done.stderr
    document = json.loads(done.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    assert isinstance(document, dict)
    return document


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_page_has_the_schemas_keys_and_kinds() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "verify-json.md"
    cells = " ".join(re.findall(r"^\| (`.*?) \|", page.read_text("utf-8"), re.MULTILINE))
    finding = SCHEMA["$defs"]["finding"]["properties"]
    documented = {*SCHEMA["properties"], *finding, *finding["kind"]["enum"]}
    assert set(re.findall(r"`([^`]+)`", cells)) - {"kind"} == documented - {"kind"}


def test_every_kind_of_finding_is_in_the_schema() -> None:
    assert set(get_args(Kind)) == set(SCHEMA["$defs"]["finding"]["properties"]["kind"]["enum"])


def test_anybody_can_compute_a_manifests_checksum(archive: Path) -> None:
    lines = (archive / "uv-archive.json").read_bytes().splitlines(keepends=True)
    (own,) = (line for line in lines if line.startswith(b'  "checksum": '))
    rest = b"".join(line for line in lines if line != own)
    assert _sha256(rest).encode() in own


def test_json_has_an_object_for_each_finding(archive: Path) -> None:
    assert as_json(archive, status=0)["findings"] == []
    flip(archive / ONE, 1)
    pipe_at = archive / OTHER
    pipe_at.unlink()
    os.mkfifo(pipe_at)
    document = as_json(archive, status=1)
    found = document["findings"]
    assert isinstance(found, list)
    assert [(one["kind"], one["path"], one["found"]["type"]) for one in found] == [
        ("changed", ONE, "file"),
        ("wrong type", OTHER, "pipe"),
    ]
    assert document["verdict"] == "faulty"


def test_without_an_expected_digest_nothing_is_called_authentic(archive: Path) -> None:
    done = run(archive)
    assert done.returncode == 0
    assert "consistent" in done.stderr
    assert "authentic" not in done.stderr
    digest = Store(archive).manifest().digest
    expected = run(archive, "--expect", f"sha256:{digest}")
    assert expected.returncode == 0
    assert "is authentic" in expected.stderr
    refused = run(archive, "--expect", f"sha256:{'0' * 64}")
    assert refused.returncode == 1
    assert "unexpected" in refused.stdout


def test_foreign_names_cant_control_the_terminal(archive: Path) -> None:
    (archive / "\x1b[31mred\x07\n\u202egnirts").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(archive) + b"/bytes\xff\xfe")).write_bytes(b"")
    done = run(archive)
    assert done.returncode == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", done.stdout + done.stderr)
    assert len(done.stdout.splitlines()) == 2
    assert len(as_json(archive, status=1)["findings"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [("/nowhere/at/all",), (".", "--no-such-flag")])
def test_what_cant_be_carried_out_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).returncode == 2


@pytest.mark.parametrize("digest", [f"SHA256:{'0' * 64}", "0" * 64, f"sha256:{'0' * 63}", "md5:0"])
def test_how_an_expected_digest_is_written_is_said(archive: Path, digest: str) -> None:
    done = run(archive, "--expect", digest)
    assert done.returncode == 2
    form = f"`{digest}` isn't `sha256:` and 64 lower-case hexadecimal digits"
    assert form in done.stderr


@pytest.fixture
def read_only(archive: Path, tool: Callable[[str], Path]) -> tuple[str, ...]:
    """What to put before a command so that it sees the archive on a read-only mount."""
    unshare = tool("unshare")
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    prefix = (str(unshare), "-rm", "sh", "-c", script, str(archive))
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        give_up("this system allows no mounts in a namespace")
    return prefix


def test_read_only_media_will_do(archive: Path, read_only: tuple[str, ...]) -> None:
    writing = subprocess.run(
        [*read_only, "touch", str(archive / "new")], capture_output=True, check=False
    )
    assert writing.returncode != 0
    done = run(archive, prefix=read_only)
    assert done.returncode == 0, done.stderr
    flip(archive / ONE, 1)
    assert run(archive, prefix=read_only).returncode == 1


def test_somebody_elses_unreadable_file_is_named(archive: Path) -> None:
    (archive / ONE).chmod(0)
    done = run(archive, "--output-format", "json", prefix=without_privileges())
    assert done.returncode == 1, done.stderr
    found = [(one["kind"], one["path"]) for one in json.loads(done.stdout)["findings"]]
    assert found == [("unreadable", ONE)]
