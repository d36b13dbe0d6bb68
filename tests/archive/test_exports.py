"""`pylock.toml` and `requirements.txt`: what uv exports, made relative, and installed from."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from packaging.pylock import Pylock as Specified
from packaging.pylock import is_valid_pylock_path
from packaging.utils import NormalizedName

from tests.archive.samples import hexdigest
from tests.distributions import make_sdist, make_wheel, sha256
from uv_archive.archive.exports import (
    Pylock,
    export_label,
    export_names,
    relative_pylock,
    requirements,
)
from uv_archive.archive.layout import ArchivePath, is_metadata, parse_path
from uv_archive.archive.manifest import Entry
from uv_archive.errors import ArchiveError
from uv_archive.selection import Include

COMMIT = "0123456789012345678901234567890123456789"


def names(*texts: str) -> tuple[NormalizedName, ...]:
    return tuple(map(NormalizedName, texts))


def described(directory: Path) -> dict[ArchivePath, Entry]:
    return {
        ArchivePath(path.relative_to(directory).as_posix()): Entry(
            size=path.stat().st_size, sha256=hexdigest(path.read_bytes())
        )
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Distributions of every kind of place, in a directory whose name needs quoting."""
    directory = tmp_path / "the archive"
    make_wheel(directory, "alpha", "1.0")
    make_sdist(directory, "alpha", "1.0")
    make_wheel(directory, "beta", "2.0+cpu", requires=["alpha"])
    make_wheel(directory / "index" / "0123abcd", "gamma", "1.0", files={"gamma.py": "first = 1"})
    make_wheel(directory / "index" / "89abcdef", "gamma", "1.0", files={"gamma.py": "other = 1"})
    make_wheel(directory, "direct", "3.0")
    make_sdist(directory, "source", "1.0")
    return directory


@pytest.fixture
def exported(archive: Path, uv: Path, tmp_path: Path) -> str:
    """What uv exports over a lock whose sources point into the archive."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    lock = _relocated_lock(archive, tmp_path / "project")
    scratch.joinpath("uv.lock").write_text(lock, encoding="utf-8")
    scratch.joinpath("pyproject.toml").write_text(
        '[project]\nname = "project"\nversion = "0"\nrequires-python = ">=3.11"\n',
        encoding="utf-8",
    )
    command = [str(uv), "export", "--quiet", "--frozen", "--offline", "--no-header"]
    done = subprocess.run(
        [*command, "--format", "pylock.toml", "--python", sys.executable, "--project", scratch],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _relocated_lock(archive: Path, project: Path) -> str:
    def table(path: Path, key: str) -> dict[str, str]:
        return {key: path.name, "hash": sha256(path)}

    def registry(name: str, version: str, index: Path) -> dict[str, object]:
        stem = f"{name}-{version}"
        found: dict[str, object] = {
            "name": name,
            "version": version,
            "source": {"registry": str(index)},
            "wheels": [table(index / f"{stem}-py3-none-any.whl", "path")],
        }
        if (index / f"{stem}.tar.gz").exists():
            found["sdist"] = table(index / f"{stem}.tar.gz", "path")
        return found

    direct, source = archive / "direct-3.0-py3-none-any.whl", archive / "source-1.0.tar.gz"
    project_package = {
        "name": "project",
        "version": "0",
        "source": {"editable": str(project)},
        "dependencies": [
            {"name": "alpha"},
            {"name": "beta", "marker": "sys_platform == 'linux'"},
            {"name": "direct"},
            {"name": "from-git"},
            {"name": "gamma", "marker": "sys_platform != 'win32'"},
            {"name": "source"},
        ],
    }
    packages = [
        registry("alpha", "1.0", archive),
        registry("beta", "2.0+cpu", archive),
        registry("gamma", "1.0", archive / "index" / "89abcdef"),
        {
            "name": "direct",
            "version": "3.0",
            "source": {"path": str(direct)},
            "wheels": [table(direct, "filename")],
        },
        {
            "name": "source",
            "version": "1.0",
            "source": {"path": str(source)},
            "sdist": {"hash": sha256(source)},
        },
        {
            "name": "from-git",
            "version": "1.0",
            "source": {
                "git": f"https://user:canary@git.example/repo?subdirectory=pkg&tag=v1#{COMMIT}"
            },
        },
        project_package,
    ]
    head = {"version": 1, "revision": 3, "requires-python": ">=3.11"}
    return tomli_w.dumps({**head, "package": packages})


def test_an_export_is_relative_and_valid(archive: Path, exported: str) -> None:
    files = described(archive)
    pylock = relative_pylock(exported, files=files)
    written = pylock.to_toml("pylock.toml").decode()
    assert archive.as_posix() not in written
    assert "file:/" not in written
    assert "canary" not in written
    read = Specified.from_dict(tomllib.loads(written))
    by_name = {package.name: package for package in read.packages}
    assert set(by_name) == {"alpha", "beta", "gamma", "direct", "source", "from-git"}
    assert pylock.left_out == ("project",)
    for package in read.packages:
        given = (package.sdist, package.archive, *(package.wheels or ()))
        for file in given:
            if file is None:
                continue
            assert file.path is not None
            entry = files[ArchivePath(file.path)]
            assert dict(file.hashes) == {"sha256": entry.sha256}
            assert file.size == entry.size
            assert file.url is None
    assert str(by_name[names("beta")[0]].marker) == 'sys_platform == "linux"'
    (gamma,) = by_name[names("gamma")[0]].wheels or ()
    assert gamma.path == "index/89abcdef/gamma-1.0-py3-none-any.whl"
    vcs = by_name[names("from-git")[0]].vcs
    assert vcs is not None
    assert (vcs.url, vcs.commit_id, vcs.subdirectory) == (
        "https://git.example/repo", COMMIT, "pkg",
    )  # fmt: skip
    assert read.created_by == "uv-archive"


def test_requirements_name_versions_hashes_and_markers(archive: Path, exported: str) -> None:
    files = described(archive)
    made = requirements(relative_pylock(exported, files=files))
    text = made.to_text("requirements.txt").decode()
    assert made.left_out == ("project", "from-git==1.0")
    lines = [line for line in text.replace("\\\n", "").splitlines() if line[:1] not in {"#", ""}]
    assert lines[0] == "--find-links index/89abcdef"
    found = {}
    for line in lines[1:]:
        head, *hashes = line.split("--hash=sha256:")
        found[head.strip()] = {value.strip() for value in hashes}
    assert found == {
        "alpha==1.0": {
            files[ArchivePath("alpha-1.0-py3-none-any.whl")].sha256,
            files[ArchivePath("alpha-1.0.tar.gz")].sha256,
        },
        "beta==2.0+cpu ; sys_platform == 'linux'": {
            files[ArchivePath("beta-2.0+cpu-py3-none-any.whl")].sha256
        },
        "gamma==1.0 ; sys_platform != 'win32'": {
            files[ArchivePath("index/89abcdef/gamma-1.0-py3-none-any.whl")].sha256
        },
        "direct==3.0": {files[ArchivePath("direct-3.0-py3-none-any.whl")].sha256},
        "source==1.0": {files[ArchivePath("source-1.0.tar.gz")].sha256},
    }


def test_what_the_archive_lacks_is_left_out(archive: Path, exported: str) -> None:
    files = described(archive)
    del files[ArchivePath("alpha-1.0.tar.gz")]
    del files[ArchivePath("direct-3.0-py3-none-any.whl")]
    pylock = relative_pylock(exported, files=files)
    packages = {p.name: p for p in Specified.from_dict(pylock.document).packages}
    assert packages[names("alpha")[0]].sdist is None
    assert "direct" not in packages
    assert "direct==3.0" in pylock.left_out


def test_a_subdirectory_of_an_sdist_is_named(archive: Path, exported: str) -> None:
    path = ArchivePath("source-1.0.tar.gz")
    pylock = relative_pylock(exported, files=described(archive), subdirectories={path: "pkg/a"})
    packages = {p.name: p for p in Specified.from_dict(pylock.document).packages}
    source = packages[names("source")[0]].archive
    assert source is not None
    assert source.subdirectory == "pkg/a"
    # pip finds no project below the top of an sdist in a directory.
    assert "source==1.0" in requirements(pylock).left_out


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("lock-version = ", id="not-TOML"),
        pytest.param("packages = 1", id="packages-a-number"),
        pytest.param("packages = [1]", id="a-package-a-number"),
        pytest.param('[[packages]]\nname = "a"\nwheels = 1', id="wheels-a-number"),
        pytest.param('[[packages]]\nname = "a"\nwheels = [{hashes = {}}]', id="no-url"),
        pytest.param('[[packages]]\nname = "a"\nvcs = 1', id="vcs-a-number"),
        pytest.param("[[packages]]\nname = 1", id="name-a-number"),
    ],
)
def test_what_uv_does_not_write_is_refused(text: str) -> None:
    with pytest.raises(ArchiveError, match="can't be used"):
        relative_pylock(text, files={})


class TestWithoutThisProgram:
    """The three ways that `README.md` gives, with no network."""

    @pytest.fixture
    def complete(self, archive: Path, exported: str) -> Path:
        pylock = relative_pylock(exported, files=described(archive))
        # Nobody can install from git here, so that part is taken out, as `README.md` says.
        document = dict(pylock.document)
        packages = document["packages"]
        assert isinstance(packages, list)
        document["packages"] = [package for package in packages if "vcs" not in package]
        without = Pylock(document=document, left_out=())
        archive.joinpath("pylock.toml").write_bytes(without.to_toml("pylock.toml"))
        made = requirements(pylock).to_text("requirements.txt")
        archive.joinpath("requirements.txt").write_bytes(made)
        return archive

    @pytest.fixture
    def environment(self, tmp_path: Path, uv: Path) -> Path:
        command = [str(uv), "venv", "--quiet", "--no-project", "--python", sys.executable]
        subprocess.run([*command, tmp_path / "env"], check=True)
        return tmp_path / "env"

    @pytest.mark.parametrize("moved", [False, True], ids=["in-place", "moved"])
    @pytest.mark.parametrize("way", ["uv-pip-sync", "pip-pylock", "pip-requirements"])
    def test_it_installs(
        self,
        complete: Path,
        environment: Path,
        no_network: tuple[str, ...],
        tool: Callable[[str], Path],
        way: str,
        *,
        moved: bool,
    ) -> None:
        directory = complete
        if moved:
            directory = complete.rename(complete.with_name("elsewhere"))
        python = environment / "bin" / "python"
        pip = [str(tool("pip")), "--python", str(python), "install", "--no-index"]
        pip += ["--find-links", ".", "--disable-pip-version-check"]
        commands = {
            "uv-pip-sync": [
                *(str(tool("uv")), "pip", "sync", "--offline", "--no-index", "--find-links", "."),
                *("--python", str(python), "pylock.toml"),
            ],
            "pip-pylock": [*pip, "-r", "pylock.toml"],
            "pip-requirements": [*pip, "--require-hashes", "-r", "requirements.txt"],
        }
        cache = {"UV_CACHE_DIR": str(environment / "cache"), "PIP_NO_CACHE_DIR": "1"}
        done = subprocess.run(
            [*no_network, *commands[way]],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(environment), **cache},
        )
        assert done.returncode == 0, done.stderr
        told = subprocess.run(
            [python, "-c", "import alpha, beta, direct, source, gamma; print(gamma.other)"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (told.returncode, told.stdout) == (0, "1\n"), told.stderr


class TestNames:
    def test_the_default_selection_has_the_plain_names(self) -> None:
        for order in permutations(["group-gpu", "", "extra-a"]):
            assert export_names(order) == {
                "": ("pylock.toml", "requirements.txt"),
                "extra-a": ("pylock.extra-a.toml", "requirements.extra-a.txt"),
                "group-gpu": ("pylock.group-gpu.toml", "requirements.group-gpu.txt"),
            }

    def test_so_has_the_only_one(self) -> None:
        assert export_names(["group-gpu"]) == {"group-gpu": ("pylock.toml", "requirements.txt")}

    @pytest.mark.parametrize(
        ("include", "expected"),
        [
            (Include(), ""),
            (Include(groups=names("gpu")), "group-gpu"),
            (Include(groups=names("gpu", "docs", "gpu")), "group-docs_group-gpu"),
            (Include(extras=names("cpu"), no_groups=names("dev")), "extra-cpu_no-group-dev"),
            (Include(all_extras=True, all_groups=True), "all-extras_all-groups"),
            (Include(packages=names("a"), no_default_groups=True), "no-default-groups_package-a"),
            (Include(dev="exclude"), "no-dev"),
        ],
    )
    def test_a_label_says_what_was_selected(self, include: Include, expected: str) -> None:
        assert export_label(include) == expected

    def test_a_member_shows(self) -> None:
        assert export_label(Include(), member=NormalizedName("part")) == "member-part"

    some = st.lists(
        st.from_regex(r"[a-z0-9]{1,12}(-[a-z0-9]{1,12}){0,3}", fullmatch=True), max_size=5
    ).map(lambda found: names(*found))

    @given(
        st.builds(Include, extras=some, groups=some, packages=some, no_groups=some),
        st.builds(Include, extras=some, groups=some, packages=some, no_groups=some),
    )
    def test_labels_tell_selections_apart_and_are_names_of_files(
        self, one: Include, other: Include
    ) -> None:
        def parts(include: Include) -> list[set[str]]:
            return [
                set(found)
                for found in (include.extras, include.groups, include.packages, include.no_groups)
            ]

        assert (export_label(one) == export_label(other)) == (parts(one) == parts(other))
        for pylock, text in export_names(["", export_label(one)]).values():
            assert is_valid_pylock_path(Path(pylock))
            assert all(is_metadata(parse_path(path)) for path in (pylock, text))
            assert not re.search(r"\s", pylock)
