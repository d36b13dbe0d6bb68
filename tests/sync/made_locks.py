"""Varied locked projects, made of tiny distributions: each number gives another mix of sources."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.distributions import make_sdist, make_wheel
from tests.e2e.bench import Bench
from tests.e2e.projects import BY_HATCHLING, write_project
from tests.git.repositories import Origin
from tests.git.server import GitServer


@dataclass(kw_only=True)
class Draft:
    """What becomes a project.

    *flags* are those of its download and of its sync, *only_sync* of the latter alone.
    """

    bench: Bench
    git: GitServer
    random: random.Random
    dependencies: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    uv: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    only_sync: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    build: str = ""

    def wheel(self, name: str, *, requires: Sequence[str] = ()) -> str:
        """Put two versions of a wheel into the index, and return a requirement of one of them."""
        for version in ("1.0", "2.0"):
            make_wheel(self.bench.index.at("main"), name, version, requires=requires)
        return f"{name}=={self.random.choice(('1.0', '2.0'))}"


def _chain(draft: Draft) -> None:
    """Wheels that need each other."""
    names = [f"link{number}" for number in range(draft.random.randint(2, 6))]
    for name, following in itertools.pairwise(names):
        draft.wheel(name, requires=[following])
    draft.wheel(names[-1])
    draft.dependencies.append(f"{names[0]}=={draft.random.choice(('1.0', '2.0'))}")


def _extra(draft: Draft) -> None:
    wanted = [draft.wheel("speed"), "gamma"]
    draft.tables.append(f"[project.optional-dependencies]\nfast = {json.dumps(wanted)}\n")
    draft.flags += draft.random.choice((["--extra", "fast"], ["--all-extras"]))


def _group(draft: Draft) -> None:
    groups = {"dev": ["delta"], "docs": [draft.wheel("paper")]}
    lines = "".join(f"{name} = {json.dumps(wanted)}\n" for name, wanted in groups.items())
    draft.tables.append(f"[dependency-groups]\n{lines}")
    draft.flags += draft.random.choice(([], ["--group", "docs"], ["--no-dev"], ["--all-groups"]))


def _fork(draft: Draft) -> None:
    draft.wheel("forked")
    here, there = draft.random.sample(("1.0", "2.0"), 2)
    draft.dependencies += [
        f"forked=={here}; sys_platform == 'linux'",
        f"forked=={there}; sys_platform != 'linux'",
    ]


def _sdist(draft: Draft) -> None:
    """An sdist whose build needs what no lock names."""
    needs = draft.random.choice((["forge"], ["forge>=1", "pluggish"], ["anvil"]))
    make_sdist(draft.bench.index.at("main"), "sourced", "1.0", build_requires=needs)
    draft.dependencies.append("sourced")


def _repository(draft: Draft) -> None:
    origin = Origin.create(draft.bench.directory / "trees", draft.git.directory, "repository")
    below = draft.random.choice((".", "packages/repository"))
    origin.package("repository", below=below)
    origin.commit(tag="v1.0")
    origin.commit("after the tag")
    at = draft.random.choice(('branch = "main"', 'tag = "v1.0"'))
    url = draft.git.url("repository.git")
    more = f', subdirectory = "{below}"' if below != "." else ""
    draft.dependencies.append("repository")
    draft.sources.append(f'repository = {{ git = "{url}", {at}{more} }}')


def _urls(draft: Draft) -> None:
    files = {"direct": "direct-1.0-py3-none-any.whl", "directsource": "directsource-1.0.tar.gz"}
    for name in draft.random.choice((["direct"], ["directsource"], ["direct", "directsource"])):
        draft.dependencies.append(name)
        url = f"{draft.bench.index.address}/files/{files[name]}"
        draft.sources.append(f'{name} = {{ url = "{url}" }}')


def _paths(draft: Draft) -> None:
    files = {
        "vendored": "vendored-1.0-py3-none-any.whl",
        "vendoredsource": "vendoredsource-1.0.tar.gz",
    }
    shutil.copytree(draft.bench.index.directory / "local", draft.bench.root / "vendor")
    for name in draft.random.choice((["vendored"], ["vendoredsource"], list(files))):
        draft.dependencies.append(name)
        draft.sources.append(f'{name} = {{ path = "vendor/{files[name]}" }}')


def _workspace(draft: Draft) -> None:
    draft.uv.append('workspace = { members = ["members/*"] }')
    draft.dependencies.append("one")
    draft.sources.append("one = { workspace = true }")
    write_project(draft.bench, '["beta==1.0"]', name="one", at="members/one")
    write_project(draft.bench, '["epsilon"]', name="two", at="members/two")
    draft.flags += draft.random.choice(([], ["--all-packages"]))


def _two_indexes(draft: Draft) -> None:
    """Extras that exclude each other, of two indexes that have a file of one name."""
    draft.tables.append(
        '[project.optional-dependencies]\ncpu = ["torchish"]\ngpu = ["torchish", "beta==1.0"]\n'
    )
    draft.uv.append('conflicts = [[{ extra = "cpu" }, { extra = "gpu" }]]')
    draft.sources.append(
        'torchish = [{ index = "main", extra = "cpu" }, { index = "other", extra = "gpu" }]'
    )
    url = draft.bench.index.simple("other")
    draft.indexes.append(f'[[tool.uv.index]]\nname = "other"\nurl = "{url}"\nexplicit = true\n')
    draft.flags += draft.random.choice((["--extra", "cpu"], ["--extra", "gpu"]))


def _built(draft: Draft) -> None:
    """The project itself is built, by a backend from the index that asks for more in a hook."""
    draft.build = BY_HATCHLING
    draft.only_sync += draft.random.choice(([], ["--no-editable"]))


Feature = Callable[[Draft], None]
FEATURES: Mapping[str, Feature] = {
    "chain": _chain,
    "extra": _extra,
    "group": _group,
    "fork": _fork,
    "sdist": _sdist,
    "git": _repository,
    "url": _urls,
    "path": _paths,
    "workspace": _workspace,
    "two indexes": _two_indexes,
    "built": _built,
}
_EXCLUDING = ("extra", "two indexes")


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeLock:
    """A locked project, what it is made of, and the flags of its download and its sync."""

    features: Sequence[str]
    download: Sequence[str]
    sync: Sequence[str]


def features_of(number: int) -> Sequence[str]:
    """Return the features of a project: two in turn, so that each occurs, and some by chance."""
    names = list(FEATURES)
    chosen = {names[number % len(names)], names[(number * 3 + 1) % len(names)]}
    chosen |= set(random.Random(number).sample(names, 4))
    if chosen.issuperset(_EXCLUDING):
        chosen.remove(_EXCLUDING[number % 2])
    return [name for name in names if name in chosen]


def make_lock(bench: Bench, git: GitServer, *, number: int) -> MadeLock:
    """Write the project of a number into a bench, and let uv lock it."""
    draft = Draft(bench=bench, git=git, random=random.Random(number))
    features = features_of(number)
    for name in features:
        FEATURES[name](draft)
    uv = ["[tool.uv]", *draft.uv] if draft.uv else []
    sources = ["[tool.uv.sources]", *draft.sources] if draft.sources else []
    more = "\n".join(("", *draft.tables, *uv, *sources, *draft.indexes, ""))
    dependencies = json.dumps(["alpha==1.0", *draft.dependencies])
    write_project(bench, dependencies, more=more, build=draft.build)
    bench.lock()
    return MadeLock(features=features, download=draft.flags, sync=[*draft.flags, *draft.only_sync])


def distributions_of(bench: Bench) -> Mapping[str, Path]:
    """Return one of the index's files of each name, locked or not."""
    found: dict[str, Path] = {}
    for path in sorted(bench.index.directory.rglob("*-*")):
        found.setdefault(path.name.partition("-")[0], path)
    return found
