"""Projects of distributions that people use, from the index that this machine has.

Git repositories and a second index are served on the loopback interface, but what is in them is
built by real backends.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.distributions import make_wheel
from tests.e2e.bare import pythons
from tests.e2e.bench import Bench
from tests.git.repositories import Origin
from tests.git.server import GitServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "workflow"
_HATCHLING = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


@dataclass(kw_only=True)
class Site(Bench):
    """A bench whose index is real, with a git server and an index of its own beside it."""

    git: GitServer

    def origin(self, name: str) -> Origin:
        """Make a repository that the git server has."""
        return Origin.create(self.directory / "trees", self.git.directory, name)


#: The flags of a `uv sync`, and a line of Python that has to run in the environment.
Installs = Mapping[tuple[str, ...], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A project, the flags of the one download, and what is installed from its archive.

    *write* may say more of what is installed, where that depends on the machine. What isn't for
    *everyday* is left to the full count.
    """

    name: str
    write: Callable[[Site], Installs | None]
    installs: Installs
    download: Sequence[str] = ()
    everyday: bool = True


def write_project(
    site: Site, dependencies: Sequence[str], more: str = "", *, name: str = "app", at: str = "."
) -> None:
    """Write a project that hatchling builds. *more* is TOML."""
    lines = [f'name = "{name}"', 'version = "1.0"', 'requires-python = ">=3.11"']
    head = "\n".join(("[project]", *lines, f"dependencies = {list(dependencies)}", ""))
    site.write(f"{at}/pyproject.toml", head + more + _HATCHLING)
    site.write(f"{at}/src/{name}/__init__.py", "")


def version_is(name: str, version: str) -> str:
    return f"from importlib.metadata import version; assert version({name!r}) == {version!r}"


def _by_branch(site: Site) -> str:
    """A version that counts the commits since a tag, by hatch-vcs."""
    origin = site.origin("branched")
    origin.write(
        "pyproject.toml",
        '[project]\nname = "branched"\ndynamic = ["version"]\ndependencies = ["idna"]\n'
        '[tool.hatch.version]\nsource = "vcs"\n'
        '[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n'
        'build-backend = "hatchling.build"\n',
    )
    origin.write("branched/__init__.py", "")
    origin.commit(tag="v1.0")
    origin.commit("after the tag")
    return f'branched = {{ git = "{site.git.url("branched.git")}", branch = "main" }}'


def _by_tag(site: Site) -> str:
    """A version that is a tag, by setuptools-scm, and not the newest one."""
    origin = site.origin("tagged")
    origin.write(
        "pyproject.toml",
        '[project]\nname = "tagged"\ndynamic = ["version"]\n'
        "[tool.setuptools_scm]\n"
        '[build-system]\nrequires = ["setuptools", "setuptools-scm"]\n'
        'build-backend = "setuptools.build_meta"\n',
    )
    origin.write("tagged/__init__.py", "")
    origin.commit(tag="v2.1")
    origin.commit(tag="v2.2")
    return f'tagged = {{ git = "{site.git.url("tagged.git")}", tag = "v2.1" }}'


def _by_commit(site: Site) -> str:
    origin = site.origin("pinned")
    origin.write(
        "pyproject.toml",
        '[project]\nname = "pinned"\nversion = "3.0"\ndescription = "one of two commits"\n'
        '[build-system]\nrequires = ["flit_core >=3.2,<4"]\n'
        'build-backend = "flit_core.buildapi"\n',
    )
    origin.write("pinned/__init__.py", "WHICH = 1\n")
    commit = origin.commit()
    origin.write("pinned/__init__.py", "WHICH = 2\n")
    origin.commit()
    return f'pinned = {{ git = "{site.git.url("pinned.git")}", rev = "{commit}" }}'


def _subdirectory(site: Site) -> str:
    origin = site.origin("many")
    origin.write(
        "packages/nested/pyproject.toml",
        '[project]\nname = "nested"\nversion = "4.0"\n' + _HATCHLING,
    )
    origin.write("packages/nested/nested/__init__.py", "")
    origin.commit()
    return (
        f'nested = {{ git = "{site.git.url("many.git")}", branch = "main", '
        'subdirectory = "packages/nested" }'
    )


def _submodule(site: Site) -> str:
    inner = site.origin("inner")
    inner.write("data.txt", "of the submodule\n")
    commit = inner.commit()
    origin = site.origin("outer")
    origin.write(
        "pyproject.toml",
        '[project]\nname = "outer"\nversion = "5.0"\n'
        '[tool.setuptools.package-data]\nouter = ["inner/*.txt"]\n'
        '[tool.setuptools]\npackages = ["outer"]\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
    )
    origin.write("outer/__init__.py", "")
    origin.submodule("outer/inner", "../inner.git", commit)
    origin.commit()
    return f'outer = {{ git = "{site.git.url("outer.git")}", branch = "main" }}'


_GIT: Mapping[str, tuple[Callable[[Site], str], str, str]] = {
    "git-by-branch": (_by_branch, "branched", "import branched, idna"),
    "git-by-tag": (_by_tag, "tagged", version_is("tagged", "2.1")),
    "git-by-commit": (_by_commit, "pinned", "import pinned; assert pinned.WHICH == 1"),
    "git-subdirectory": (_subdirectory, "nested", version_is("nested", "4.0")),
    "git-submodule": (
        _submodule,
        "outer",
        "import pathlib, outer; assert pathlib.Path(*outer.__path__, 'inner/data.txt').is_file()",
    ),
}


def _git_case(names: Sequence[str], *, name: str, everyday: bool) -> Case:
    def write(site: Site) -> None:
        sources = "\n".join(_GIT[one][0](site) for one in names)
        dependencies = [_GIT[one][1] for one in names]
        write_project(site, dependencies, f"[tool.uv.sources]\n{sources}\n")

    program = "; ".join(_GIT[one][2] for one in names)
    return Case(name=name, write=write, installs={(): program}, everyday=everyday)


def _direct_urls(site: Site) -> None:
    """A wheel and an sdist by the URLs that a lock of them has."""
    write_project(site, ["idna", "docopt==0.6.2"])
    site.lock()
    lock = tomllib.loads((site.root / "uv.lock").read_text())
    found = {package["name"]: package for package in lock["package"]}
    wheel, sdist = found["idna"]["wheels"][0]["url"], found["docopt"]["sdist"]["url"]
    (site.root / "uv.lock").unlink()
    sources = f'idna = {{ url = "{wheel}" }}\ndocopt = {{ url = "{sdist}" }}\n'
    write_project(site, ["idna", "docopt"], f"[tool.uv.sources]\n{sources}")


# Interpreters of this machine that the projects here may be installed for.
_NEW = {version: path for version, path in pythons().items() if version >= (3, 11)}


def _versions(site: Site) -> Installs:
    """Several versions of one name, chosen by Python and by platform."""
    write_project(
        site,
        [
            "idna==3.7; sys_platform == 'linux'",
            "idna==3.10; sys_platform != 'linux'",
            "six==1.16.0; python_version < '3.12'",
            "six==1.17.0; python_version >= '3.12'",
        ],
    )
    expected = {True: version_is("six", "1.16.0"), False: version_is("six", "1.17.0")}
    return {("-p", str(path)): expected[version < (3, 12)] for version, path in _NEW.items()}


def _two_indexes(site: Site) -> None:
    """Two indexes that have a file of one name, with other bytes."""
    files = {"idna/__init__.py": 'INDEX = "ours"\n'}
    make_wheel(site.index.at("ours"), "idna", "3.10", files=files)
    write_project(
        site,
        [],
        f"""
[project.optional-dependencies]
theirs = ["idna==3.10"]
ours = ["idna==3.10"]

[tool.uv]
conflicts = [[{{ extra = "theirs" }}, {{ extra = "ours" }}]]

[tool.uv.sources]
idna = {{ index = "ours", extra = "ours" }}

[[tool.uv.index]]
name = "ours"
url = "{site.index.simple("ours")}"
explicit = true
""",
    )


def _conflicting(table: str, kind: str) -> Callable[[Site], None]:
    def write(site: Site) -> None:
        write_project(
            site,
            [],
            f"""
[{table}]
old = ["markupsafe==2.1.5"]
new = ["markupsafe==3.0.2"]

[tool.uv]
conflicts = [[{{ {kind} = "old" }}, {{ {kind} = "new" }}]]
""",
        )

    return write


def _conflicts(kind: str) -> Installs:
    return {
        (f"--{kind}", "old"): version_is("markupsafe", "2.1.5"),
        (f"--{kind}", "new"): version_is("markupsafe", "3.0.2"),
    }


def _workspace(site: Site) -> None:
    """Three members that need each other."""
    workspace = '[tool.uv.workspace]\nmembers = ["members/*"]\n'
    sources = "[tool.uv.sources]\nmiddle = { workspace = true }\nbottom = { workspace = true }\n"
    write_project(site, ["middle", "click"], workspace + sources)
    write_project(site, ["bottom", "pyyaml"], name="middle", at="members/middle")
    write_project(site, ["docopt==0.6.2"], name="bottom", at="members/bottom")


def _example(site: Site) -> None:
    site.root.rmdir()
    ignored = shutil.ignore_patterns(".venv", "dist", "uv.lock", "plot.png", "__pycache__")
    shutil.copytree(EXAMPLE, site.root, ignore=ignored)


CASES = (
    _git_case(list(_GIT), name="git", everyday=True),
    *(_git_case([name], name=name, everyday=False) for name in _GIT),
    Case(name="direct-urls", write=_direct_urls, installs={(): "import idna, docopt, app"}),
    Case(
        name="several-versions",
        write=_versions,
        download=[part for path in _NEW.values() for part in ("-p", str(path))],
        installs={},
        everyday=False,
    ),
    Case(
        name="two-indexes",
        write=_two_indexes,
        download=["--all-extras"],
        installs={
            ("--extra", "ours"): "import idna; assert idna.INDEX == 'ours'",
            ("--extra", "theirs"): "import idna; assert idna.encode",
        },
    ),
    Case(
        name="conflicting-extras",
        write=_conflicting("project.optional-dependencies", "extra"),
        download=["--all-extras"],
        installs=_conflicts("extra"),
        everyday=False,
    ),
    Case(
        name="conflicting-groups",
        write=_conflicting("dependency-groups", "group"),
        download=["--all-groups", "--python-platform", "linux", "--python-platform", "windows"],
        installs=_conflicts("group"),
        everyday=False,
    ),
    Case(
        name="workspace",
        write=_workspace,
        download=["--all-packages"],
        installs={
            (): "import app, middle, bottom, click, yaml, docopt",
            ("--package", "bottom"): "import bottom, docopt",
            ("--all-packages",): "import app, middle, bottom",
        },
        everyday=False,
    ),
    Case(
        name="example",
        write=_example,
        installs={
            (): "import sys, workflow.main; sys.argv[1:] = ['--output=plot.png']; "
            "workflow.main.main()"
        },
    ),
)
