"""The whole program where a machine lacks something, or has what nobody expects.

Download, verification and sync either work as everywhere, to the byte, or say what is wrong.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import give_up
from tests.e2e.bench import CANARY, Bench, Said, bytes_of, metadata
from tests.e2e.conftest import benched
from tests.e2e.projects import write_project

#: Limited to 100 KiB; a shell counts in half kibibytes.
SMALL_FILES = ("sh", "-c", 'ulimit -f 200 && exec "$@"', "sh")
FULL_TMPDIR = 'mount -t tmpfs -o size=4k none "$0" && head -c 4096 /dev/zero > "$0/full"; exec "$@"'


@pytest.fixture
def bench(
    tmp_path: Path, catalogue: Path, uv: Path, no_network: tuple[str, ...]
) -> Iterator[Bench]:
    with benched(tmp_path / "bench", catalogue=catalogue, uv=uv, offline=no_network) as bench:
        write_project(bench, '["alpha==1.0", "gamma"]')
        bench.lock()
        yield bench


@pytest.fixture
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.e2e.catalogue import fill  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("catalogue")
    fill(directory)
    return directory


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What is put before a command, and which variables it has or (`None`) hasn't."""

    prefix: Sequence[str] = ()
    variables: Mapping[str, str | None] = field(default_factory=dict)
    tool: str | None = None


SURROUNDINGS = {
    "language-c": Surroundings(
        variables={"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ),
    "no-home": Surroundings(variables={"HOME": None, "XDG_CONFIG_DIRS": None}),
    "home-that-is-not-there": Surroundings(variables={"HOME": "/nowhere/at/all"}),
    "year-2046": Surroundings(prefix=("faketime", "2046-03-01 12:00:00"), tool="faketime"),
    "year-1980": Surroundings(prefix=("faketime", "1980-01-02 12:00:00"), tool="faketime"),
    "umask-077": Surroundings(prefix=("sh", "-c", 'umask 077 && exec "$@"', "sh")),
    "dumb-terminal": Surroundings(variables={"TERM": "dumb", "COLUMNS": "1"}),
}


@pytest.mark.parametrize("around", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_everything_works_to_the_byte(
    around: Surroundings, bench: Bench, tool: Callable[[str], Path]
) -> None:
    if around.tool is not None:
        tool(around.tool)
    usual = bench.directory / "usual"
    bench.download("-o", usual)

    def run(*arguments: str, offline: bool = False) -> Said:
        said = bench.uv_archive(
            *arguments, offline=offline, prefix=around.prefix, variables=around.variables
        )
        assert said.status == 0, said.text
        return said

    run("download", "--frozen")
    assert bytes_of(bench.archive) == bytes_of(usual)
    run("verify", str(bench.archive), offline=True)
    run("sync", "--frozen", offline=True)
    bench.imports("alpha", "gamma", "app")
    assert not (bench.archive / ".partial").exists()


@pytest.mark.parametrize("name", ["with spaces", "ünïcode ☃", "quotes ' \" $HOME"])
def test_archives_of_any_name(name: str, bench: Bench) -> None:
    archive = bench.directory / name / "archive"
    bench.download("--frozen", "-o", archive)
    usual = bench.directory / "usual"
    bench.download("--frozen", "-o", usual)
    assert bytes_of(archive) == bytes_of(usual)
    assert bench.uv_archive("verify", archive, offline=True).status == 0
    said = bench.uv_archive("sync", "--frozen", "--dist-archive", archive, offline=True)
    assert said.status == 0, said.text
    bench.imports("alpha", "gamma", "app")


def test_a_name_that_is_no_text_is_refused_and_reached_by_a_link(bench: Bench) -> None:
    real = bench.directory / os.fsdecode(b"not \xff utf-8")
    said = bench.uv_archive("download", "--frozen", "-o", real)
    assert said.status == 2
    assert "isn't UTF-8" in said.err
    assert "hint: Move it, or reach it by a link" in said.err
    assert not real.exists()
    bench.download("--frozen", "-o", bench.archive)
    bench.archive.rename(real)
    # Nothing is named in a verification, which only reads.
    assert bench.uv_archive("verify", real, offline=True).status == 0
    said = bench.uv_archive("sync", "--frozen", "--dist-archive", real, offline=True)
    assert said.status == 2
    assert "isn't UTF-8" in said.err
    link = bench.directory / "link"
    link.symlink_to(real)
    said = bench.uv_archive("sync", "--frozen", "--dist-archive", link, offline=True)
    assert said.status == 0, said.text
    bench.imports("alpha", "gamma", "app")


@pytest.fixture
def full_tmpdir(bench: Bench, tool: Callable[[str], Path]) -> tuple[Sequence[str], str]:
    """What to put before a command, and the directory that is full then."""
    place = bench.directory / "tmp"
    place.mkdir()
    prefix = [str(tool("unshare")), "-rm", "sh", "-c", FULL_TMPDIR, str(place)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        give_up("this system allows no mounts")
    return prefix, str(place)


def test_a_full_directory_for_temporary_files(
    bench: Bench, full_tmpdir: tuple[Sequence[str], str]
) -> None:
    prefix, place = full_tmpdir
    said = bench.uv_archive("download", "--frozen", prefix=prefix, variables={"TMPDIR": place})
    assert said.status in (1, 2), said.text
    assert re.search("^error: ", said.err, re.MULTILINE)
    assert_converges(bench)


def test_a_full_one_hinders_neither_verify_nor_sync(
    bench: Bench, full_tmpdir: tuple[Sequence[str], str]
) -> None:
    prefix, place = full_tmpdir
    bench.download("--frozen")
    for command in (("verify", str(bench.archive)), ("sync", "--frozen")):
        said = bench.uv_archive(*command, prefix=prefix, variables={"TMPDIR": place})
        assert said.status == 0, said.text
    bench.imports("alpha", "gamma", "app")


def test_a_directory_for_temporary_files_that_is_read_only(
    bench: Bench, tool: Callable[[str], Path]
) -> None:
    place = bench.directory / "tmp"
    place.mkdir()
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 99; exec "$@"'
    said = bench.uv_archive(
        *("download", "--frozen"),
        prefix=[str(tool("unshare")), "-rm", "sh", "-c", script, str(place)],
        variables={"TMPDIR": str(place)},
    )
    if said.status == 99:
        give_up("this system allows no mounts")
    assert said.status in (0, 1, 2), said.text
    assert said.status == 0 or "hint: " in said.err
    assert_converges(bench)


def test_files_that_may_not_grow(bench: Bench) -> None:
    from tests.distributions import make_wheel  # noqa: PLC0415

    make_wheel(bench.index.at("main"), "big", "1.0", files={"big.bin": os.urandom(300_000)})
    write_project(bench, '["alpha==1.0", "big"]', build="")
    bench.lock()
    said = bench.uv_archive("download", "--frozen", prefix=SMALL_FILES)
    assert said.status == 1, said.text
    assert "big-1.0-py3-none-any.whl" in said.err or "File too large" in said.err
    assert "ulimit -f" in said.err
    assert_converges(bench)


def test_too_few_open_files(bench: Bench) -> None:
    few = ("sh", "-c", 'ulimit -n 24 && exec "$@"', "sh")
    said = bench.uv_archive("download", "--frozen", "-j", "64", prefix=few)
    assert said.status in (0, 1, 2), said.text
    assert said.status == 0 or re.search("^error: ", said.err, re.MULTILINE), said.err
    assert_converges(bench)


def assert_converges(bench: Bench) -> None:
    """Run once more, undisturbed, and compare with an archive that nothing ever disturbed."""
    for path, (entry, found) in recorded(bench.archive).items():
        assert entry == found, path
    bench.download("--frozen")
    usual = bench.directory / "usual"
    bench.download("--frozen", "-o", usual)
    assert bytes_of(bench.archive) == bytes_of(usual)
    assert not (bench.archive / ".partial").exists()


def recorded(archive: Path) -> Mapping[str, tuple[object, object]]:
    """Return for each recorded file the digest it should have, and has."""
    if not (archive / "uv-archive.json").exists():
        return {}
    files = json.loads((archive / "uv-archive.json").read_bytes())["files"]
    found = bytes_of(archive)
    return {path: (entry["sha256"], found.get(path)) for path, entry in files.items()}


class TestSecrets:
    """Credentials wherever a user can put them, and none of them anywhere else afterwards."""

    @pytest.fixture
    def secretive(self, bench: Bench) -> Bench:
        """A project whose index, direct URL and mirror want credentials, from four places."""
        login = f"user:{CANARY}"
        bench.index.logins = {"main": login, "files": login}
        with_login = bench.index.simple().replace("//", f"//{login}@")
        direct = f"{bench.index.address}/files/direct-1.0-py3-none-any.whl"
        write_project(
            bench,
            '["alpha==1.0", "direct"]',
            build="",
            more=f'[tool.uv.sources]\ndirect = {{ url = "{direct}" }}\n',
        )
        netrc = bench.directory / "netrc"
        netrc.write_text(f"machine 127.0.0.1 login user password {CANARY}\n")
        netrc.chmod(0o600)
        bench.variables |= {
            "UV_INDEX_MAIN_USERNAME": "user",
            "UV_INDEX_MAIN_PASSWORD": CANARY,
            "NETRC": str(netrc),
        }
        bench.lock("--default-index", with_login)
        lock = bench.root / "uv.lock"
        text = lock.read_text().replace(
            f"{bench.index.address}/main/", f"http://{login}@{bench.index.address[7:]}/main/"
        )
        lock.write_text(text.replace('.whl", hash', f'.whl?token={CANARY}#sha", hash'))
        assert text.count(CANARY)
        return bench

    def shown(self, bench: Bench, *arguments: str, variables: Mapping[str, str]) -> Said:
        """Run without the bench's own look for secrets and tracebacks."""
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-m", "uv_archive", *arguments],
            cwd=bench.root,
            env={**bench.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return Said(status=done.returncode, out=done.stdout, err=done.stderr)

    @pytest.mark.parametrize(
        "arguments",
        [
            pytest.param((), id="text"),
            pytest.param(("--output-format", "json"), id="json"),
            pytest.param(("--dry-run",), id="dry-run"),
            pytest.param(("--mirror", "{main}=http://user:{canary}@{host}/gone/"), id="mirror"),
            pytest.param(("--mirror", "{main}=http://user:{canary}@127.0.0.1:1/"), id="no-mirror"),
            pytest.param(("--mirror", "{main}=ftp://user:{canary}@x/"), id="bad-mirror"),
        ],
    )
    def test_are_never_shown_or_kept(self, secretive: Bench, arguments: tuple[str, ...]) -> None:
        host = secretive.index.address.removeprefix("http://")
        known = {"main": f"http://{host}/main/", "canary": CANARY, "host": host}
        given = [one.format(**known) for one in arguments]
        said = self.shown(secretive, "download", "--frozen", *given, variables={})
        assert said.status in (0, 1, 2)
        assert ("mirror" in str(arguments)) == (said.status != 0), said.text
        assert CANARY not in said.text
        assert "Traceback" not in said.err
        self.assert_kept_nowhere(secretive)

    @pytest.mark.parametrize("where", ["main", "files"])
    def test_nor_where_they_are_refused(self, secretive: Bench, where: str) -> None:
        secretive.index.logins[where] = "user:another"
        said = self.shown(secretive, "download", "--frozen", variables={})
        assert said.status == 1
        assert "refuses access (401)" in said.err
        assert CANARY not in said.text
        self.assert_kept_nowhere(secretive)

    @pytest.mark.parametrize(
        "place",
        [
            "uv_archive.archive.store.Writer.finish",
            "uv_archive.fetch.transfers._Fetching._stream",
            "uv_archive.fetch.exchange.Exchange.open",
            "uv_archive.archive.store.Store.writing",
        ],
    )
    def test_nor_in_a_traceback(self, secretive: Bench, place: str) -> None:
        """Have a mistake of this program's come out at the worst places."""
        site = secretive.directory / "site"
        site.mkdir()
        module, attribute = place.rpartition(".")[0], place.rpartition(".")[2]
        (site / "sitecustomize.py").write_text(
            textwrap.dedent(f"""
                import importlib
                module, _, kind = {module!r}.rpartition(".")
                def broken(*arguments, **options):
                    raise RuntimeError(repr((arguments, options)))
                setattr(getattr(importlib.import_module(module), kind), {attribute!r}, broken)
            """)
        )
        path = os.pathsep.join([str(site), *filter(None, sys.path)])
        said = self.shown(secretive, "download", "--frozen", variables={"PYTHONPATH": path})
        assert "RuntimeError" in said.err
        assert CANARY not in said.text
        self.assert_kept_nowhere(secretive)

    def assert_kept_nowhere(self, bench: Bench) -> None:
        """Look through the archive and the home; what the user wrote stays as it is."""
        for place in (bench.archive, bench.directory / "home"):
            for path in place.rglob("*"):
                assert CANARY not in str(path)
                assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path

    def test_the_archive_is_that_of_a_user_without_any(self, secretive: Bench) -> None:
        assert self.shown(secretive, "download", "--frozen", variables={}).status == 0
        with_secrets = metadata(secretive.archive)
        secretive.index.logins = {}
        lock = secretive.root / "uv.lock"
        text = lock.read_text().replace(f"user:{CANARY}@", "").replace(f"?token={CANARY}", "")
        lock.write_text(text)
        shutil.rmtree(secretive.archive)
        assert self.shown(secretive, "download", "--frozen", variables={}).status == 0
        without = metadata(secretive.archive)
        # Of the lock as it was, the manifest has the digest.
        assert {p for p in without if without[p] != with_secrets[p]} <= {"uv-archive.json"}
