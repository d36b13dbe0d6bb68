"""Bundles in the place of git servers, for real uv without a network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fetch.conftest import CANARY
from tests.git.conftest import Place
from tests.git.repositories import Origin
from tests.git.repositories import git as run
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import Entry, Locked, LockRecord, Manifest
from uv_archive.errors import RequestError
from uv_archive.fetch.bundles import place_bundles
from uv_archive.fetch.git import Git, Logins, find_git
from uv_archive.lock.model import GitSource, Lock
from uv_archive.lock.reader import read_lock
from uv_archive.lock.relocate import relocate
from uv_archive.project import find_project
from uv_archive.scratch import scrubbed, write_scratch
from uv_archive.sync.git import GitSupply, open_repositories
from uv_archive.url import Url

_NOTHING_TO_DO = "Would make no changes"


@dataclass(kw_only=True)
class Setting:
    """A project with git sources, on both sides of the gap."""

    place: Place
    uv: Path
    prefix: Sequence[str]

    @property
    def root(self) -> Path:
        return self.place.directory / "das Projekt für 名前"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **scrubbed(self.place.git.environment),
            "UV_PYTHON_DOWNLOADS": "never",
            "HOME": str(self.place.directory),
        }

    def project(self, sources: Mapping[str, str], *, more: str = "") -> None:
        """Write a project that depends on what *sources* (TOML) says, and let uv lock it."""
        self.root.mkdir(exist_ok=True)
        lines = "".join(f"{name} = {source}\n" for name, source in sources.items())
        (self.root / "pyproject.toml").write_text(
            f'[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
            f"dependencies = {json.dumps(list(sources))}\n"
            f"[tool.uv]\npackage = false\n{more}\n[tool.uv.sources]\n{lines}"
        )
        self.uv_ok("lock", "--no-cache", "--project", str(self.root))

    def uv_ok(self, *arguments: str, **variables: str) -> str:
        done = self._run([str(self.uv), *arguments], {**self.environment, **variables})
        assert done.returncode == 0, done.stderr
        return done.stderr

    def _run(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, check=False
        )

    @property
    def lock(self) -> Lock:
        return read_lock(self.root / "uv.lock")

    @property
    def sources(self) -> list[GitSource]:
        return [p.source for p in self.lock.packages if isinstance(p.source, GitSource)]

    @property
    def logins(self) -> Logins:
        return Logins.of([find_project(self.root).root_pyproject])

    def online(self) -> dict[str, str]:
        """Install as uv does with a network, and return what came out."""
        environment = self.place.directory / "online"
        self.uv_ok(
            *("sync", "--frozen", "--no-cache", "--project", str(self.root)),
            UV_PROJECT_ENVIRONMENT=str(environment),
        )
        return contents(environment)

    def archived(self) -> Manifest:
        result = self.place.bringer(logins=self.logins).bring(
            self.sources, placed=place_bundles(self.lock)
        )
        assert not result.failed
        return Manifest(
            project="app",
            lock=LockRecord(path=ArchivePath("locked/uv.lock"), sha256=self.lock.sha256),
            requests=(),
            files={path: one.entry((Locked(),)) for path, one in result.bundles.items()},
        )

    def opened(self, manifest: Manifest, *, git: Git | None = None) -> GitSupply:
        private = self.place.directory / "private $dir" / "git"
        shutil.rmtree(private, ignore_errors=True)
        private.mkdir(parents=True)
        return open_repositories(
            self.sources,
            archive=self.place.archive,
            manifest=manifest,
            git=git or self.place.git,
            directory=private,
            logins=self.logins,
        )

    def pyprojects(self, source: GitSource) -> list[Mapping[str, object]]:
        return list(self.opened(self.archived()).pyprojects(source))

    def offline(self, supply: GitSupply) -> subprocess.CompletedProcess[str]:
        """Install over a relocated lock, with an empty cache and no network."""
        private = self.place.directory / "private $dir"
        scratch = write_scratch(
            find_project(self.root),
            lock=relocate(self.lock, files={}, project_root=self.root),
            directory=private,
            settings={},
        )
        command = [*self.prefix, str(self.uv), "sync", "--frozen", "--offline", "--no-index"]
        variables = supply.variables(self.environment)
        variables["UV_PROJECT_ENVIRONMENT"] = str(self.root / ".venv")
        return self._run(
            [*command, *scratch.arguments(), "--cache-dir", str(private / "cache")], variables
        )

    def changes(self) -> str:
        """Return what plain uv would change afterwards, in the untouched project."""
        command = [*self.prefix, str(self.uv), "sync", "--locked", "--offline", "--dry-run"]
        done = self._run(
            [*command, "--project", str(self.root), "--no-cache"],
            {**self.environment, "UV_PROJECT_ENVIRONMENT": str(self.root / ".venv")},
        )
        return done.stderr

    def check(self) -> dict[str, str]:
        """Go the whole way, and return the installed files."""
        expected = self.online()
        manifest = self.archived()
        supply = self.opened(manifest)
        assert (supply.missing, supply.damaged) == ((), ())
        done = self.offline(supply)
        assert done.returncode == 0, done.stderr
        assert contents(self.root / ".venv") == expected
        assert _NOTHING_TO_DO in self.changes()
        return expected


def contents(environment: Path) -> dict[str, str]:
    """Return every installed file, but for what any environment has."""
    (site,) = environment.glob("lib/*/site-packages")
    return {
        path.relative_to(site).as_posix(): path.read_text(errors="surrogateescape")
        for path in sorted(site.rglob("*"))
        if path.is_file() and not path.name.startswith("_virtualenv")
    }


@pytest.fixture
def setting(place: Place, uv: Path, no_network: tuple[str, ...]) -> Setting:
    return Setting(place=place, uv=uv, prefix=no_network)


@pytest.fixture
def library(place: Place) -> Origin:
    """Tags, a branch ahead of the last one, and packages in subdirectories."""
    origin = place.origin("library")
    origin.package("library")
    origin.package("first", below="packages/first")
    origin.package("second", below="packages/second")
    origin.commit("one")
    origin.commit("two", tag="v1.5")
    origin.commit("three")
    origin.git("branch", "ahead")
    origin.git("checkout", "--quiet", "ahead")
    origin.commit("four")
    origin.git("checkout", "--quiet", "main")
    origin.publish()
    return origin


@pytest.mark.parametrize(
    ("extra", "version"),
    [
        pytest.param("", "1.5.post1", id="default-branch"),
        pytest.param(', branch = "ahead"', "1.5.post2", id="branch"),
        pytest.param(', tag = "v1.5"', "1.5", id="tag"),
        pytest.param(', rev = "{commit}"', "1.5.post1", id="commit"),
        pytest.param(', rev = "{short}"', "1.5.post1", id="short-commit"),
        pytest.param(', rev = "ahead"', "1.5.post2", id="revision"),
    ],
)
def test_a_reference(
    setting: Setting, place: Place, library: Origin, extra: str, version: str
) -> None:
    commit = library.git("rev-parse", "main").strip()
    reference = extra.format(commit=commit, short=commit[:8])
    setting.project({"library": f'{{ git = "{place.server.url("library.git")}"{reference} }}'})

    installed = setting.check()

    assert f"library-{version}.dist-info/METADATA" in installed
    direct = json.loads(installed[f"library-{version}.dist-info/direct_url.json"])
    assert direct["url"] == place.server.url("library.git")


def test_packages_of_one_repository(setting: Setting, place: Place, library: Origin) -> None:
    """Two of one commit by subdirectory, and one of another commit."""
    url = place.server.url("library.git")
    setting.project(
        {
            "first": f'{{ git = "{url}", subdirectory = "packages/first" }}',
            "second": f'{{ git = "{url}", subdirectory = "packages/second" }}',
            "library": f'{{ git = "{url}", branch = "ahead" }}',
        }
    )

    installed = setting.check()

    names = [[one["project"] for one in setting.pyprojects(source)] for source in setting.sources]
    assert [[one["name"] for one in each if isinstance(one, dict)] for each in names] == [
        ["first", "library"],
        ["library"],
        ["second", "library"],
    ]
    assert "first-1.5.post1.dist-info/METADATA" in installed
    assert "library-1.5.post2.dist-info/METADATA" in installed
    assert len(list((place.archive / "git").iterdir())) == 2


def test_urls_that_begin_with_one_another(setting: Setting, place: Place) -> None:
    """What git replaces is a prefix of the URL."""
    for number, name in enumerate(("library", "library-more", "library.git/more")):
        origin = place.origin(name)
        origin.package(f"p{number}")
        origin.commit(tag=f"v{number + 1}.0")
    served = {"p0": "library", "p1": "library-more", "p2": "library.git/more"}
    setting.project({p: f'{{ git = "{place.server.url(name)}" }}' for p, name in served.items()})

    installed = setting.check()

    assert {f"p{number}-{number + 1}.0.dist-info/METADATA" for number in range(3)} <= {*installed}


def test_a_url_by_ssh_and_a_submodule_by_its_short_form(setting: Setting, place: Place) -> None:
    """With an `ssh` that runs on this machine what it should have run on the other."""
    ssh = place.directory / "ssh"
    ssh.write_text(
        '#!/bin/sh\nfor last; do :; done\ncd "$SERVED" && '
        'exec sh -c "$(echo "$last" | sed "s#\'/*#\'./#")"\n'
    )
    ssh.chmod(0o755)
    ssh_variables = {"GIT_SSH": str(ssh), "GIT_SSH_VARIANT": "ssh"}
    place.git = place.git.adding({**ssh_variables, "SERVED": str(place.server.directory)})
    inner = place.origin("inner")
    inner.write("inner.txt", "inner\n")
    outer = place.origin("outer")
    outer.package("outer")
    outer.submodule("outer/short", "git@git.example:inner.git", inner.commit())
    outer.submodule("outer/relative", "../inner.git", inner.commit())
    outer.commit(tag="v1.0")
    setting.project({"outer": '{ git = "ssh://git@git.example/outer.git" }'})

    installed = setting.check()

    assert installed["outer/short/inner.txt"] == installed["outer/relative/inner.txt"] == "inner\n"
    direct = json.loads(installed["outer-1.0.dist-info/direct_url.json"])
    assert direct["url"] == "ssh://git@git.example/outer.git"


def test_submodules(setting: Setting, place: Place) -> None:
    """Relative and absolute URLs, and a relative one within a submodule."""
    inner = place.origin("inner")
    inner.write("inner.txt", "inner\n")
    innermost = inner.commit(tag="inner-1")
    (place.directory / "served" / "group").mkdir()
    middle = place.origin("group/middle")
    middle.write("middle.txt", "middle\n")
    middle.submodule("inner", "../../inner.git", innermost)
    between = middle.commit()
    outer = place.origin("outer")
    outer.package("outer")
    outer.submodule("outer/absolute", place.server.url("group/middle.git"), between)
    outer.submodule("outer/relative", "./../inner.git", innermost)
    outer.commit(tag="v2.0")
    setting.project({"outer": f'{{ git = "{place.server.url("outer.git")}" }}'})

    installed = setting.check()

    assert installed["outer/relative/inner.txt"] == "inner\n"
    assert installed["outer/absolute/middle.txt"] == "middle\n"
    assert installed["outer/absolute/inner/inner.txt"] == "inner\n"


def test_credentials_in_the_project(setting: Setting, place: Place, library: Origin) -> None:
    """uv puts them into the URL that it calls git with, though the lock leaves them out."""
    place.server.logins["library.git"] = f"user:{CANARY}"
    written = place.server.url("library.git").replace("//", f"//user:{CANARY}@")
    setting.project({"library": f'{{ git = "{written}" }}'})
    assert CANARY not in (setting.root / "uv.lock").read_text()

    installed = setting.check()

    assert CANARY not in installed["library-1.5.post1.dist-info/direct_url.json"]


def test_an_archive_that_is_read_only_and_somebody_elses(
    setting: Setting, place: Place, library: Origin
) -> None:
    setting.project({"library": f'{{ git = "{place.server.url("library.git")}" }}'})
    manifest = setting.archived()
    for path in (place.archive / "git").iterdir():
        path.chmod(0o444)
        if os.geteuid() == 0:
            os.chown(path, 12345, 12345)
    (place.archive / "git").chmod(0o555)

    done = setting.offline(setting.opened(manifest))

    assert done.returncode == 0, done.stderr


def test_settings_of_the_user_change_nothing(
    setting: Setting, place: Place, library: Origin
) -> None:
    """Neither a decoy that their git would be led to, nor variables that reach into it."""
    decoy = place.origin("decoy")
    decoy.package("library")
    decoy.commit(tag="v99.0")
    setting.project({"library": f'{{ git = "{place.server.url("library.git")}" }}'})
    manifest = setting.archived()
    settings = place.directory / ".gitconfig"
    key = f"url.{decoy.bare}.insteadOf"
    run("config", "--file", str(settings), key, place.server.url("library.git"))
    hostile = {
        "GIT_CONFIG_GLOBAL": str(settings),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": key,
        "GIT_CONFIG_VALUE_0": place.server.url("library.git"),
        "GIT_CONFIG_PARAMETERS": f"'{key}'='{place.server.url('library.git')}'",
        "GIT_DIR": str(decoy.bare),
        "GIT_ALLOW_PROTOCOL": "https:http:ext",
    }
    supply = setting.opened(manifest, git=find_git({**place.git.environment, **hostile}))
    place.git = place.git.adding(hostile)

    done = setting.offline(supply)

    assert done.returncode == 0, done.stderr
    assert "library-1.5.post1.dist-info/METADATA" in contents(setting.root / ".venv")


def test_no_url_outside_of_the_archive_is_reached(
    setting: Setting, place: Place, library: Origin
) -> None:
    """The server is there, and isn't asked: neither for another commit, nor for another URL."""
    setting.project({"library": f'{{ git = "{place.server.url("library.git")}" }}'})
    supply = setting.opened(setting.archived())
    variables = supply.variables(setting.environment)
    place.server.requests.clear()

    for url in (
        place.server.url("library.git"),
        place.server.url("library.git2"),
        place.server.url("library"),
        "ssh://git@127.0.0.1:1/library.git",
        "git@127.0.0.1:library.git",
        "ext::sh -c id",
    ):
        subprocess.run(
            ["git", "ls-remote", url], env=variables, capture_output=True, check=False, timeout=20
        )
    refused = subprocess.run(
        ["git", "ls-remote", place.server.url("other.git")],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )

    assert place.server.requests == []
    assert "transport 'http' not allowed" in refused.stderr


def test_what_is_missing_and_what_is_damaged_is_named_at_once(
    setting: Setting, place: Place, library: Origin
) -> None:
    other = place.origin("other")
    other.package("other")
    other.commit(tag="v1")
    gone = place.origin("gone")
    gone.package("gone")
    gone.commit(tag="v1")
    setting.project(
        {
            name: f'{{ git = "{place.server.url(f"{name}.git")}" }}'
            for name in ("library", "other", "gone")
        }
    )
    manifest = setting.archived()
    bundles = {path.name.partition("-")[0]: path for path in (place.archive / "git").iterdir()}
    bundles["gone"].unlink()
    content = bytearray(bundles["other"].read_bytes())
    content[len(content) // 2] ^= 1
    bundles["other"].write_bytes(content)

    supply = setting.opened(manifest)

    assert supply.missing == (f"git/{bundles['gone'].name}",)
    assert supply.damaged == (bundles["other"],)
    assert [one.path for one in supply.bundles] == [bundles["library"]]


def test_a_submodule_that_was_not_recorded_is_missing(setting: Setting, place: Place) -> None:
    inner = place.origin("inner")
    commit = inner.commit()
    outer = place.origin("outer")
    outer.package("outer")
    outer.submodule("outer/inner", "../inner.git", commit)
    outer.commit(tag="v1")
    setting.project({"outer": f'{{ git = "{place.server.url("outer.git")}" }}'})
    manifest = setting.archived()
    kept = {path: entry for path, entry in manifest.files.items() if "inner" not in path}

    supply = setting.opened(Manifest(project="app", lock=manifest.lock, requests=(), files=kept))

    assert supply.missing == (f"{place.server.url('inner.git')} at {commit[:12]}",)


def test_another_commit_in_the_place_of_the_locked_one_is_damage(
    setting: Setting, place: Place, library: Origin
) -> None:
    """Even where the metadata of the archive agree: git names an object by its content."""
    setting.project({"library": f'{{ git = "{place.server.url("library.git")}" }}'})
    manifest = setting.archived()
    (path,) = manifest.files
    decoy = place.origin("decoy")
    decoy.package("library")
    decoy.commit(tag="v99")
    own = manifest.files[path].origin
    assert own is not None
    decoy.git("update-ref", f"refs/uv-archive/{own.commit}", "HEAD")
    decoy.git("bundle", "create", "--quiet", str(place.archive / path), "--all")

    content = (place.archive / path).read_bytes()
    entry = Entry(size=len(content), sha256=hashlib.sha256(content).hexdigest(), origin=own)
    forged = Manifest(project="app", lock=manifest.lock, requests=(), files={path: entry})

    assert setting.opened(forged).damaged == (place.archive / path,)


def test_a_source_that_is_an_option_is_refused(tmp_path: Path, git: Git) -> None:
    lock = LockRecord(path=ArchivePath("locked/uv.lock"), sha256="0" * 64)

    with pytest.raises(RequestError, match="is refused"):
        open_repositories(
            [GitSource(url=Url("ssh://-oProxyCommand=id/x"), commit="a" * 40)],
            archive=tmp_path,
            manifest=Manifest(project="app", lock=lock, requests=(), files={}),
            git=git,
            directory=tmp_path,
        )


def test_without_the_tags_it_would_be_another_version(
    setting: Setting, place: Place, library: Origin
) -> None:
    """What `check` would see, and why a part of the history isn't enough."""
    setting.project({"library": f'{{ git = "{place.server.url("library.git")}" }}'})
    supply = setting.opened(setting.archived())
    (repository,) = supply.settings.parent.glob("*/repository")
    run("tag", "--delete", "v1.5", directory=repository)

    done = setting.offline(supply)

    assert done.returncode == 0, done.stderr
    assert "library-1.5.post1.dist-info/METADATA" not in contents(setting.root / ".venv")
    assert _NOTHING_TO_DO not in setting.changes()
