"""Commits of real repositories, from a real server, as bundles."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from tests.fetch.conftest import CANARY, Recorder
from tests.git.conftest import Place
from tests.git.repositories import Origin
from tests.git.repositories import git as run
from uv_archive.archive.layout import ArchivePath, parse_path
from uv_archive.errors import DamagedArchiveError, ToolError
from uv_archive.fetch.bundles import (
    BundleFailure,
    BundleKey,
    BundleResult,
    PresentBundle,
    _trouble,
    check_out,
    key_of,
    place_bundles,
)
from uv_archive.fetch.git import Git, GitError, Logins, Processes, find_git
from uv_archive.fetch.reporter import Reporter
from uv_archive.fetch.transport import Stopped
from uv_archive.lock.model import GitSource, Lock
from uv_archive.lock.reader import read_lock
from uv_archive.url import Url

_Reference = tuple[Literal["branch", "tag", "rev"], str]


def source(
    place: Place, name: str, commit: str, *, reference: _Reference | None = None
) -> GitSource:
    url = Url.parse(place.server.url(f"{name}.git"))
    return GitSource(url=url, commit=commit, reference=reference)


def lock_of(directory: Path, *sources: GitSource) -> Lock:
    """Make a lock of packages `p0`, `p1` and so on."""
    text = 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n'
    for number, one in enumerate(sources):
        url = f"{one.url.exposed}?subdirectory={number}#{one.commit}"
        text += f'[[package]]\nname = "p{number}"\nversion = "1"\nsource = {{ git = "{url}" }}\n'
    path = directory / "uv.lock"
    path.write_text(text)
    return read_lock(path)


def bring(
    place: Place,
    *sources: GitSource,
    present: Mapping[BundleKey, PresentBundle] | None = None,
    git: Git | None = None,
    logins: Logins | None = None,
    reporter: Reporter | None = None,
) -> BundleResult:
    return place.bringer(git=git, logins=logins, reporter=reporter).bring(
        sources, placed=place_bundles(lock_of(place.directory, *sources)), present=present
    )


def only_failure(result: BundleResult) -> BundleFailure:
    assert not result.bundles
    (failure,) = result.failed
    return failure


def cloned(place: Place, path: ArchivePath) -> Path:
    """Clone a bundle as somebody without this program would."""
    directory = place.directory / "cloned" / path.rpartition("/")[2]
    run("init", "--quiet", "--bare", str(directory))
    run("fetch", "--quiet", str(place.archive / path), "refs/*:refs/*", directory=directory)
    run("fsck", "--strict", directory=directory)
    return directory


@pytest.fixture
def library(place: Place) -> Origin:
    """Four commits, the second with a tag, and another tag on a branch that went elsewhere."""
    origin = place.origin("library")
    origin.package("library")
    origin.commit("first")
    origin.commit("second", tag="v1.0")
    origin.git("branch", "elsewhere")
    origin.commit("third")
    origin.commit("fourth")
    origin.git("checkout", "--quiet", "elsewhere")
    origin.commit("other", tag="v9.0")
    origin.git("checkout", "--quiet", "main")
    origin.publish()
    return origin


def at(origin: Origin, revision: str) -> str:
    return origin.git("rev-parse", f"{revision}^{{commit}}").strip()


def test_a_bundle_has_the_whole_history_and_the_tags_in_it(place: Place, library: Origin) -> None:
    commit = at(library, "main")

    result = bring(place, source(place, "library", commit))

    path = parse_path(f"git/library-{commit[:12]}.bundle")
    assert not result.failed
    assert list(result.bundles) == [path] == place.committed
    repository = cloned(place, path)
    refs = run("for-each-ref", "--format=%(refname)", directory=repository).split()
    assert refs == ["refs/tags/v1.0", f"refs/uv-archive/{commit}"]
    assert run("rev-list", "--count", commit, directory=repository).strip() == "4"
    described = run("describe", "--tags", "--long", commit, directory=repository).strip()
    assert described == library.git("describe", "--tags", "--long", "main").strip()
    assert described.startswith("v1.0-2-")


def test_what_the_archive_records_of_a_bundle(place: Place, library: Origin) -> None:
    commit = at(library, "main")

    result = bring(place, source(place, "library", commit))

    (bundle,) = result.bundles.values()
    entry = bundle.entry(why=())
    file = place.archive / bundle.path
    said = subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True)
    assert entry.sha256 == said.stdout.split()[0]
    assert entry.size == file.stat().st_size
    assert entry.origin is not None
    assert entry.origin.name == "library"
    assert entry.origin.source == place.server.url("library.git")
    assert entry.origin.commit == commit


def test_references_are_the_same_however_it_was_fetched(place: Place, library: Origin) -> None:
    commit = at(library, "main~1")
    listed = []
    for old in (False, True):
        place.server.old = old
        result = bring(place, source(place, "library", commit))
        (path,) = result.bundles
        listed.append(run("bundle", "list-heads", str(place.archive / path)))
    assert listed[0] == listed[1]
    assert len(listed[0].splitlines()) == 2


@pytest.mark.parametrize("revision", ["main", "main~1", "v1.0", "elsewhere"])
def test_an_old_server_that_gives_no_commit_by_its_name(
    place: Place, library: Origin, revision: str
) -> None:
    place.server.old = True
    commit = at(library, revision)

    result = bring(place, source(place, "library", commit))

    assert not result.failed
    (path,) = result.bundles
    assert run("cat-file", "-t", commit, directory=cloned(place, path)).strip() == "commit"


def test_a_commit_that_no_branch_has_any_more(place: Place, library: Origin) -> None:
    commit = at(library, "main")
    library.git("reset", "--quiet", "--hard", "HEAD~1")
    library.publish()

    result = bring(place, source(place, "library", commit))

    assert not result.failed


def test_an_old_server_and_a_commit_of_a_named_reference(place: Place, library: Origin) -> None:
    place.server.old = True
    commit = at(library, "main")
    library.commit("fifth")
    library.git("update-ref", "refs/pull/7/head", "HEAD")
    library.git("reset", "--quiet", "--hard", "HEAD~2")
    library.publish()

    gone = bring(place, source(place, "library", commit))
    found = bring(place, source(place, "library", commit, reference=("rev", "refs/pull/7/head")))

    assert "no longer has commit" in only_failure(gone).reason
    assert not found.failed


@pytest.mark.parametrize("old", [False, True], ids=["by-name", "by-branches"])
def test_a_commit_that_the_server_never_had(place: Place, library: Origin, old: bool) -> None:
    place.server.old = old
    commit = "0123456789" * 4

    failure = only_failure(bring(place, source(place, "library", commit)))

    url = place.server.url("library.git")
    assert failure.reason == f"`{url}` no longer has commit {commit}"
    assert failure.hint is not None
    assert "Lock again" in failure.hint
    assert place.committed == []
    assert list((place.archive / ".partial" / "git").iterdir()) == []


def test_a_repository_that_is_not_there(place: Place) -> None:
    recorder = Recorder()

    failure = only_failure(bring(place, source(place, "nowhere", "a" * 40), reporter=recorder))

    assert "there is no repository" in failure.reason
    assert not recorder.named("retried")


def test_a_failing_server_is_asked_again(place: Place, library: Origin) -> None:
    place.server.failures = 3
    recorder = Recorder()

    result = bring(place, source(place, "library", at(library, "main")), reporter=recorder)

    assert not result.failed
    assert len(recorder.named("retried")) == 3
    assert len(recorder.named("finished")) == 1


def test_a_server_that_never_answers_is_given_up(place: Place, library: Origin) -> None:
    place.server.failures = 1000
    recorder = Recorder()

    result = bring(place, source(place, "library", at(library, "main")), reporter=recorder)

    assert "can't be reached" in only_failure(result).reason
    assert len(recorder.named("retried")) == 4


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ("fatal: remote error: upload-pack: not our ref 0123", "gone"),
        ("error: Server does not allow request for unadvertised object 0123", "other"),
        ("fatal: could not read Username for 'https://git.example': terminal prompts", "access"),
        ("git@git.example: Permission denied (publickey).\nfatal: Could not read from", "access"),
        ("remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'x'", "access"),
        ("fatal: unable to access 'x': The requested URL returned error: 403", "access"),
        ("ERROR: Repository not found.\nfatal: Could not read from remote", "missing"),
        ("fatal: repository 'https://git.example/x/' not found", "missing"),
        ("fatal: unable to access 'x': Could not resolve host: git.example", "network"),
        ("ssh: Could not resolve hostname git.example: Name or service not known", "network"),
        ("fatal: unable to access 'x': The requested URL returned error: 502", "network"),
        ("error: RPC failed; curl 56 reset\nfatal: early EOF\nfatal: index-pack failed", "network"),
        ("fatal: write error: No space left on device\nfatal: index-pack failed", "storage"),
        ("fatal: something else", "other"),
    ],
)
def test_what_git_says_decides_what_is_done(said: str, trouble: str) -> None:
    assert _trouble(GitError(said)) == trouble


def test_one_failure_does_not_stop_the_others(place: Place, library: Origin) -> None:
    result = bring(
        place, source(place, "library", at(library, "main")), source(place, "nowhere", "b" * 40)
    )

    assert len(result.bundles) == len(result.failed) == 1


def test_a_repository_that_asks_for_credentials(place: Place, library: Origin) -> None:
    place.server.logins["library.git"] = f"user:{CANARY}"

    failure = only_failure(bring(place, source(place, "library", at(library, "main"))))

    assert "asks for credentials" in failure.reason
    assert failure.hint is not None
    assert "git ls-remote" in failure.hint


def test_git_finds_credentials_as_its_user_set_it_up(place: Place, library: Origin) -> None:
    place.server.logins["library.git"] = f"user:{CANARY}"
    helper = f'!f() {{ test "$1" = get && echo username=user && echo password={CANARY}; }}; f'
    settings = place.directory / "gitconfig"
    run("config", "--file", str(settings), "credential.helper", helper)
    git = place.git.adding({"GIT_CONFIG_GLOBAL": str(settings)})

    result = bring(place, source(place, "library", at(library, "main")), git=git)

    assert not result.failed


def test_credentials_that_the_project_wrote_go_to_its_repository_only(
    place: Place, library: Origin
) -> None:
    other = place.origin("other")
    commit = other.commit()
    place.server.logins["library.git"] = f"user:{CANARY}"
    written = place.server.url("library.git").replace("//", f"//user:{CANARY}@")
    logins = Logins.of([{"tool": {"uv": {"sources": {"library": {"git": written}}}}}])
    sources = [source(place, "library", at(library, "main")), source(place, "other", commit)]

    result = bring(place, *sources, logins=logins)

    assert not result.failed
    assert place.server.authorizations
    assert all(path.startswith("/library.git/") for path, _ in place.server.authorizations)
    for bundle in result.bundles.values():
        assert CANARY not in bundle.source
        assert CANARY.encode() not in (place.archive / bundle.path).read_bytes()


def test_wrong_credentials_are_not_repeated(place: Place, library: Origin) -> None:
    place.server.logins["library.git"] = "user:right"
    written = place.server.url("library.git").replace("//", f"//user:{CANARY}@")
    logins = Logins.of([{"project": {"dependencies": [f"library @ git+{written}@v1.0"]}}])

    failure = only_failure(
        bring(place, source(place, "library", at(library, "main")), logins=logins)
    )

    assert "asks for credentials" in failure.reason
    assert CANARY not in f"{failure}"
    assert ("user", CANARY) in {tuple(said.split(":")) for _, said in place.server.authorizations}


def test_a_login_is_on_no_command_line(
    place: Place, library: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    popen = subprocess.Popen

    def keeping(command: list[str], **more: object) -> object:
        started.append(command)
        return popen(command, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", keeping)
    written = place.server.url("library.git").replace("//", f"//user:{CANARY}@")
    logins = Logins.of([{"tool": {"uv": {"sources": {"library": [{"git": written}]}}}}])

    result = bring(place, source(place, "library", at(library, "main")), logins=logins)

    assert not result.failed
    assert started
    assert CANARY not in f"{started}"


def test_packages_of_one_commit_share_a_bundle(place: Place, library: Origin) -> None:
    first, second = at(library, "main"), at(library, "v1.0")

    result = bring(place, *(source(place, "library", one) for one in (first, first, second)))

    assert {bundle.commit for bundle in result.bundles.values()} == {first, second}
    assert len(place.committed) == 2


def test_forks_of_one_name_at_one_commit_have_two_bundles(place: Place, library: Origin) -> None:
    commit = at(library, "main")
    run("clone", "--quiet", "--bare", str(library.bare), str(place.server.directory / "fork.git"))
    (place.server.directory / "mine").mkdir()
    (place.server.directory / "fork.git").rename(place.server.directory / "mine" / "library.git")
    sources = [source(place, "library", commit), source(place, "mine/library", commit)]

    result = bring(place, *sources)

    assert not result.failed
    assert len(result.bundles) == 2
    assert all(path.startswith("git/library-") for path in result.bundles)
    assert {bundle.key for bundle in result.bundles.values()} == {key_of(one) for one in sources}


@pytest.fixture
def nested(place: Place) -> tuple[str, str, str]:
    """Three repositories, each a submodule of the next by another kind of URL."""
    inner = place.origin("inner")
    inner.write("inner.txt", "inner\n")
    innermost = inner.commit(tag="inner-1")
    middle = place.origin("middle")
    middle.write("middle.txt", "middle\n")
    middle.submodule("inner", "../inner.git", innermost)
    between = middle.commit()
    outer = place.origin("outer")
    outer.package("outer")
    outer.submodule("outer/middle", place.server.url("middle.git"), between)
    outer.submodule("outer/inner", "./../inner.git", innermost)
    return outer.commit(tag="v2.0"), between, innermost


def test_submodules_come_along_and_theirs(place: Place, nested: tuple[str, str, str]) -> None:
    result = bring(place, source(place, "outer", nested[0]))

    assert not result.failed
    found = {bundle.source.rpartition("/")[2]: bundle for bundle in result.bundles.values()}
    assert {name: bundle.commit for name, bundle in found.items()} == dict(
        zip(("outer.git", "middle.git", "inner.git"), nested, strict=True)
    )
    assert found["outer.git"].part_of == ()
    assert found["middle.git"].part_of == (found["outer.git"].path,)
    assert set(found["inner.git"].part_of) == {found["outer.git"].path, found["middle.git"].path}


def test_a_submodule_that_is_locked_too_has_one_bundle(
    place: Place, nested: tuple[str, str, str]
) -> None:
    sources = [source(place, "outer", nested[0]), source(place, "inner", nested[2])]

    result = bring(place, *sources)

    assert len(result.bundles) == 3
    assert f"git/inner-{nested[2][:12]}.bundle" in result.bundles


def test_what_is_present_is_looked_into_and_not_fetched(
    place: Place, nested: tuple[str, str, str]
) -> None:
    outer = source(place, "outer", nested[0])
    first = bring(place, outer)
    present = {
        bundle.key: PresentBundle(
            file=place.archive / bundle.path, sha256=bundle.sha256, size=bundle.size
        )
        for bundle in first.bundles.values()
        if "inner" not in bundle.path
    }
    place.committed.clear()
    place.server.requests.clear()

    again = bring(place, outer, present=present)

    assert [path for path in place.committed if "inner" not in path] == []
    assert {request.split("/")[1] for request in place.server.requests} == {"inner.git"}
    assert again.bundles.keys() == first.bundles.keys()
    assert again.bundles[place.committed[0]].part_of == first.bundles[place.committed[0]].part_of


def test_submodules_that_are_not_to_be_updated_are_left_out(place: Place) -> None:
    origin = place.origin("library")
    origin.package("library")
    origin.submodule("left", "../nowhere.git", "a" * 40)
    with (origin.tree / ".gitmodules").open("a") as file:
        file.write("\tupdate = none\n")

    result = bring(place, source(place, "library", origin.commit()))

    assert not result.failed
    assert len(result.bundles) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("/etc", "needs a URL", id="path"),
        pytest.param("file:///srv/repository", "isn't a transport", id="file"),
        pytest.param("ext::sh -c id", "white space", id="command"),
        pytest.param("ext::id", "no option and names no command", id="transport"),
        pytest.param("--upload-pack=id", "no option", id="option"),
        pytest.param("ssh://-oProxyCommand=id/x", "no option", id="host-option"),
        pytest.param("../../../../x.git", "outside of its server", id="out-of-the-server"),
        pytest.param(None, "names no URL", id="none"),
    ],
)
def test_a_hostile_submodule_is_refused(place: Place, url: str | None, reason: str) -> None:
    origin = place.origin("library")
    origin.package("library")
    origin.submodule("bad", url or "", "a" * 40)
    if url is None:
        (origin.tree / ".gitmodules").write_text("")

    failure = only_failure(bring(place, source(place, "library", origin.commit())))

    assert "the submodule at `bad` is refused" in failure.reason
    assert reason in failure.reason


def test_a_server_with_a_part_of_the_history_only(place: Place, library: Origin) -> None:
    commit = at(library, "main")
    shallow = place.server.directory / "shallow.git"
    run("clone", "--quiet", "--bare", "--depth=1", f"file://{library.bare}", str(shallow))

    failure = only_failure(bring(place, source(place, "shallow", commit)))

    assert place.committed == []
    assert failure.reason == "the server itself has only a part of the history"


def test_settings_of_its_user_do_not_reach_into_our_repository(
    place: Place, library: Origin
) -> None:
    hooks = place.directory / "hooks"
    hooks.mkdir()
    ran = place.directory / "ran"
    for name in ("reference-transaction", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{ran}'\n")
        (hooks / name).chmod(0o755)
    settings = place.directory / "gitconfig"
    for name, value in (
        ("core.hooksPath", str(hooks)),
        ("init.templateDir", str(place.directory)),
        ("safe.bareRepository", "explicit"),
        ("fetch.prune", "true"),
        ("fetch.pruneTags", "true"),
        ("fetch.recurseSubmodules", "true"),
    ):
        run("config", "--file", str(settings), name, value)
    git = place.git.adding({"GIT_CONFIG_GLOBAL": str(settings)})

    result = bring(place, source(place, "library", at(library, "main")), git=git)

    assert not result.failed
    assert not ran.exists()


def test_another_repository_is_not_touched(
    place: Place, library: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where git itself runs the program, in a hook or in `git rebase --exec`."""
    before = library.git("for-each-ref")
    git = find_git({**place.git.environment, "GIT_DIR": str(library.tree / ".git")})

    result = bring(place, source(place, "library", at(library, "main")), git=git)

    assert not result.failed
    assert library.git("for-each-ref") == before


def test_paths_with_spaces_and_other_letters(tmp_path: Path, place: Place, library: Origin) -> None:
    place.directory = tmp_path / "ein Verzeichnis für 名前"
    place.directory.mkdir()

    result = bring(place, source(place, "library", at(library, "main")))

    assert not result.failed


def test_the_files_of_a_commit_are_written_for_a_look(place: Place, library: Origin) -> None:
    """A filter of the user's isn't run, and a link leads nowhere."""
    (library.tree / "link").symlink_to("/etc/passwd")
    library.write(".gitattributes", "* filter=trap\n")
    commit = library.commit()
    (bundle,) = bring(place, source(place, "library", commit)).bundles
    settings = place.directory / "gitconfig"
    run("config", "--file", str(settings), "filter.trap.smudge", "false")
    run("config", "--file", str(settings), "filter.trap.required", "true")
    git = place.git.adding({"GIT_CONFIG_GLOBAL": str(settings)})

    tree = check_out(place.archive / bundle, commit, git=git, directory=place.directory / "look")

    assert (tree / "pyproject.toml").read_text() == (library.tree / "pyproject.toml").read_text()
    assert not (tree / "link").is_symlink()
    with pytest.raises(DamagedArchiveError):
        check_out(settings, commit, git=git, directory=place.directory / "again")


def test_git_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="git was not found"):
        find_git({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        pytest.param("git version 2.25.1", "is git 2.25.1, which is too old", id="old"),
        pytest.param("hub", "isn't git", id="other"),
    ],
)
def test_git_is_too_old_or_no_git(tmp_path: Path, said: str, message: str) -> None:
    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\necho '{said}'\n")
    fake.chmod(0o755)

    with pytest.raises(ToolError, match=message):
        find_git({"PATH": str(tmp_path)})


@pytest.mark.parametrize("said", ["git version 2.39.2 (Apple Git-143)", "git version 2.51.0.rc1"])
def test_git_says_its_version_in_many_ways(tmp_path: Path, said: str) -> None:
    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\necho '{said}'\n")
    fake.chmod(0o755)

    assert str(find_git({"PATH": str(tmp_path)}).version) in said


def test_a_silent_server_does_not_keep_an_interrupted_run(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        processes = Processes()
        outcome: list[BaseException] = []

        def fetch() -> None:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
            try:
                processes.run(place.git.online(), "ls-remote", url, hear=lambda received: None)
            except BaseException as error:  # noqa: BLE001 - kept to be looked at
                outcome.append(error)

        thread = threading.Thread(target=fetch)
        thread.start()
        connection, _ = silent.accept()
        processes.stop()
        thread.join(10)
        connection.settimeout(10)
        while connection.recv(65536):
            pass  # Until the helper that had the connection is gone, too.
        connection.close()

    assert not thread.is_alive()
    assert [type(error) for error in outcome] == [Stopped]
    with pytest.raises(Stopped):
        processes.run(place.git, "version", hear=lambda received: None)


def test_a_silent_server_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uv_archive.fetch.git._SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
        with pytest.raises(GitError, match="timed out"):
            Processes().run(place.git.online(), "ls-remote", url, hear=lambda received: None)


def test_nothing_is_asked_of_a_terminal(place: Place, library: Origin, git: Git) -> None:
    asked = place.directory / "asked"
    askpass = place.directory / "askpass"
    askpass.write_text(f"#!/bin/sh\ntouch '{asked}'\nexit 1\n")
    askpass.chmod(0o755)
    place.server.logins["library.git"] = "user:password"

    failure = only_failure(bring(place, source(place, "library", at(library, "main"))))

    assert "terminal prompts disabled" in failure.reason
    assert git.online().environment["GIT_TERMINAL_PROMPT"] == "0"
    assert os.environ.get("GIT_TERMINAL_PROMPT") != "0"
