"""Locks to try things on, of every kind that uv writes and of some that it only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hypothesis import strategies as st

Toml: TypeAlias = "str | int | float | bool | list[Toml] | dict[str, Toml]"
Table: TypeAlias = dict[str, Toml]

PROJECT = "proj"
_REGISTRIES = ("https://index.example/simple", "https://other.example/simple")
_NAMES = ("alpha", "beta-lib", "c3", "delta", "e-f-g", "zeta")
# uv keeps the spelling of file names that an index gives.
_SPELLINGS = {"beta-lib": ("beta_lib", "Beta.Lib"), "e-f-g": ("e_f_g", "E.F_g")}
_VERSIONS = ("1.0", "2.0", "2.1.post1", "3.0rc1", "1!4.0", "5.0+cpu")

_PLATFORMS = (
    "manylinux1_x86_64",
    "manylinux2010_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "manylinux_2_5_x86_64.manylinux1_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_34_x86_64",
    "manylinux_2_17_aarch64.manylinux2014_aarch64",
    "manylinux_2_28_aarch64",
    "manylinux_2_31_riscv64",
    "manylinux_2_17_s390x",
    "manylinux2014_ppc64le",
    "linux_x86_64",
    "linux_aarch64",
    "musllinux_1_1_x86_64",
    "musllinux_1_2_x86_64",
    "musllinux_1_2_aarch64",
    "macosx_10_9_x86_64",
    "macosx_10_9_universal2",
    "macosx_11_0_arm64",
    "macosx_11_0_universal2",
    "macosx_14_0_arm64",
    "macosx_10_13_intel",
    "macosx_10_9_x86_64.macosx_11_0_arm64.macosx_10_9_universal2",
    "win32",
    "win_amd64",
    "win_arm64",
    "android_24_arm64_v8a",
    "ios_13_0_arm64_iphoneos",
    "ios_13_0_x86_64_iphonesimulator",
    "pyodide_2024_0_wasm32",
)
_PURE = (
    "py3-none-any",
    "py2.py3-none-any",
    "py311-none-any",
    "cp312-none-any",
    "py38.py39.py310-none-any",
    "py2-none-any",
)
_BINARY = (
    *(f"cp3{minor}-cp3{minor}" for minor in range(8, 16)),
    *(f"cp3{minor}-cp3{minor}t" for minor in (13, 14, 15)),
    *(f"cp3{minor}-abi3" for minor in (6, 8, 11, 13)),
    *("cp315-abi3t", "cp315-abi3.abi3t", "cp314-abi3t", "cp311-none", "cp313-cp313d"),
    *("py3-none", "py2.py3-none", "pp310-pypy310_pp73", "pp311-pypy311_pp73"),
    *("graalpy312-graalpy250_312_native", "cp38.cp39-abi3", "cp310.cp311-none"),
)

_ATOMS = (
    *(
        f"sys_platform {op} '{name}'"
        for op in ("==", "!=")
        for name in ("linux", "win32", "darwin")
    ),
    *("sys_platform == 'android'", "sys_platform == 'ios'", "sys_platform == 'emscripten'"),
    *("'linux' in sys_platform", "sys_platform in 'linux darwin'", "sys_platform not in 'win32'"),
    *(f"platform_machine == '{m}'" for m in ("x86_64", "aarch64", "arm64", "AMD64", "x86")),
    *("platform_machine != 'x86_64'", "os_name == 'nt'", "os_name == 'posix'", "os_name != 'nt'"),
    *("platform_system == 'Linux'", "platform_system == 'Windows'", "platform_system != 'Darwin'"),
    *("platform_python_implementation == 'CPython'", "implementation_name != 'cpython'"),
    *("platform_python_implementation != 'PyPy'", "implementation_version >= '3.11'"),
    *(f"python_version {op} '3.{minor}'" for op in ("<", ">=", "==") for minor in (9, 11, 12, 14)),
    *("python_version in '3.10 3.11'", "python_version not in '3.12'", "python_version != '3.13'"),
    *("python_full_version < '3.11.3'", "python_full_version >= '3.11.3'"),
    *("python_full_version < '3.12'", "python_full_version == '3.12.*'"),
    *("python_full_version != '3.13.1'", "python_full_version == '3.12.4'"),
    *("python_full_version > '3.10.2'", "python_full_version <= '3.10.2'"),
    *("python_full_version ~= '3.12.2'", "python_full_version >= '3.14.0rc1'"),
    *("'3.12' <= python_full_version", "platform_release == ''", "platform_version != ''"),
)
_HALVES = (
    ("sys_platform == 'win32'", "sys_platform != 'win32'"),
    ("python_full_version < '3.12'", "python_full_version >= '3.12'"),
    ("python_full_version < '3.11.3'", "python_full_version >= '3.11.3'"),
    (
        "platform_machine == 'x86_64' and sys_platform == 'linux'",
        "platform_machine != 'x86_64' or sys_platform != 'linux'",
    ),
    ("implementation_name == 'cpython'", "implementation_name != 'cpython'"),
)


@st.composite
def markers(draw: st.DrawFn, *, depth: int = 2) -> str:
    """Draw a marker (PEP 508) of environment variables."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(_ATOMS))
    joint = draw(st.sampled_from(("and", "or")))
    terms = draw(st.lists(markers(depth=depth - 1), min_size=2, max_size=3))
    return f" {joint} ".join(f"({term})" if " or " in term else term for term in terms)


@st.composite
def wheel_filenames(draw: st.DrawFn, name: str, version: str) -> str:
    """Draw the file name of a wheel, in any of the spellings that indexes have."""
    spelt = draw(st.sampled_from((*_SPELLINGS.get(name, ()), name.replace("-", "_"))))
    build = draw(st.sampled_from(("", "", "", "", "-1", "-2", "-10", "-1abc", "-1b")))
    if draw(st.integers(0, 3)) == 0:
        tags = draw(st.sampled_from(_PURE))
    else:
        tags = f"{draw(st.sampled_from(_BINARY))}-{draw(st.sampled_from(_PLATFORMS))}"
    return f"{spelt.replace('.', '_')}-{version.replace('-', '_')}{build}-{tags}.whl"


@st.composite
def locks(draw: st.DrawFn) -> Table:
    """Draw a lock of a project or of a workspace, whose edges all lead to packages."""
    return _Lock(draw).document()


class _Lock:
    """Draws a lock: packages first, then what depends on them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._packages: list[Table] = []
        self._members = [PROJECT, *self._some(("member-a", "member-b"), most=2)]
        self._conflicting: list[tuple[str, str]] = []

    def document(self) -> Table:
        draw = self._draw
        names = draw(st.lists(st.sampled_from(_NAMES), min_size=3, unique=True))
        for name in names:
            self._add_packages(name)
        members = [self._member(name) for name in self._members]
        conflicts = self._conflicts(members[0])
        for package in self._packages:
            self._add_edges(package, third_party=True)
        self._packages += members
        for member in members:
            self._add_edges(member, third_party=False)
        document: Table = {"version": 1, "revision": 3, "requires-python": self._requires_python()}
        if draw(st.integers(0, 9)) == 9:
            covered = draw(st.sampled_from(_HALVES))
            document["supported-markers"] = [*covered[: draw(st.integers(1, 2))]]
        if conflicts:
            document["conflicts"] = conflicts
        if len(self._members) > 1:
            document["manifest"] = {"members": [*self._members]}
        document["package"] = [*self._packages]
        return document

    def _requires_python(self) -> str:
        return self._draw(
            st.sampled_from((">=3.8", ">=3.10", ">=3.11.2", ">=3.10, <3.14", "==3.12.*"))
        )

    def _add_packages(self, name: str) -> None:
        """Add one or several versions of a package; several are for disjoint environments."""
        draw = self._draw
        count = draw(st.sampled_from((1, 1, 2)))
        versions = draw(
            st.lists(st.sampled_from(_VERSIONS), min_size=count, max_size=count, unique=True)
        )
        halves = draw(st.sampled_from(_HALVES))
        extras = self._some(("x", "y"), most=2)
        for number, version in enumerate(versions):
            package: Table = {"name": name, "version": version}
            package |= self._files(name, version)
            if count > 1:
                package["resolution-markers"] = [halves[number]]
            if extras:
                package["optional-dependencies"] = {extra: [] for extra in extras}
            self._packages.append(package)

    def _files(self, name: str, version: str) -> Table:
        draw = self._draw
        sdist = f"{name.replace('-', '_')}-{version}.tar.gz"
        match draw(st.sampled_from(("registry",) * 15 + ("sdist", "git", "tree", "url", "path"))):
            case "url":
                url = f"https://files.example/{draw(wheel_filenames(name, version))}"
                return {"source": {"url": url}, "wheels": [{"url": url, "hash": _HASH}]}
            case "sdist":
                url = f"https://files.example/{version}/{draw(st.sampled_from((sdist, 'v1.zip')))}"
                return {"source": {"url": url}, "sdist": {"hash": _HASH}}
            case "git":
                return {"source": {"git": f"https://git.example/{name}?tag=v1#{'0' * 40}"}}
            case "path":
                wheel = draw(wheel_filenames(name, version))
                source: Toml = {"path": f"wheels/{wheel}"}
                return {"source": source, "wheels": [{"filename": wheel, "hash": _HASH}]}
            case "tree":
                kind = draw(st.sampled_from(("directory", "editable", "virtual")))
                return {"source": {kind: f"trees/{name}-{version}"}}
            case _:
                return self._registry_files(name, version, sdist)

    def _registry_files(self, name: str, version: str, sdist: str) -> Table:
        draw = self._draw
        base = f"https://files.example/{name}"
        wheels = draw(st.lists(wheel_filenames(name, version), max_size=12, unique=True))
        package: Table = {"source": {"registry": draw(st.sampled_from(_REGISTRIES))}}
        if not wheels or draw(st.integers(0, 4)):
            package["sdist"] = {"url": f"{base}/{sdist}", "hash": _HASH, "size": 10}
        if wheels:
            package["wheels"] = [{"url": f"{base}/{_quoted(w)}", "hash": _HASH} for w in wheels]
        return package

    def _member(self, name: str) -> Table:
        path = "." if name == PROJECT else f"packages/{name}"
        extras = self._some(("cpu", "gpu", "extra-1"), most=3)
        groups = self._some(("dev", "test", "docs"), most=3)
        return {
            "name": name,
            "version": "0.1",
            "source": {self._draw(st.sampled_from(("editable", "virtual"))): path},
            "optional-dependencies": {extra: [] for extra in extras},
            "dev-dependencies": {group: [] for group in groups},
            "metadata": {
                "provides-extras": [*extras],
                "requires-dev": {group: [] for group in groups},
            },
        }

    def _conflicts(self, project: Table) -> list[Toml]:
        """Let two or three extras or groups of the project conflict."""
        draw = self._draw
        items = [("extra", name) for name in _keys(project, "optional-dependencies")]
        items += [("group", name) for name in _keys(project, "dev-dependencies")]
        if len(items) < 2 or draw(st.booleans()):
            return []
        chosen = draw(st.lists(st.sampled_from(items), min_size=2, max_size=3, unique=True))
        self._conflicting = chosen
        return [[{"package": PROJECT, kind: name} for kind, name in chosen]]

    def _add_edges(self, package: Table, *, third_party: bool) -> None:
        package["dependencies"] = self._edges(3, third_party=third_party)
        for key in ("optional-dependencies", "dev-dependencies"):
            table = package.get(key)
            if isinstance(table, dict):
                package[key] = {name: self._edges(2, third_party=third_party) for name in table}

    def _edges(self, most: int, *, third_party: bool) -> list[Toml]:
        draw = self._draw
        names = sorted({str(package["name"]) for package in self._packages})
        if third_party:
            # Members are added last, and nothing that isn't one depends on them.
            names = [name for name in names if name not in self._members]
        fewest = 0 if third_party else min(1, len(names))
        edges: list[Toml] = []
        for name in draw(
            st.lists(st.sampled_from(names), min_size=fewest, max_size=most, unique=True)
        ):
            edges += self._edges_to(name)
        return edges

    def _edges_to(self, name: str) -> list[Toml]:
        draw = self._draw
        packages = [package for package in self._packages if package["name"] == name]
        extras = [*_keys(packages[0], "optional-dependencies")]
        wanted = [extra for extra in extras if draw(st.booleans())]
        edges: list[Toml] = []
        for package, condition in zip(packages, self._conditions(packages), strict=True):
            edge: Table = {"name": name}
            if len(packages) > 1:
                edge |= {"version": package["version"], "source": package["source"]}
            if wanted:
                edge["extra"] = [*wanted]
            if condition:
                edge["marker"] = condition
            edges.append(edge)
        return edges

    def _conditions(self, packages: Sequence[Mapping[str, Toml]]) -> list[str]:
        """Draw a marker for each of the versions of a package, true for at most one of them."""
        draw = self._draw
        if len(packages) == 1:
            own = draw(st.one_of(st.just(""), st.just(""), markers(), self._conflict_markers()))
            return [own]
        if draw(st.booleans()) and self._conflicting:
            first, second = (_pseudo_extra(*item) for item in self._conflicting[:2])
            return [
                f"extra == '{first}'",
                draw(
                    st.sampled_from(
                        (
                            f"extra == '{second}'",
                            f"extra != '{first}'",
                            f"extra == '{second}' or extra != '{first}'",
                            f"extra == '{second}' and extra != '{first}'",
                        )
                    )
                ),
            ]
        return [str(_list(package["resolution-markers"])[0]) for package in packages]

    def _conflict_markers(self) -> st.SearchStrategy[str]:
        if not self._conflicting:
            return markers()
        items = [_pseudo_extra(*item) for item in self._conflicting]
        atoms = [f"extra {op} '{item}'" for item in items for op in ("==", "!=")]
        plain = st.sampled_from(atoms)
        joined = st.builds(
            lambda one, other, joint: f"({one}) {joint} {other}",
            markers(depth=1),
            plain,
            st.sampled_from(("and", "or")),
        )
        return st.one_of(plain, joined)

    def _some(self, names: Sequence[str], *, most: int) -> list[str]:
        return self._draw(st.lists(st.sampled_from(names), max_size=most, unique=True))


_HASH = f"sha256:{'0' * 64}"


def _pseudo_extra(kind: str, name: str) -> str:
    return f"{kind}-{len(PROJECT)}-{PROJECT}-{name}"


def _keys(package: Table, key: str) -> list[str]:
    table = package.get(key, {})
    assert isinstance(table, dict)
    return [*table]


def _list(value: Toml) -> list[Toml]:
    assert isinstance(value, list)
    return value


def _quoted(filename: str) -> str:
    return filename.replace("+", "%2B").replace("!", "%21")


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """A version of a project, and the distributions there are of it: *wheels* by their tags."""

    name: str
    version: str
    requires: tuple[str, ...]
    extras: Mapping[str, tuple[str, ...]]
    wheels: tuple[str, ...]
    sdist: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """What to lock: `pyproject.toml` files by their directory, and what is on the index."""

    pyprojects: Mapping[str, Table]
    released: tuple[Released, ...]


@st.composite
def workspaces(draw: st.DrawFn) -> Workspace:
    """Draw a workspace; what conflicts in it wants different versions of `lib`."""
    names = _NAMES[: draw(st.integers(2, len(_NAMES)))]
    released = [
        draw(_released(name, version, names[position + 1 :]))
        for position, name in enumerate(names)
        for version in ("1.0", "2.0")
    ]
    released += [draw(_released("lib", f"{major}.0", ())) for major in range(1, 5)]
    members = draw(st.sampled_from(((), ("member-a",), ("member-a", "member-b"))))
    project = draw(_project_table(PROJECT, (*names, "lib", *members)))
    tool: Table = {"workspace": {"members": [f"packages/{member}" for member in members]}}
    if members:
        tool["sources"] = {member: {"workspace": True} for member in members}
    if draw(st.booleans()):
        first = draw(st.sampled_from((("extra", "cpu"), ("group", "test"))))
        second = draw(st.sampled_from((("extra", "gpu"), ("group", "docs"))))
        _add_conflicts(project, *first, requirement="lib<2")
        _add_conflicts(project, *second, requirement="lib>=3")
        tool["conflicts"] = [[{kind: name} for kind, name in (first, second)]]
    if draw(st.integers(0, 5)) == 5:
        tool["environments"] = ["sys_platform == 'linux'", "sys_platform == 'win32'"]
    project["tool"] = {"uv": tool}
    pyprojects = {"": project}
    for member in members:
        pyprojects[f"packages/{member}"] = draw(_project_table(member, names))
    return Workspace(pyprojects=pyprojects, released=tuple(released))


@st.composite
def _released(draw: st.DrawFn, name: str, version: str, others: Sequence[str]) -> Released:
    binary = st.builds("{}-{}".format, st.sampled_from(_BINARY), st.sampled_from(_PLATFORMS))
    wheels = draw(st.lists(binary, max_size=10, unique=True))
    pure = draw(st.integers(0, 2)) > 0
    requires = tuple(draw(st.lists(_requirements(others), max_size=2))) if others else ()
    return Released(
        name=name,
        version=version,
        requires=requires,
        extras={"x": tuple(draw(st.lists(_requirements(others), max_size=1)))} if others else {},
        wheels=(*wheels, *(("py3-none-any",) if pure else ())),
        sdist=draw(st.integers(0, 3)) > 0 or not (wheels or pure),
    )


@st.composite
def _requirements(draw: st.DrawFn, names: Sequence[str]) -> str:
    name = draw(st.sampled_from(names))
    extra = draw(st.sampled_from(("", "", "[x]"))) if name in _NAMES[:-1] else ""
    specifier = draw(st.sampled_from(("", "", "", "<2", ">=2"))) if name in _NAMES else ""
    marker = draw(st.one_of(st.just(""), markers(depth=1)))
    return f"{name}{extra}{specifier}{f' ; {marker}' if marker else ''}"


@st.composite
def _project_table(draw: st.DrawFn, name: str, names: Sequence[str]) -> Table:
    def some() -> list[Toml]:
        return [*draw(st.lists(_requirements(names), max_size=3))]

    document: Table = {
        "project": {
            "name": name,
            "version": "0.1",
            "requires-python": ">=3.10",
            "dependencies": some(),
            "optional-dependencies": {"cpu": some(), "gpu": some()},
        },
        "dependency-groups": {"dev": some(), "test": some(), "docs": some()},
    }
    return document


def _add_conflicts(project: Table, kind: str, name: str, *, requirement: str = "lib") -> None:
    table = project["project"] if kind == "extra" else project["dependency-groups"]
    assert isinstance(table, dict)
    if kind == "extra":
        inner = table["optional-dependencies"]
        assert isinstance(inner, dict)
        table = inner
    requirements = table[name]
    assert isinstance(requirements, list)
    requirements.append(requirement)
