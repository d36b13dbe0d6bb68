"""The directory on disk: durable, one run at a time, and nobody else's files."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from tests.archive import faults
from tests.archive.bringing import bring, tree, untruths
from tests.archive.samples import contents, entries, hexdigest, metadata, pylock
from tests.conftest import give_up
from uv_archive.archive.disk import free_bytes
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.store import Store, Writer
from uv_archive.errors import ArchiveError, StorageError, UvArchiveError

ROOT = Path(__file__).parents[2]
WHEEL = ArchivePath("part0-1.0-py3-none-any.whl")


def silent(_: str) -> None:
    """Tell nobody."""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of the sample files."""
    bring(tmp_path / "archive", contents())
    return tmp_path / "archive"


def stop_while(directory: Path, act: Callable[[Writer], object]) -> None:
    """Change an archive, and be interrupted."""

    def run() -> None:
        with Store(directory).writing(notify=silent) as writer:
            act(writer)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()


class TestOpening:
    def test_an_absent_directory_is_an_empty_store(self, tmp_path: Path) -> None:
        store = Store.open(tmp_path / "no" / "such")
        assert store.find_manifest() is None
        assert store.scan().files == {}
        assert store.free_bytes() > 0
        with pytest.raises(ArchiveError, match="There is no archive") as raised:
            store.manifest()
        assert raised.value.hint == "Run `uv-archive download` first"
        assert not (tmp_path / "no").exists()

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"kept")
        with pytest.raises(ArchiveError, match="isn't a directory"):
            Store.open(tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"kept"

    def test_somebody_elses_directory_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_bytes(b"kept")
        with pytest.raises(ArchiveError, match="is no archive, and it isn't empty") as raised:
            Store.open(tmp_path)
        assert "Choose another directory" in str(raised.value.hint)
        assert tree(tmp_path) == {"thesis.tex": b"kept"}

    def test_an_empty_directory_becomes_an_archive(self, tmp_path: Path) -> None:
        bring(tmp_path, contents())
        assert Store.open(tmp_path).manifest().distributions.keys() == contents().keys()

    def test_an_unfinished_archive_is_taken_up(self, tmp_path: Path) -> None:
        stop_while(tmp_path, lambda writer: writer.write(WHEEL, b"content"))
        store = Store.open(tmp_path)
        assert store.find_manifest() is None
        with pytest.raises(ArchiveError, match="is incomplete"):
            store.manifest()
        bring(tmp_path, contents())
        assert not (tmp_path / ".partial").exists()

    @pytest.mark.parametrize("name", [".partial", "index", "git", "locked"])
    def test_a_link_in_place_of_a_directory_is_refused(self, archive: Path, name: str) -> None:
        outside = archive.with_name("outside")
        outside.mkdir()
        shutil.rmtree(archive / name, ignore_errors=True)
        (archive / name).symlink_to(outside)
        with pytest.raises(ArchiveError, match="isn't a directory"):
            bring(archive, contents())
        assert tree(outside) == {}

    def test_a_directory_that_is_not_yours_is_refused(self, tmp_path: Path) -> None:
        directory = tmp_path / "archive"
        directory.mkdir()
        directory.chmod(0o555)
        with as_somebody_else(tmp_path), pytest.raises(ArchiveError) as raised:
            bring(directory, contents())
        assert raised.value.exit_status == 2
        assert "Permission denied" in raised.value.message
        assert raised.value.hint == "You lack the permission for it"
        assert tree(directory) == {}

    def test_a_link_to_the_archive_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        bring(tmp_path / "link", contents())
        assert (tmp_path / "real" / "uv-archive.json").is_file()


@contextmanager
def as_somebody_else(directory: Path) -> Iterator[None]:
    """Give up root's rights, which no permission binds."""
    if os.geteuid() != 0:
        yield
        return
    for above in (directory, *directory.parents):
        if above.stat().st_uid == 0 and above != Path(above.anchor):
            above.chmod(above.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestHostileContents:
    """What a received archive may have in it, when somebody adds to it."""

    def test_links_in_partial_are_not_written_through(self, archive: Path) -> None:
        victim = archive.with_name("victim")
        victim.write_bytes(b"kept")
        (archive / ".partial").mkdir()
        (archive / ".partial" / hexdigest(contents()[WHEEL])).symlink_to(victim)
        os.link(victim, archive / ".partial" / ("0" * 64))
        (archive / ".partial" / "write-1").symlink_to(victim)
        (archive / ".partial" / "next.json").symlink_to(victim)
        os.mkfifo(archive / ".partial" / ("1" * 64))
        (archive / ".partial" / "directory").mkdir()
        (archive / WHEEL).unlink()
        bring(archive, contents())
        assert victim.read_bytes() == b"kept"
        assert not (archive / ".partial").exists()
        assert (archive / WHEEL).read_bytes() == contents()[WHEEL]

    @pytest.mark.parametrize("kind", ["symlink", "hard-link", "pipe"])
    def test_a_lock_file_that_is_none_is_refused(self, archive: Path, kind: str) -> None:
        victim = archive.with_name("victim")
        victim.write_bytes(b"kept")
        (archive / ".partial").mkdir()
        lock = archive / ".partial" / "lock"
        match kind:
            case "symlink":
                lock.symlink_to(victim)
            case "hard-link":
                os.link(victim, lock)
            case _:
                os.mkfifo(lock)
        with pytest.raises(UvArchiveError, match="lock"):
            bring(archive, contents())
        assert victim.read_bytes() == b"kept"

    @pytest.mark.parametrize("name", ["uv-archive.json", "README.md", "SHA256SUMS"])
    def test_metadata_that_is_a_pipe_blocks_nothing(self, archive: Path, name: str) -> None:
        (archive / name).unlink()
        os.mkfifo(archive / name)
        if name == "uv-archive.json":
            with pytest.raises(ArchiveError, match="isn't a plain file"):
                bring(archive, contents())
        else:
            bring(archive, contents())
            assert (archive / name).is_file()

    def test_a_link_in_place_of_metadata_is_replaced(self, archive: Path) -> None:
        expected = tree(archive)
        victim = archive.with_name("victim")
        victim.write_bytes(b"kept")
        (archive / "README.md").unlink()
        (archive / "README.md").symlink_to(victim)
        bring(archive, contents())
        assert victim.read_bytes() == b"kept"
        assert not (archive / "README.md").is_symlink()
        assert tree(archive) == expected

    def test_a_link_as_an_index_is_not_written_through(self, archive: Path) -> None:
        outside = archive.with_name("outside")
        (archive / "index" / "0123abcd").rename(outside)
        (archive / "index" / "0123abcd").symlink_to(outside)
        files = {**contents(), ArchivePath("index/0123abcd/new-1.0-py3-none-any.whl"): b"new"}
        with pytest.raises(ArchiveError, match="isn't a directory"):
            bring(archive, files)
        assert [path.name for path in outside.iterdir()] == ["twin-1.0-py3-none-any.whl"]


class TestScan:
    def test_every_file_is_there_once(self, archive: Path) -> None:
        found = Store(archive).scan()
        assert found.files.keys() == tree(archive).keys()
        assert found.others == ()
        status = (archive / WHEEL).stat()
        state = found.files[WHEEL]
        assert (state.size, state.modified) == (status.st_size, status.st_mtime_ns)
        assert (state.changed, state.inode) == (status.st_ctime_ns, status.st_ino)

    def test_what_is_no_file_of_an_archive_is_named_and_not_followed(self, archive: Path) -> None:
        (archive / "link.whl").symlink_to(archive / WHEEL)
        (archive / "linked").symlink_to("/")
        os.mkfifo(archive / "pipe")
        (archive / "more" / "deep").mkdir(parents=True)
        (archive / "index" / "0123abcd" / "deep").mkdir()
        (archive / "index" / "loose").write_bytes(b"")
        found = Store(archive).scan()
        assert found.others == (
            "index/0123abcd/deep/", "link.whl", "linked", "more/", "pipe",
        )  # fmt: skip
        assert "index/loose" in found.files

    def test_what_is_unfinished_does_not_count(self, archive: Path) -> None:
        (archive / ".partial").mkdir()
        (archive / ".partial" / "x").write_bytes(b"x")
        assert Store(archive).scan().files.keys() & {".partial/x", ".partial"} == set()


class TestWriting:
    def test_an_archive_has_what_it_lists_and_nothing_else(self, archive: Path) -> None:
        found = tree(archive)
        manifest = Store(archive).manifest()
        assert found.keys() == {"uv-archive.json", *manifest.files}
        for path, entry in manifest.files.items():
            assert hexdigest(found[path]) == entry.sha256
            assert len(found[path]) == entry.size

    def test_files_have_the_permissions_of_the_umask(self, tmp_path: Path) -> None:
        previous = os.umask(0o027)
        try:
            bring(tmp_path / "archive", contents())
        finally:
            os.umask(previous)
        for path in (tmp_path / "archive").rglob("*"):
            expected = 0o750 if path.is_dir() else 0o640
            assert stat.S_IMODE(path.stat().st_mode) == expected, path

    def test_a_run_with_nothing_to_do_changes_nothing(self, archive: Path) -> None:
        before = Store(archive).scan()
        assert bring(archive, contents()) is False
        assert Store(archive).scan() == before

    def test_the_order_of_requests_does_not_show(self, tmp_path: Path) -> None:
        one, other = {"groups": ["dev"]}, {"groups": ["gpu"]}
        files = contents()
        some = {WHEEL: files[WHEEL]}
        bring(tmp_path / "a", some, requests=(one,))
        bring(tmp_path / "a", files, requests=(one, other))
        bring(tmp_path / "b", files, requests=(other, one, other))
        assert tree(tmp_path / "a") == tree(tmp_path / "b")

    def test_unknown_files_are_left_alone(self, archive: Path) -> None:
        (archive / "notes.txt").write_bytes(b"mine")
        bring(archive, {WHEEL: contents()[WHEEL]}, prune=True)
        assert (archive / "notes.txt").read_bytes() == b"mine"
        assert not (archive / "index").exists()
        with (
            Store(archive).writing(notify=silent) as writer,
            pytest.raises(ValueError, match=r"`notes\.txt` isn't recorded"),
        ):
            writer.remove([ArchivePath("notes.txt")])
        assert (archive / "notes.txt").read_bytes() == b"mine"

    def test_a_recorded_file_is_moved(self, archive: Path) -> None:
        there = ArchivePath(f"index/89abcdef/{WHEEL}")
        content = contents()[WHEEL]
        with Store(archive).writing(notify=silent) as writer:
            writer.move(WHEEL, there)
            assert not (archive / "uv-archive.json").exists()
            files = {**contents(), there: content}
            del files[WHEEL]
            made = metadata(entries(files))
            writer.finish(made.manifest, made.documents)
        assert (archive / there).read_bytes() == content
        assert not (archive / WHEEL).exists()
        assert untruths(archive, {}) == []

    def test_metadata_that_nothing_wants_any_more_goes(self, archive: Path) -> None:
        with Store(archive).writing(notify=silent) as writer:
            made = metadata(entries(contents()), lock=b"version = 1\nrevision = 2\n")
            documents = {**made.documents, ArchivePath("pylock.toml"): b"x"}
            with pytest.raises(ValueError, match="other metadata"):
                writer.finish(made.manifest, documents)
            with pytest.raises(ValueError, match="another digest"):
                writer.finish(made.manifest, {**made.documents, ArchivePath("README.md"): b"x"})
            with pytest.raises(ValueError, match="is to be removed"):
                writer.finish(made.manifest, made.documents, remove=[WHEEL])
        assert untruths(archive, {}) == []

    def test_a_stopped_runs_metadata_goes_if_the_next_run_wants_other(
        self, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def record(label: str) -> None:
            with Store(archive).writing(notify=silent) as writer:
                made = metadata(entries(contents()), exports={"": pylock(), label: pylock()})
                writer.finish(made.manifest, made.documents)

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        expected = tree(archive)
        with monkeypatch.context() as patch:
            for call in ("_replace_manifest", "commit"):
                patch.setattr(Writer, call, stop)
                with pytest.raises(KeyboardInterrupt):
                    record(f"group-{len(call)}")
        left = {path.name for path in archive.glob("pylock.*.toml")}
        assert left == {f"pylock.group-{len('_replace_manifest')}.toml"}
        bring(archive, contents())
        assert tree(archive) == expected

    def test_a_key_cannot_leave_the_directory(self, archive: Path) -> None:
        with Store(archive).writing(notify=silent) as writer:
            for key in ("../x", "lock", "", "A" * 64, "0" * 63):
                with pytest.raises(ValueError, match="64 hexadecimal digits"):
                    writer.partial(key)

    def test_a_failed_first_run_leaves_no_directory(self, tmp_path: Path) -> None:
        stop_while(tmp_path / "archive", lambda _: None)
        assert tree(tmp_path) == {}

    def test_a_failed_second_run_leaves_the_archive_as_it_was(self, archive: Path) -> None:
        before = tree(archive)
        stop_while(archive, lambda _: None)
        assert tree(archive) == before

    def test_unfinished_transfers_are_kept(self, archive: Path) -> None:
        stop_while(archive, lambda writer: writer.partial("0" * 64).write_bytes(b"half"))
        with Store(archive).writing(notify=silent) as writer:
            assert writer.partial("0" * 64).read_bytes() == b"half"

    def test_threads_may_commit(self, tmp_path: Path) -> None:
        files = {
            ArchivePath(f"index/{i % 7:08x}/part{i}-1.0-py3-none-any.whl"): str(i).encode()
            for i in range(200)
        }
        with Store(tmp_path).writing(notify=silent) as writer:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda item: writer.write(*item), files.items()))
            made = metadata(entries(files))
            writer.finish(made.manifest, made.documents)
        assert untruths(tmp_path, {path: {data} for path, data in files.items()}) == []

    def test_sha256sum_agrees(self, archive: Path, tool: Callable[[str], Path]) -> None:
        command = [str(tool("sha256sum")), "--check", "--strict", "SHA256SUMS"]
        done = subprocess.run(command, cwd=archive, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        checked = {line.rpartition(": ")[0] for line in done.stdout.splitlines()}
        assert checked == tree(archive).keys() - {"SHA256SUMS", "README.md", "uv-archive.json"}
        (archive / WHEEL).write_bytes(b"damaged")
        done = subprocess.run(command, cwd=archive, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"{WHEEL}: FAILED" in done.stdout


class TestFaults:
    def test_a_kill_at_any_call_does_no_harm(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tests.archive.faults", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")
        kills, *_ = done.stdout.split()
        assert int(kills) > 100

    @pytest.mark.parametrize(
        "number",
        [
            pytest.param(getattr(errno, name), id=name)
            for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EMFILE", "EROFS", "EACCES", "EPERM")
        ],
    )
    def test_an_error_at_any_call_is_named_and_does_no_harm(
        self, tmp_path: Path, number: int
    ) -> None:
        def fail(_: str) -> None:
            raise OSError(number, os.strerror(number))

        said: list[UvArchiveError] = []

        def disturb(archive: Path, step: int, call: int) -> bool:
            with faults.at_call(call, fail) as count:
                try:
                    faults.step(archive, step)
                except UvArchiveError as error:
                    said.append(error)
            return count() >= call

        wrong = [found for *found, texts in faults.disturbances(tmp_path, disturb) if texts]
        assert wrong == []
        assert [error for error in said if os.strerror(number) not in error.message] == []
        assert [error for error in said if not error.hint] == []
        assert len(said) > 80

    def test_power_loss_at_any_instant_does_no_harm(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        states = 0
        references = faults.references(tmp_path)
        for number in range(len(faults.STEPS)):
            archive = tmp_path / "archive"
            shutil.rmtree(archive, ignore_errors=True)
            if number:
                shutil.copytree(references[number - 1], archive)
            with monkeypatch.context() as patch:
                disk = Disk(archive)
                disk.watch(patch)
                faults.step(archive, number)
            for state in disk.crashes():
                states += 1
                assert disk.untruths(state) == []
        print(f"{states} states after a loss of power")
        assert states > 50

    @pytest.mark.parametrize("missing", ["sync_file", "sync_directory"])
    def test_the_power_loss_test_notices_a_missing_sync(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
    ) -> None:
        monkeypatch.setattr(f"uv_archive.archive.disk.{missing}", lambda _: None)
        disk = Disk(tmp_path / "archive")
        with monkeypatch.context() as patch:
            disk.watch(patch)
            faults.step(disk.root, 0)
        assert any(disk.untruths(state) for state in disk.crashes())


Names = dict[str, bytes | None]


class Disk:
    """What a disk may hold after a loss of power, as far as the kernel promises anything.

    A file's bytes are there once it was synced. Names of one directory appear and vanish in
    order, and surely once the directory was synced; directories don't wait for each other.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._synced: dict[int, bytes] = {}
        self._sure: dict[Path, Names] = {}
        self._pending: dict[Path, list[tuple[str, bytes | None]]] = {}
        self._crashes: list[Names] = []
        for path in sorted(root.rglob("*")):
            if path.is_file():
                self._sure.setdefault(path.parent, {})[path.name] = path.read_bytes()

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Follow every change that this process makes."""
        fsync, replace, unlink = os.fsync, os.replace, os.unlink

        def watched_fsync(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.is_file():
                self._synced[path.stat().st_ino] = path.read_bytes()
            else:
                self._settle(path)

        def watched_replace(source: Path, target: Path) -> None:
            content = source.read_bytes()
            durable = content if self._synced.get(source.stat().st_ino) == content else b"lost"
            replace(source, target)
            self._change(Path(source), None)
            self._change(Path(target), durable)

        def watched_unlink(path: Path) -> None:
            unlink(path)
            self._change(Path(path), None)

        patch.setattr(os, "fsync", watched_fsync)
        patch.setattr(os, "replace", watched_replace)
        patch.setattr(os, "unlink", watched_unlink)

    def crashes(self) -> list[Names]:
        return self._crashes

    def untruths(self, state: Names) -> list[str]:
        """Say what is wrong in a state, as `bringing.untruths` does of a directory."""
        directory = self.root.with_name("after-power-loss")
        shutil.rmtree(directory, ignore_errors=True)
        for path, content in state.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(content or b"")
        directory.mkdir(exist_ok=True)
        return untruths(directory, faults.KNOWN)

    def _change(self, path: Path, content: bytes | None) -> None:
        if ".partial" in path.parts:
            return  # Nothing there counts.
        self._pending.setdefault(path.parent, []).append((path.name, content))
        self._crash()

    def _settle(self, directory: Path) -> None:
        names = self._sure.setdefault(directory, {})
        for name, content in self._pending.pop(directory, []):
            _apply(names, name, content)

    def _crash(self) -> None:
        """Add each state in which some of every directory's pending changes have happened."""
        directories = [*self._pending]
        lengths = [range(len(self._pending[directory]) + 1) for directory in directories]
        for chosen in product(*lengths):
            state: Names = {}
            for directory in {*self._sure, *directories}:
                names = dict(self._sure.get(directory, {}))
                if directory in directories:
                    length = chosen[directories.index(directory)]
                    for name, content in self._pending[directory][:length]:
                        _apply(names, name, content)
                prefix = directory.relative_to(self.root)
                state |= {(prefix / name).as_posix(): data for name, data in names.items()}
            if state not in self._crashes:
                self._crashes.append(state)


def _apply(names: Names, name: str, content: bytes | None) -> None:
    names.pop(name, None)
    if content is not None:
        names[name] = content


class TestRealLimits:
    def run(self, directory: Path, *before: str, limit: int | None = None) -> tuple[int, str]:
        def restrict() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = subprocess.run(
            [*before, sys.executable, "-m", "tests.archive.bringing", str(directory)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=restrict,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout

    def test_a_file_that_may_not_grow_is_named(self, tmp_path: Path) -> None:
        archive = tmp_path / "archive"
        status, said = self.run(archive, limit=300)
        assert status == 1
        assert "StorageError" in said
        assert "File too large" in said
        assert "ulimit -f" in said
        assert untruths(archive, faults.KNOWN) == []
        bring(archive, contents())
        bring(tmp_path / "undisturbed", contents())
        assert tree(archive) == tree(tmp_path / "undisturbed")

    def test_a_full_disk_is_named_and_the_next_run_goes_on(
        self, tmp_path: Path, tool: Callable[[str], Path]
    ) -> None:
        script = (
            'mount -t tmpfs -o size=8k tmpfs "$0" || exit 99\n'
            '"$@"; first=$?\n'
            'mount -o remount,size=1m "$0"\n'
            '"$@" && echo "first $first" && cp -r "$0/archive" "$0.kept"\n'
        )
        small = tmp_path / "small"
        small.mkdir()
        command = [str(tool("unshare")), "-rm", "sh", "-c", script, str(small)]
        status, said = self.run(small / "archive", *command)
        if status == 99:
            give_up("this system allows no mounts")
        assert status == 0, said
        assert "StorageError" in said
        assert "No space left on device" in said
        assert "hint: The disk is full" in said
        assert "first 1" in said
        bring(tmp_path / "undisturbed", contents())
        assert tree(tmp_path / "small.kept") == tree(tmp_path / "undisturbed")

    def test_a_read_only_mount_is_named(self, archive: Path, tool: Callable[[str], Path]) -> None:
        script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 99\n"$@"\n'
        command = [str(tool("unshare")), "-rm", "sh", "-c", script, str(archive)]
        status, said = self.run(archive, *command)
        if status == 99:
            give_up("this system allows no mounts")
        assert status == 2, said
        assert "ArchiveError" in said
        assert "hint: The file system is mounted read-only" in said


class TestTwoRuns:
    def start(self, directory: Path, wait: float | None = None) -> subprocess.Popen[str]:
        """Start a run that holds the archive for some seconds, or until its input ends."""
        how_long = "-" if wait is None else str(wait)
        return subprocess.Popen(
            [sys.executable, "-m", "tests.archive.bringing", str(directory), how_long],
            cwd=ROOT,
            stdin=subprocess.PIPE if wait is None else None,
            stdout=subprocess.PIPE,
            text=True,
        )

    def test_the_second_says_whom_it_waits_for(self, tmp_path: Path) -> None:
        with self.start(tmp_path / "archive") as first:
            assert first.stdout is not None
            assert first.stdin is not None
            assert first.stdout.readline() == "holding\n"
            said: list[str] = []

            def let_it_end(text: str) -> None:
                assert first.stdin is not None
                said.append(text)
                first.stdin.close()

            bring(tmp_path / "archive", contents(), notify=let_it_end)
            first.stdin.close()
            assert first.wait() == 0
        place = f"(process {first.pid}) is at work in `{tmp_path / 'archive'}`"
        assert said == [f"Another run {place}; waiting for it to end"]
        assert not (tmp_path / "archive" / ".partial").exists()

    def test_the_second_may_give_up(self, tmp_path: Path) -> None:
        def refuse(text: str) -> None:
            raise ArchiveError(text)

        with Store(tmp_path).writing(notify=silent):
            with pytest.raises(ArchiveError, match="Another run"):
                bring(tmp_path, contents(), notify=refuse)
            assert (tmp_path / ".partial" / "lock").exists()

    def test_a_killed_holder_blocks_nobody(self, tmp_path: Path) -> None:
        with self.start(tmp_path / "archive") as first:
            assert first.stdout is not None
            assert first.stdout.readline() == "holding\n"
            first.send_signal(signal.SIGKILL)
            first.wait()
        said: list[str] = []
        bring(tmp_path / "archive", contents(), notify=said.append)
        assert said == []

    def test_only_one_is_inside(self, tmp_path: Path) -> None:
        inside, most, rounds = 0, 0, 25
        guard = threading.Lock()
        failures: list[Exception] = []

        def visit() -> None:
            nonlocal inside, most
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.0005)
            with guard:
                inside -= 1

        def run() -> None:
            try:
                for _ in range(rounds):
                    bring(tmp_path / "archive", contents(), inside=visit)
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert most == 1
        bring(tmp_path / "undisturbed", contents())
        assert tree(tmp_path / "archive") == tree(tmp_path / "undisturbed")

    @pytest.mark.parametrize("gone", [".partial", "."])
    def test_the_other_run_may_end_while_it_is_looked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
    ) -> None:
        directory = tmp_path / "archive"
        (directory / ".partial").mkdir(parents=True)
        listdir = os.listdir

        def end(path: Path) -> list[str]:
            names = listdir(path)
            monkeypatch.undo()
            (directory / ".partial").rmdir()
            if gone == ".":
                directory.rmdir()
            return names

        monkeypatch.setattr(os, "listdir", end)
        bring(directory, contents())
        bring(tmp_path / "undisturbed", contents())
        assert tree(directory) == tree(tmp_path / "undisturbed")

    def test_several_processes_make_one_archive(self, tmp_path: Path) -> None:
        runs = [self.start(tmp_path / "archive", 0.01) for _ in range(8)]
        said = [run.communicate()[0] for run in runs]
        assert [run.returncode for run in runs] == [0] * 8, said
        bring(tmp_path / "undisturbed", contents())
        assert tree(tmp_path / "archive") == tree(tmp_path / "undisturbed")

    def test_a_file_system_without_locks_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_descriptor: int, _operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)
        said: list[str] = []
        bring(tmp_path / "archive", contents(), notify=said.append)
        assert said == [f"`{tmp_path / 'archive'}` can't be locked; start no second run there"]


def test_free_space_is_that_of_the_place_to_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.2
    )


def test_a_storage_error_has_status_1(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as raised:
        bring(tmp_path / ("x" * 300), contents())
    assert raised.value.exit_status == 1
    assert "File name too long" in raised.value.message
