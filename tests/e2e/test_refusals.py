"""Whatever can't be done is said in one line, with a hint, and costs nothing that was there."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import give_up
from tests.distributions import make_wheel
from tests.e2e.bench import Bench, Said, tree
from tests.e2e.projects import write_project

ALPHA, BETA = "alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bad:
    """Something that can't be done.

    *spoil* makes it so in a locked project whose archive has been downloaded. *says* are parts
    of the one line, *hint* a part of the hint.
    """

    says: Sequence[str]
    hint: str
    spoil: Callable[[Bench], None] = lambda bench: None
    flags: Sequence[str] = ()
    status: int = 2
    command: str = "download"


def edit(bench: Bench, name: str, old: str, new: str) -> None:
    path = bench.root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def spoil_lock(old: str, new: str) -> Callable[[Bench], None]:
    return lambda bench: edit(bench, "uv.lock", old, new)


def remove(name: str) -> Callable[[Bench], None]:
    return lambda bench: (bench.root / name).unlink()


def _another_project(bench: Bench) -> None:
    edit(bench, "pyproject.toml", 'name = "app"', 'name = "other"')
    bench.lock()


def _output_is_a_file(bench: Bench) -> None:
    (bench.directory / "out").write_text("mine")


def _output_is_foreign(bench: Bench) -> None:
    (bench.directory / "out").mkdir()
    (bench.directory / "out" / "thesis.txt").write_text("mine")


def _output_is_a_link(bench: Bench) -> None:
    (bench.directory / "out").symlink_to(bench.directory / "nowhere")


def _newer_archive(bench: Bench) -> None:
    path = bench.archive / "uv-archive.json"
    path.write_text(path.read_text().replace('"format-version": 1', '"format-version": 2'))


def _damaged_description(bench: Bench) -> None:
    path = bench.archive / "uv-archive.json"
    path.write_text(path.read_text()[:100])


def _another_beta(bench: Bench) -> None:
    make_wheel(bench.index.at("main"), "beta", "2.0", files={"beta.py": "other bytes"})


def _changed_and_locked_again(bench: Bench) -> None:
    edit(bench, "pyproject.toml", "alpha==1.0", "alpha==2.0")
    bench.lock()


def _damaged(bench: Bench) -> None:
    (bench.archive / BETA).write_bytes(b"no")


def _unreachable(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    edit(bench, "uv.lock", bench.index.address, f"http://127.0.0.1:{port}")


def answering(status: int) -> Callable[[Bench], None]:
    return lambda bench: bench.index.answers.update({f"main/{BETA}": status})


OUT = ("-o", "../out")
FRESH = ("-o", "../fresh")

BAD = {
    # The project and its lock
    "no-project": Bad(
        spoil=remove("pyproject.toml"), says=["There is no `pyproject.toml`"], hint="--project"
    ),
    "no-such-project-directory": Bad(
        flags=["--project", "nowhere"], says=["There is no directory `nowhere`"],
        hint="--project",
    ),
    "project-file-is-not-toml": Bad(
        spoil=lambda bench: edit(bench, "pyproject.toml", "[project]", "[project"),
        says=["pyproject.toml` isn't TOML"], hint="",
    ),
    "no-lock": Bad(spoil=remove("uv.lock"), says=["There is no lock"], hint="`uv lock`"),
    "stale-lock": Bad(
        spoil=lambda bench: edit(bench, "pyproject.toml", "alpha==1.0", "alpha==2.0"),
        says=["out of date"], hint="--frozen",
    ),
    "lock-is-not-toml": Bad(
        spoil=spoil_lock("version = 1", "version = = 1"), flags=["--frozen"],
        says=["uv.lock", "TOML", "line 1"], hint="",
    ),
    "lock-of-a-newer-version": Bad(
        spoil=spoil_lock("version = 1\n", "version = 2\n"), flags=["--frozen"],
        says=["version", "2"], hint="",
    ),
    "lock-with-a-path-in-a-file-name": Bad(
        spoil=spoil_lock(f"/{ALPHA}", f"/..%2f..%2f{ALPHA}"), flags=["--frozen"],
        says=["wheels[0].url"], hint="",
    ),
    "lock-with-a-name-of-another-package": Bad(
        spoil=spoil_lock(f"/{ALPHA}", f"/{BETA}"), flags=["--frozen"],
        says=["wheels[0]", "alpha"], hint="",
    ),
    "lock-with-a-bad-hash": Bad(
        spoil=spoil_lock('"sha256:', '"sha256:zz'), flags=["--frozen"],
        says=["wheels[0].hash"], hint="",
    ),
    "lock-with-control-characters": Bad(
        spoil=spoil_lock('"beta"\nversion = "2.0"', '"b\\u001b[2Jeta"\nversion = "2.0"'),
        flags=["--frozen"], says=["package[", "name"], hint="",
    ),
    # What is asked for
    "unknown-extra": Bad(flags=["--extra", "nope"], says=["`nope`", "extra"], hint=""),
    "unknown-group": Bad(flags=["--group", "nope"], says=["`nope`", "group"], hint=""),
    "unknown-package": Bad(flags=["--package", "nope"], says=["`nope`"], hint=""),
    "unknown-platform": Bad(
        flags=["--python-platform", "amiga"], says=["`amiga`"], hint="linux"
    ),
    "unknown-python": Bad(flags=["-p", "nope"], says=["`nope`"], hint=""),
    "python-that-the-lock-excludes": Bad(
        flags=["-p", "3.8"], says=["cp38"], hint="3.11"
    ),
    "package-without-a-file-for-the-target": Bad(
        flags=["--group", "windows", "--python-platform", "linux", *FRESH],
        says=["winonly==1.0"], hint="other targets",
    ),
    "conflicting-extras-to-install": Bad(
        command="sync", flags=["--extra", "one", "--extra", "two"],
        says=["one", "two", "incompatible"], hint="",
    ),
    "all-platforms-and-one": Bad(
        flags=["--all-platforms", "--python-platform", "linux"],
        says=["`--all-platforms`", "`--python-platform`"], hint="",
    ),
    "flags-that-exclude-each-other": Bad(
        flags=["--all-extras", "--extra", "one"], says=["`--all-extras` and `--extra`"],
        hint="`uv-archive download --help`",
    ),
    "unknown-option": Bad(
        flags=["--frobnicate"], says=["No such option `--frobnicate`"], hint="--help"
    ),
    "bad-mirror": Bad(flags=["--mirror", "nonsense"], says=["`FROM=TO`"], hint=""),
    "bad-name": Bad(flags=["--group", "a b!"], says=["`a b!`"], hint=""),
    # The archive
    "output-is-a-file": Bad(
        spoil=_output_is_a_file, flags=OUT, says=["isn't a directory"], hint="--out-dir"
    ),
    "output-is-somebody-elses-directory": Bad(
        spoil=_output_is_foreign, flags=OUT, says=["no archive", "empty"], hint="directory"
    ),
    "output-is-a-dangling-link": Bad(
        spoil=_output_is_a_link, flags=OUT, says=["isn't a directory"], hint="--out-dir"
    ),
    "output-is-another-projects-archive": Bad(
        spoil=_another_project, says=["`app`", "`other`"], hint="--out-dir"
    ),
    "archive-of-a-newer-format": Bad(
        spoil=_newer_archive, says=["format 2"], hint="newer uv-archive"
    ),
    "archive-with-a-damaged-description": Bad(
        spoil=_damaged_description, says=["uv-archive.json"], hint="download --verify"
    ),
    # The server
    "wrong-hash": Bad(
        spoil=_another_beta, flags=["--frozen", *FRESH], says=[BETA, "sha256"], hint="", status=1
    ),
    **{
        f"status-{status}": Bad(
            spoil=answering(status), flags=["--frozen", *FRESH],
            says=[BETA, str(status)], hint=hint, status=1,
        )
        for status, hint in ((401, "UV_INDEX_"), (403, "UV_INDEX_"), (404, ""), (410, ""))
    },
    # Sync
    "sync-without-an-archive": Bad(
        command="sync", flags=["--dist-archive", "../nowhere"], says=["no", "archive"],
        hint="uv-archive download",
    ),
    "sync-of-another-lock": Bad(
        command="sync", spoil=_changed_and_locked_again, says=["lock"], hint="uv-archive download"
    ),
    "sync-of-a-stale-lock": Bad(
        command="sync", flags=["--locked"],
        spoil=lambda bench: edit(bench, "pyproject.toml", "alpha==1.0", "alpha==2.0"),
        says=["isn't up to date"], hint="`uv lock`",
    ),
    "sync-with-a-file-missing": Bad(
        command="sync", spoil=lambda bench: (bench.archive / BETA).unlink(), says=[BETA],
        hint="uv-archive download",
    ),
    "sync-with-a-damaged-file": Bad(
        command="sync", spoil=_damaged, says=[BETA], hint="", status=1,
    ),
    "sync-of-a-group-that-was-not-downloaded": Bad(
        command="sync", flags=["--group", "more"], says=["epsilon"], hint="uv-archive download"
    ),
    "sync-with-an-index": Bad(
        command="sync", flags=["--index", "https://index.example"], says=["--index"], hint=""
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(module_bench: Bench) -> Bench:
    write_project(
        module_bench,
        '["alpha==1.0"]',
        build="",
        more="""
[project.optional-dependencies]
one = ["beta==1.0"]
two = ["beta==2.0"]

[dependency-groups]
more = ["epsilon"]
windows = ["winonly"]

[tool.uv]
conflicts = [[{ extra = "one" }, { extra = "two" }]]
""",
    )
    module_bench.lock()
    module_bench.download()
    return module_bench


@pytest.fixture
def spoiled(prepared: Bench, tmp_path: Path) -> Iterator[Bench]:
    """A copy that a test may spoil; what it changes of the index is put back."""
    bench = Bench(
        directory=tmp_path / "copy",
        index=prepared.index,
        uv=prepared.uv,
        offline=prepared.offline,
    )
    shutil.copytree(prepared.root, bench.root)
    shutil.copytree(prepared.directory / "home", bench.directory / "home")
    beta = bench.index.directory / "main" / BETA
    content = beta.read_bytes()
    yield bench
    bench.index.answers.clear()
    beta.write_bytes(content)


def outcome_of(bench: Bench, bad: Bad) -> Said:
    return bench.uv_archive(bad.command, *bad.flags)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_is_refused(spoiled: Bench, bad: Bad) -> None:
    bad.spoil(spoiled)
    before = tree(spoiled.directory)
    said = outcome_of(spoiled, bad)

    assert said.status == bad.status, said.text
    assert said.out == ""
    lines = said.err.splitlines()
    message = next(line for line in lines if line.startswith("error: "))
    block = "\n".join(lines[lines.index(message) :])
    for part in bad.says:
        assert part in block
    assert "\x1b" not in said.err
    assert not message.endswith(".")
    hints = [line for line in lines if line.startswith("hint: ")]
    assert not bad.hint or any(bad.hint in hint for hint in hints), said.err
    after = tree(spoiled.directory)
    if bad.status == 2:
        assert after == before
    else:
        assert {path: after.get(path) for path in before} == before


def test_what_did_come_is_kept_when_something_fails(spoiled: Bench) -> None:
    spoiled.index.answers[f"main/{BETA}"] = 404
    assert spoiled.uv_archive("download", "--frozen", *FRESH).status == 1
    fresh = spoiled.directory / "fresh"
    assert spoiled.distributions(fresh) == {ALPHA}
    assert not (fresh / "uv-archive.json").exists()
    spoiled.index.answers.clear()
    spoiled.index.requests.clear()
    spoiled.download("--frozen", *FRESH)
    assert spoiled.index.fetched == [BETA]


def test_every_failure_is_named_once(spoiled: Bench) -> None:
    spoiled.index.answers.update({f"main/{name}": 404 for name in (ALPHA, BETA)})
    said = spoiled.uv_archive("download", "--frozen", *FRESH)
    assert said.status == 1
    failed = "".join(line for line in said.err.splitlines() if line.startswith("error: "))
    assert [failed.count(f"`{name}`") for name in (ALPHA, BETA)] == [1, 1]
    # What helps against all of them is said once, and how to go on.
    assert said.err.count("hint: ") == 2
    assert "2 failed" in said.err
    as_json = spoiled.uv_archive("download", "--frozen", *FRESH, "--output-format", "json")
    assert as_json.status == 1
    failures = as_json.json["failures"]
    assert isinstance(failures, list)
    assert {one["name"] for one in failures} == {ALPHA, BETA}
    assert as_json.json["digest"] is None


def test_stale_lock_is_taken_when_it_is_asked_for(spoiled: Bench) -> None:
    edit(spoiled, "pyproject.toml", "alpha==1.0", "alpha==2.0")
    spoiled.download("--frozen")
    assert ALPHA in spoiled.distributions()


def test_conflicting_extras_may_be_archived_together(spoiled: Bench) -> None:
    spoiled.download("--all-extras")
    assert {"beta-1.0-py3-none-any.whl", BETA} <= spoiled.distributions()
    spoiled.sync("--extra", "one")


def test_without_uv(spoiled: Bench, tmp_path: Path) -> None:
    before = tree(spoiled.directory)
    python = tmp_path / "bare" / "bin" / "python"
    made = spoiled.run(
        spoiled.uv, "venv", "--no-project", "--offline", python.parent.parent, offline=True
    )
    assert made.status == 0, made.err
    # The same packages, in an environment that has no uv beside its Python.
    packages = os.pathsep.join(path for path in sys.path if path)
    bare = {"UV": None, "PATH": "/nowhere", "PYTHONPATH": packages}
    for arguments in (("download",), ("sync",)):
        said = spoiled.run(python, "-m", "uv_archive", *arguments, variables=bare)
        assert said.status == 2
        assert said.err.startswith("error: uv was not found\nhint: ")
    assert tree(spoiled.directory) == before


def test_directory_that_is_not_writable(spoiled: Bench, tool: Callable[[str], Path]) -> None:
    spoiled.archive.chmod(0o555)
    before = tree(spoiled.directory)
    # What root may do beyond others is taken away.
    without = ("--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")
    prefix = (str(tool("setpriv")), *without) if os.geteuid() == 0 else ()
    said = spoiled.uv_archive("download", "--frozen", prefix=prefix)
    assert said.status == 2
    assert "Permission denied" in said.err
    assert "hint: " in said.err
    assert tree(spoiled.directory) == before


class TestFullDisk:
    SCRIPT = 'mount -t tmpfs -o size="$0" none "$1" && cd "$2" && shift 2 && exec "$@"'

    @pytest.fixture
    def small_disk(self, spoiled: Bench, tool: Callable[[str], Path]) -> Callable[[str], list[str]]:
        """Give what to put before a command that shall find a disk of some size at `../out`."""
        (spoiled.directory / "out").mkdir()

        def prefix(size: str) -> list[str]:
            out = str(spoiled.directory / "out")
            return [str(tool("unshare")), "-rm", "sh", "-c", self.SCRIPT, size, out,
                    str(spoiled.root)]  # fmt: skip

        done = subprocess.run([*prefix("64k"), "true"], capture_output=True, check=False)
        if done.returncode:
            give_up("this system allows no mount namespace")
        return prefix

    def test_is_foreseen_where_sizes_are_known(
        self, spoiled: Bench, small_disk: Callable[[str], list[str]]
    ) -> None:
        make_wheel(spoiled.index.at("main"), "big", "1.0", files={"big": os.urandom(300_000)})
        write_project(spoiled, '["alpha==1.0", "big"]', build="")
        spoiled.lock()
        spoiled.index.requests.clear()
        said = spoiled.uv_archive("download", *OUT, prefix=small_disk("128k"))
        assert said.status == 2
        assert "free" in said.err
        assert "hint: Make room" in said.err
        assert spoiled.index.requests == []

    def test_is_said_where_they_are_not(
        self, spoiled: Bench, small_disk: Callable[[str], list[str]]
    ) -> None:
        make_wheel(spoiled.index.at("main"), "big", "1.0", files={"big": os.urandom(300_000)})
        write_project(spoiled, '["alpha==1.0", "big"]', build="")
        spoiled.lock()
        lock = spoiled.root / "uv.lock"
        lock.write_text(re.sub(r", size = \d+", "", lock.read_text()))
        said = spoiled.uv_archive("download", "--frozen", *OUT, prefix=small_disk("128k"))
        assert said.status == 1
        assert "No space left on device" in said.err
        assert "hint: " in said.err


def test_a_reader_that_leaves_ends_it_quietly(spoiled: Bench) -> None:
    """`uv-archive ... | head -1`, with an output that is longer than a pipe holds."""
    command = f"{sys.executable} -m uv_archive download --dry-run --output-format json"
    said = spoiled.run("bash", "-c", f"set -o pipefail; {command} | true")
    assert said.status in (0, 1)
    assert "Exception" not in said.err
    assert "BrokenPipe" not in said.err


@pytest.mark.parametrize("command", ["download", "sync"])
def test_help_has_examples_and_exit_statuses(spoiled: Bench, command: str) -> None:
    said = spoiled.uv_archive(command, "--help")
    assert said.status == 0
    assert "Examples:" in said.out
    assert all(f"  {status}  " in said.out for status in (0, 1, 2))
    assert "130, 143" in said.out


def test_a_host_that_is_down_is_said_once(spoiled: Bench) -> None:
    """Not once for each of its files."""
    _unreachable(spoiled)
    before = tree(spoiled.directory)
    said = spoiled.uv_archive("download", "--frozen", "--all-extras", "--group", "more", *FRESH)
    assert said.status == 1
    assert "`127.0.0.1` can't be reached" in said.err
    assert said.err.count("Connection refused") <= 3, said.err
    assert f"`{ALPHA}`" in said.err
    assert "4 failed" in said.err
    assert {path: tree(spoiled.directory).get(path) for path in before} == before
