"""`README.md`: how to install from an archive, for whoever finds it years later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from uv_archive.archive.layout import GIT, INSTALL, TOOLS, ArchivePath, is_tool
from uv_archive.archive.manifest import BuildRequirement, BuiltFrom, Entry, Locked

_FLAGS = (
    "Flags that stand in brackets above were asked for beside these; give them here, too.",
    "",
)
_UNITS = ("KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportNames:
    """A selection's exports, and the packages that neither pip nor uv can install from them."""

    label: str
    pylock: ArchivePath
    requirements: ArchivePath
    left_out_of_pylock: tuple[str, ...]
    left_out_of_requirements: tuple[str, ...]


def readme(
    *,
    project: str,
    lock: ArchivePath,
    files: Mapping[ArchivePath, Entry],
    coverage: Sequence[str],
    exports: Sequence[ExportNames],
) -> bytes:
    """Write it. *coverage* says in words for which Pythons and platforms, a line each."""
    parts = [
        _introduction(project, lock, files, coverage),
        _with_this_program(lock, files, coverage),
        *([_without_it(files, exports)] if exports else []),
        _CHECK,
        _contents(lock, files, exports),
    ]
    return "\n".join(parts).encode()


def size_text(size: int) -> str:
    """Write a number of bytes for people: `1.9 GiB`."""
    if size < 1024:
        return "1 byte" if size == 1 else f"{size} bytes"
    value, units = size / 1024, list(_UNITS)
    while value >= 1023.95 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}"


def _introduction(
    project: str,
    lock: ArchivePath,
    files: Mapping[ArchivePath, Entry],
    coverage: Sequence[str],
) -> str:
    ours = [
        entry
        for path, entry in files.items()
        if entry.origin and not _is_bundle(path) and not is_tool(path)
    ]
    total = size_text(sum(entry.size for entry in ours))
    lines = [
        f"# The dependencies of `{project}`",
        "",
        f"This directory has {_count(len(ours), 'distribution')} ({total}): wheels and source",
        "distributions of Python packages, as the project's lock names them, and what is needed to",
        f"build those that have to be built. The lock itself is in `{lock}`. With these files the",
        "project can be installed without a network.",
        "",
    ]
    if coverage:
        lines += ["They are for:", "", *(f"* {line}" for line in sorted(set(coverage))), ""]
    return "\n".join(lines)


def _with_this_program(
    lock: ArchivePath, files: Mapping[ArchivePath, Entry], coverage: Sequence[str]
) -> str:
    where, flags = _what_is_installed(lock)
    lines = [
        "## Install the whole project with uv-archive",
        "",
        f"{where}, with `DIR` for this directory:",
        "",
        f"    uv-archive sync{flags} --dist-archive DIR",
        "",
        *(_FLAGS if any("(--" in line for line in coverage) else ()),
        "This is the way that checks every file against the project's own lock, and installs the",
        "project itself and everything from git, too. It needs the Python that the project asks",
        "for, and the programs `uv` and `uv-archive`.",
    ]
    if any(entry.is_tool for entry in files.values()):
        lines += [
            "",
            "Where these two are missing, any Python from 3.8 on does the same with those in",
            f"`{TOOLS}/`, after checking them, and takes the same flags. uv-archive itself needs",
            "Python 3.11 or later:",
            "",
            f"    python3 DIR/{INSTALL}{flags}",
        ]
    return "\n".join([*lines, ""])


def _what_is_installed(lock: ArchivePath) -> tuple[str, str]:
    """Say where to be, and with which flags: the lock's name tells what it is of."""
    name = lock.rpartition("/")[2]
    if name == "uv.lock":
        return "In the project's directory, where `pyproject.toml` is", ""
    if name.endswith(".lock"):
        script = name.removesuffix(".lock")
        return f"Where `{script}` is", f" --script {script}"
    return f"Where `{name}` is", f" --pylock {name}"


def _without_it(files: Mapping[ArchivePath, Entry], exports: Sequence[ExportNames]) -> str:
    plain = exports[0]
    lines = [
        "## Install without uv-archive",
        "",
        "In this directory, into a virtual environment, each of these alone does it:",
        "",
        f"    uv pip sync --offline --no-index --find-links . {plain.pylock}",
        f"    pip install --no-index --find-links . -r {plain.pylock}",
        f"    pip install --no-index --find-links . --require-hashes -r {plain.requirements}",
        "",
        "uv is told by `--python` or `VIRTUAL_ENV` which environment; `uv pip sync` also removes",
        "what else is in it. The second command needs pip 26.1, the third pip 24.0.",
        "",
        "They leave out the project itself and every other source tree beside it; afterwards",
        "`pip install --no-index --no-deps --no-build-isolation PROJECT` adds it, once its build",
        "backend is installed.",
        *_project(files),
        *_left_out(exports),
        *_index(files),
        *_sdists(files),
    ]
    if len(exports) > 1:
        lines += [
            "",
            "Other selections of extras, groups and packages have files of their own:",
            "",
            *(f"* `{e.pylock}` and `{e.requirements}`" for e in exports[1:]),
        ]
    return "\n".join([*lines, ""])


def _project(files: Mapping[ArchivePath, Entry]) -> Iterable[str]:
    wheels = [path for path, entry in files.items() if _is_of_project(entry)]
    if wheels:
        yield ""
        yield "Wheels of the project's own source trees are here as well. Where there is no source,"
        yield "one of these installs them afterwards:"
        yield ""
        yield f"    uv pip install --offline --no-index --no-deps {' '.join(sorted(wheels))}"
        yield f"    pip install --no-index --no-deps {' '.join(sorted(wheels))}"


def _is_of_project(entry: Entry) -> bool:
    whys = entry.origin.why if entry.origin else ()
    return any(isinstance(why, BuiltFrom) and why.tree is not None for why in whys)


def _left_out(exports: Sequence[ExportNames]) -> Iterable[str]:
    from_git = sorted({name for e in exports for name in e.left_out_of_requirements})
    from_git = [n for n in from_git if all(n not in e.left_out_of_pylock for e in exports)]
    if not from_git:
        return
    yield "They also leave out what comes from git, or lies in a subdirectory of a source"
    yield "distribution:"
    yield ""
    yield from (f"* {name}" for name in from_git)
    yield ""
    yield "`uv-archive sync` installs it. Remove it from a copy of `pylock.toml` if an installer"
    yield "stumbles over it there."


def _index(files: Mapping[ArchivePath, Entry]) -> Iterable[str]:
    if any(path.startswith("index/") for path in files):
        yield ""
        yield "Files in `index/` have the same name as others with different content, so they lie"
        yield "apart. The files above name them where they are; an installer that is called in"
        yield "another way has to be given their directories by `--find-links`, too."


def _sdists(files: Mapping[ArchivePath, Entry]) -> Iterable[str]:
    sdists = [
        path
        for path, entry in files.items()
        if _has(entry, Locked) and not _is_bundle(path) and not path.endswith(".whl")
    ]
    if sdists:
        yield ""
        one = len(sdists) == 1
        yield f"{len(sdists):,} {'file here is a' if one else 'files here are'} source " + (
            "distribution." if one else "distributions."
        )
        yield "An installer builds what has no wheel for the machine, which may need a compiler."


_CHECK = """\
## Check that nothing was damaged

    sha256sum -c SHA256SUMS

That finds damage, but not somebody who changed the sums together with the files. Against that,
compare the sha256 of `uv-archive.json` with the digest that was printed when the archive was
made, or give that digest to `uv-archive sync --expect`.
"""


def _contents(
    lock: ArchivePath, files: Mapping[ArchivePath, Entry], exports: Sequence[ExportNames]
) -> str:
    entries = files.items()
    reasons = [
        (_number(entries, Locked), "that the lock names"),
        (_number(entries, BuildRequirement), "to build others with"),
        (_number(entries, BuiltFrom), "that were built here beforehand"),
    ]
    counted = ", ".join(f"{number} {reason}" for number, reason in reasons if number)
    rows = [("`*.whl`, `*.tar.gz`, `*.zip`", f"distributions: {counted or 'none'}")]
    if any(path.startswith("index/") for path in files):
        rows.append(("`index/`", "those whose name others have as well"))
    if any(_is_bundle(path) for path in files):
        rows.append((f"`{GIT}/`", "git repositories with their history, for `git clone`"))
    if any(path.endswith(".lfs.tar") for path in files):
        rows.append((f"`{GIT}/*.lfs.tar`", "what git LFS keeps for them, for `.git/lfs/objects`"))
    if any(entry.is_tool for entry in files.values()):
        rows.append((f"`{TOOLS}/`", "uv and uv-archive, to install with"))
        rows.append((f"`{INSTALL}`", "installs with these"))
    rows += [
        (f"`{lock}`", "the lock, without the credentials that URLs may have had"),
        *((f"`{e.pylock}`", "a selection with hashes and markers (PEP 751)") for e in exports),
        *((f"`{e.requirements}`", "the same for pip") for e in exports),
        ("`SHA256SUMS`", "a digest for each file above"),
        ("`uv-archive.json`", "for each file what it is, where from and why (format 1)"),
    ]
    lines = ["## What is here", "", "| file | content |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {what} |" for name, what in rows), ""])


def _number(entries: Iterable[tuple[ArchivePath, Entry]], kind: type[object]) -> int:
    return sum(_has(entry, kind) and not _is_bundle(path) for path, entry in entries)


def _has(entry: Entry, kind: type[object]) -> bool:
    return entry.origin is not None and any(isinstance(why, kind) for why in entry.origin.why)


def _is_bundle(path: ArchivePath) -> bool:
    return path.startswith(f"{GIT}/")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
