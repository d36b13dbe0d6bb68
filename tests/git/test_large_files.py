"""What git LFS keeps outside of a repository: brought, packed, and found by uv's own git."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fetch.conftest import CANARY, Recorder
from tests.git.conftest import Place
from tests.git.repositories import Origin
from tests.git.test_bundles import bring, only_failure
from tests.git.test_sync import Setting, setting
from uv_archive.archive.layout import ArchivePath
from uv_archive.errors import ToolError
from uv_archive.fetch.bundles import BundleResult, PresentBundle
from uv_archive.fetch.git import Git, Logins
from uv_archive.fetch.large_files import FILTER, NotLargeFiles, unpack
from uv_archive.lock.model import GitSource
from uv_archive.url import Url

__all__ = ["setting"]

LARGE = bytes(range(32, 256)) * 700
SECOND = b"\0second" * 5000


@pytest.fixture
def place(place: Place, tool: Callable[[str], Path], tmp_path: Path) -> Place:
    """A user who has run `git lfs install`, without which uv refuses such sources."""
    tool("git-lfs")
    configuration = tmp_path / "gitconfig"
    configuration.write_text(FILTER)
    place.git = place.git.adding({"GIT_CONFIG_GLOBAL": str(configuration)})
    return place


@pytest.fixture
def library(place: Place) -> Origin:
    """Two commits: of the large files, the second has one anew and one as it was."""
    origin = place.origin("library")
    origin.package("library")
    origin.large_file("library/first.bin", LARGE)
    origin.large_file("library/second.bin", b"before")
    origin.commit("first", tag="v1.0")
    origin.large_file("library/second.bin", SECOND)
    origin.commit("second")
    return origin


def source(place: Place, origin: Origin, *, lfs: bool = True) -> GitSource:
    url = Url.parse(place.server.url(origin.bare.name))
    return GitSource(url=url, commit=origin.git("rev-parse", "HEAD").strip(), lfs=lfs)


def tars(result: BundleResult) -> list[ArchivePath]:
    return [path for path in result.bundles if path.endswith(".lfs.tar")]


def content(place: Place, path: ArchivePath) -> dict[str, bytes]:
    with tarfile.open(place.archive / path) as tar:
        files = {entry.name: tar.extractfile(entry) for entry in tar}
        return {name: file.read() for name, file in files.items() if file is not None}


def named(*contents: bytes) -> dict[str, bytes]:
    digests = {hashlib.sha256(one).hexdigest(): one for one in contents}
    return {f"{name[:2]}/{name[2:4]}/{name}": digests[name] for name in sorted(digests)}


def test_lie_beside_the_bundle(place: Place, library: Origin) -> None:
    wanted, reporter = source(place, library), Recorder()

    result = bring(place, wanted, reporter=reporter)

    (path,) = tars(result)
    assert not result.failed
    assert path == f"git/library-{wanted.commit[:12]}.lfs.tar"
    assert list(content(place, path).items()) == list(named(LARGE, SECOND).items())
    brought = result.bundles[path]
    file = place.archive / path
    assert (brought.size, brought.sha256) == (
        file.stat().st_size,
        hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    origin = brought.entry(()).origin
    assert origin is not None
    assert (origin.name, origin.commit, origin.vouched) == ("library", wanted.commit, True)
    assert (path.rpartition("/")[2],) in reporter.named("finished")


def test_are_the_same_bytes_each_time(place: Place, library: Origin) -> None:
    (path,) = tars(bring(place, source(place, library)))
    first = (place.archive / path).read_bytes()
    os.umask(os.umask(0o077))
    (place.archive / path).unlink()

    bring(place, source(place, library))

    assert (place.archive / path).read_bytes() == first
    with tarfile.open(place.archive / path) as tar:
        assert {(one.mtime, one.uid, one.uname, one.mode) for one in tar} == {(0, 0, "", 0o644)}


def test_only_where_the_lock_says_so(place: Place, library: Origin) -> None:
    assert tars(bring(place, source(place, library, lfs=False))) == []
    assert not any("/info/lfs/" in request for request in place.server.requests)


def test_a_repository_without_any_has_an_empty_tar(place: Place) -> None:
    origin = place.origin("plain")
    origin.package("plain")
    origin.commit()
    (path,) = tars(bring(place, source(place, origin)))
    assert content(place, path) == {}


def test_what_is_present_is_not_fetched(place: Place, library: Origin) -> None:
    wanted = source(place, library)
    first = bring(place, wanted)
    present = {
        path.rpartition(".")[2]: PresentBundle(
            file=place.archive / path, sha256=one.sha256, size=one.size
        )
        for path, one in first.bundles.items()
    }
    key = next(iter(first.bundles.values())).key
    place.committed.clear()
    place.server.requests.clear()

    again = place.bringer().bring(
        [wanted],
        placed={key: next(iter(first.bundles))},
        present={key: present["bundle"]},
        present_large_files={key: present["tar"]},
    )

    assert again == first
    assert (place.committed, place.server.requests) == ([], [])


def test_those_alone_can_come_later(place: Place, library: Origin) -> None:
    wanted = source(place, library)
    (path, bundle) = next(iter(bring(place, replace(wanted, lfs=False)).bundles.items()))
    there = PresentBundle(file=place.archive / path, sha256=bundle.sha256, size=bundle.size)
    place.committed.clear()

    result = bring(place, wanted, present={bundle.key: there})

    assert place.committed == tars(result)
    assert content(place, tars(result)[0]) == named(LARGE, SECOND)


def test_settings_that_leave_files_out_do_not_count(place: Place, library: Origin) -> None:
    configuration = Path(place.git.environment["GIT_CONFIG_GLOBAL"])
    with configuration.open("a") as file:
        file.write("[lfs]\n\tfetchexclude = *\n\tstorage = /nowhere/at/all\n")
    (path,) = tars(bring(place, source(place, library)))
    assert content(place, path) == named(LARGE, SECOND)


def test_credentials_that_the_project_wrote(place: Place, library: Origin) -> None:
    place.server.logins["library.git"] = f"me:{CANARY}"
    wanted = source(place, library)
    written = wanted.url.exposed.replace("//", f"//me:{CANARY}@")
    logins = Logins.of([{"tool": {"uv": {"sources": {"library": {"git": written}}}}}])

    result = bring(place, wanted, logins=logins)

    assert content(place, tars(result)[0]) == named(LARGE, SECOND)
    assert CANARY not in repr(result)


def test_credentials_that_are_wrong(place: Place, library: Origin) -> None:
    path, bundle = next(iter(bring(place, source(place, library, lfs=False)).bundles.items()))
    there = PresentBundle(file=place.archive / path, sha256=bundle.sha256, size=bundle.size)
    place.server.logins["library.git"] = "me:right"
    wanted = source(place, library)
    written = wanted.url.exposed.replace("//", f"//me:{CANARY}@")
    logins = Logins.of([{"tool": {"uv": {"sources": {"library": {"git": written}}}}}])

    failure = only_failure(bring(place, wanted, logins=logins, present={bundle.key: there}))

    assert "asks for credentials" in failure.reason
    assert CANARY not in repr(failure)


def test_one_that_the_server_no_longer_has(place: Place, library: Origin) -> None:
    (missing,) = named(SECOND)
    (library.bare / "lfs" / "objects" / missing).unlink()

    failure = only_failure(bring(place, source(place, library)))

    assert "no longer has all large files (git LFS) of commit" in failure.reason
    assert list((place.archive / ".partial" / "git").iterdir()) == []


def test_a_server_that_fails_is_asked_again(place: Place, library: Origin) -> None:
    path, bundle = next(iter(bring(place, source(place, library, lfs=False)).bundles.items()))
    there = PresentBundle(file=place.archive / path, sha256=bundle.sha256, size=bundle.size)
    place.server.failures = 1
    reporter = Recorder()

    result = bring(place, source(place, library), present={bundle.key: there}, reporter=reporter)

    assert content(place, tars(result)[0]) == named(LARGE, SECOND)


def without_lfs(git: Git, directory: Path) -> Git:
    """Return a git that has everything but git LFS."""
    directory.mkdir()
    for tool in ("git", "sh"):
        found = shutil.which(tool)
        assert found is not None
        (directory / tool).symlink_to(found)
    return git.adding({"PATH": str(directory)})


def test_git_lfs_is_missing_at_download(place: Place, library: Origin, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="git LFS was not found") as caught:
        bring(place, source(place, library), git=without_lfs(place.git, tmp_path / "bin"))
    assert "git-lfs" in (caught.value.hint or "")
    assert not place.server.requests


class TestSync:
    @pytest.fixture
    def locked(self, setting: Setting, place: Place, library: Origin) -> Setting:
        """A project with a source whose large files it wants, and one whose it doesn't."""
        pointers = place.origin("pointers")
        pointers.package("pointers")
        pointers.large_file("pointers/large.bin", LARGE)
        pointers.commit()
        urls = [place.server.url(one.bare.name) for one in (library, pointers)]
        setting.project(
            {
                "library": f'{{ git = "{urls[0]}", lfs = true }}',
                "pointers": f'{{ git = "{urls[1]}" }}',
            }
        )
        return setting

    def test_as_plain_uv_installs_them(self, locked: Setting) -> None:
        installed = locked.check()
        assert locked.sources[0].lfs
        root = locked.root / ".venv"
        (large,) = root.glob("lib/*/site-packages/library/first.bin")
        (pointer,) = root.glob("lib/*/site-packages/pointers/large.bin")
        assert large.read_bytes() == LARGE
        assert pointer.read_bytes().startswith(b"version https://git-lfs")
        assert installed

    def test_of_a_submodule(self, setting: Setting, place: Place, library: Origin) -> None:
        outer = place.origin("outer")
        outer.package("outer")
        outer.submodule("outer/inner", "../library.git", library.git("rev-parse", "HEAD").strip())
        outer.commit()
        # uv lets git LFS ask the server of the outermost repository for those of its submodules.
        shutil.copytree(library.bare / "lfs" / "objects", outer.bare / "lfs" / "objects")
        url = place.server.url(outer.bare.name)
        setting.project({"outer": f'{{ git = "{url}", lfs = true }}'})
        setting.check()
        (large,) = setting.root.glob(".venv/lib/*/site-packages/outer/inner/library/second.bin")
        assert large.read_bytes() == SECOND

    def test_a_repository_that_names_another_server(
        self, setting: Setting, place: Place, library: Origin
    ) -> None:
        other = place.server.url("elsewhere.git/info/lfs")
        library.write(".lfsconfig", f"[lfs]\n\turl = {other}\n")
        library.commit()
        shutil.copytree(library.bare, library.bare.with_name("elsewhere.git"))
        url = place.server.url(library.bare.name)
        setting.project({"library": f'{{ git = "{url}", lfs = true }}'})
        setting.check()

    @pytest.mark.parametrize("damage", [b"", b"x", b"replaced"], ids=["cut", "changed", "other"])
    def test_damaged(self, locked: Setting, place: Place, damage: bytes) -> None:
        manifest = locked.archived()
        (path,) = (path for path in manifest.files if path.endswith(".lfs.tar"))
        file = place.archive / path
        before = file.read_bytes()
        file.write_bytes(
            damage if len(damage) > 1 else before[: -5000 if not damage else -1] + damage
        )
        supply = locked.opened(manifest)
        assert (supply.damaged, supply.missing) == ((file,), ())

    def test_missing(self, locked: Setting, place: Place) -> None:
        manifest = locked.archived()
        (path,) = (path for path in manifest.files if path.endswith(".lfs.tar"))
        (place.archive / path).unlink()
        assert locked.opened(manifest).missing == (path,)
        files = {one: entry for one, entry in manifest.files.items() if one != path}
        (named,) = locked.opened(replace(manifest, files=files)).missing
        assert named.startswith("the large files (git LFS) of ")

    def test_git_lfs_is_missing(self, locked: Setting, place: Place, tmp_path: Path) -> None:
        manifest = locked.archived()
        with pytest.raises(ToolError, match="git LFS was not found"):
            locked.opened(manifest, git=without_lfs(place.git, tmp_path / "bin"))


def written(directory: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> tuple[Path, str]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for entry, body in entries:
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    file = directory / "a.lfs.tar"
    file.write_bytes(stream.getvalue())
    return file, hashlib.sha256(stream.getvalue()).hexdigest()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


(GOOD,) = named(LARGE)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([(entry(f"../{GOOD}"), LARGE)], id="outside"),
        pytest.param([(entry(f"/{GOOD}"), LARGE)], id="absolute"),
        pytest.param([(entry(GOOD.replace("/", "\\")), LARGE)], id="backslash"),
        pytest.param([(entry(GOOD), SECOND)], id="other-bytes"),
        pytest.param([(entry(GOOD, tarfile.SYMTYPE, "/etc/passwd"), b"")], id="link"),
        pytest.param([(entry(GOOD, tarfile.LNKTYPE, "x"), b"")], id="hard-link"),
        pytest.param([(entry("aa", tarfile.DIRTYPE), b"")], id="directory"),
        pytest.param([(entry(f"aa/bb/{GOOD[6:]}"), LARGE)], id="in-another-directory"),
    ],
)
def test_a_tar_with_something_else_in_it(
    entries: Sequence[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    file, sha256 = written(tmp_path, *entries)
    with pytest.raises(NotLargeFiles):
        unpack(file, sha256, tmp_path / "objects")
    assert {path.name for path in tmp_path.iterdir()} <= {"a.lfs.tar", "objects"}
