"""`uv-archive.json`: what an archive says of itself, format 1.

Specification: `docs/reference/archive-format.md`; schema: `uv-archive.schema.json`, beside
this module.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from io import BytesIO
from json.encoder import encode_basestring
from typing import Literal, NoReturn, TypeAlias, assert_never

from packaging.utils import NormalizedName, canonicalize_name, is_normalized_name
from packaging.version import InvalidVersion, Version

from uv_archive.archive.layout import (
    GIT,
    MANIFEST,
    ArchivePath,
    check_twins,
    is_metadata,
    parse_path,
)
from uv_archive.errors import ArchiveError
from uv_archive.filenames import parse_sdist, parse_wheel

FORMAT_VERSION = 1
#: What stands for a target where requirements were resolved for no platform in particular.
EVERYWHERE = "all platforms"
#: Bytes. An archive of 1,700 files has less than one megabyte of metadata.
LARGEST = 100 * 1024 * 1024

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"
JSONObject: TypeAlias = Mapping[str, JSON]

Found = Literal["static", "table", "hook", "setting", "dependency"]
"""How a build requirement was found out.

It is written down, known of the backend, asked of the backend, or a setting of the project; or
another build requirement depends on it.
"""

_FOUND: Mapping[str, Found] = {
    "static": "static",
    "table": "table",
    "hook": "hook",
    "setting": "setting",
    "dependency": "dependency",
}
_LARGEST_SIZE = 2**63 - 1
_SCALARS = json.JSONEncoder(allow_nan=False)
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Only a key of the document itself is indented by two spaces.
_CHECKSUM = re.compile(rb'^  "checksum": "([0-9a-f]{64})",\n', re.MULTILINE)
_REBUILD = (
    "Copy the archive again, or have it made anew from the files that are there with `uv-archive "
    "download --verify`"
)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# Control characters, those that turn the direction of writing, and halves of surrogate pairs.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """The lock names the file, and some request needs it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRequirement:
    """Building something needs the file.

    *of* is the package that is built, such as `docopt==0.6.2`, or a source tree's name.
    *requested* is the requirement of its that led to the file, itself or by way of others.
    *targets* are the labels of the targets that it was resolved for; for all platforms that is
    `EVERYWHERE`, after `3.12 on ` where only that Python was asked for. Only there a *marker*
    (PEP 508) may say where the file is needed.
    """

    of: str
    requested: str
    found: Found
    targets: tuple[str, ...] = ()
    marker: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltFrom:
    """The file is a wheel that was built from a source: one of *sha256*, *commit* and *tree*.

    They are the digest of an sdist, a commit of a git source, and the path of a source tree of
    the project; *subdirectory* is where in it the built project is. *by* are the names of the
    files that it was built with, and their sha256; *settings* is a digest of what uv's settings say
    of the build, missing where they say nothing. *python* (`cp312`) and *platform* (a PEP 425
    platform tag, such as `manylinux_2_36_x86_64`) are those of the interpreter.
    """

    sha256: str | None = None
    commit: str | None = None
    tree: str | None = None
    subdirectory: str | None = None
    by: tuple[tuple[str, str], ...] = ()
    settings: str | None = None
    python: str | None = None
    platform: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """The file is there to install with, such as uv's own wheel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmoduleOf:
    """The file is a bundle that the bundle at *path* has for a submodule."""

    path: ArchivePath


Why = Locked | BuildRequirement | BuiltFrom | Tool | SubmoduleOf


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a distribution or a git bundle is, and why it is there.

    *source* is public: a URL without credentials and query string, or a relative path.
    *commit* is a bundle's. *vouched* tells whether the lock's own secure digest agreed with
    the bytes. With no *why*, the file is left over from an earlier request.
    """

    name: NormalizedName
    version: str | None
    source: str
    why: tuple[Why, ...]
    vouched: bool
    commit: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file of the archive. *size* is in bytes, *origin* is missing for metadata."""

    size: int
    sha256: str
    origin: Origin | None = None

    @property
    def is_tool(self) -> bool:
        """Whether it is there to install with."""
        return self.origin is not None and any(isinstance(why, Tool) for why in self.origin.why)


@dataclass(frozen=True, kw_only=True, slots=True)
class LockRecord:
    """The lock an archive was made for: where its copy lies, and the digest of the original."""

    path: ArchivePath
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What `uv-archive.json` says.

    *requests* are what `download` was asked for, in its own words: JSON objects, sorted and each
    there once. *files* has every file of the archive but `uv-archive.json`. *builds* is what was
    asked about builds, with the answers: with it, a later `download` asks nobody again.
    """

    project: str
    lock: LockRecord
    requests: tuple[JSONObject, ...]
    files: Mapping[ArchivePath, Entry]
    builds: JSONObject = field(default_factory=dict)
    # The digest of the bytes that were read. They may have keys that this program doesn't know.
    read_digest: str | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> bytes:
        """Return the canonical form: equal manifests give equal bytes, in any order made."""
        return _sealed(self._pieces())

    def _pieces(self) -> Iterator[str]:
        """Yield the canonical form without its checksum, which belongs after the first piece."""
        document: JSONObject = {
            "format-version": FORMAT_VERSION,
            "project": self.project,
            "lock": {"path": self.lock.path, "sha256": self.lock.sha256},
            "requests": canonical_requests(self.requests),
            "files": {},
            "builds": self.builds,
        }
        # Only a key of the document itself is indented by two spaces.
        before, files, after = _indented(document).partition('\n  "files": {')
        yield f"{before}\n"
        yield files.removeprefix("\n")
        margin = ""
        for path in sorted(self.files):
            entry = _indented(_entry_to_json(self.files[path]), margin="\n    ")
            yield f"{margin}\n    {encode_basestring(path)}: {entry}"
            margin = ","
        yield f"\n  {after}\n" if self.files else f"{after}\n"

    @property
    def digest(self) -> str:
        """The archive's digest: the sha256 of `uv-archive.json`, in hexadecimal."""
        return self.read_digest or hashlib.sha256(self.to_json()).hexdigest()

    @property
    def distributions(self) -> Mapping[ArchivePath, tuple[Entry, Origin]]:
        """The files that aren't metadata, bundles included."""
        return {path: (entry, entry.origin) for path, entry in self.files.items() if entry.origin}


def is_as_written(content: bytes) -> bool:
    """Whether a manifest's bytes agree with their own checksum: shows damage, not forgery."""
    found = _CHECKSUM.search(content)
    if found is None:
        return False
    rest = content[: found.start()] + content[found.end() :]
    return hashlib.sha256(rest).hexdigest().encode() == found[1]


def _indented(value: JSON, margin: str = "\n") -> str:
    """Write JSON as `json.dumps` does with an indent of two spaces and sorted keys.

    *margin* is what a line at the level of *value* begins with.
    """
    inner = f"{margin}  "
    match value:
        case str():
            return encode_basestring(value)
        case Mapping() if value:
            items = (f"{encode_basestring(k)}: {_indented(value[k], inner)}" for k in sorted(value))
            return f"{{{inner}{f',{inner}'.join(items)}{margin}}}"
        case Sequence() if value:
            return f"[{inner}{f',{inner}'.join(_indented(one, inner) for one in value)}{margin}]"
        case _:
            return _SCALARS.encode(value)


def _sealed(pieces: Iterable[str]) -> bytes:
    """Join *pieces*, and add the line that has the digest of them all after the first.

    One at a time, since all together they are some megabytes, twice.
    """
    digest, written, place = hashlib.sha256(), BytesIO(), 0
    for piece in pieces:
        content = piece.encode()
        digest.update(content)
        written.write(content)
        if not place:
            place = written.tell()
            written.write(_checksum_line("0" * 64))
    written.seek(place)
    written.write(_checksum_line(digest.hexdigest()))
    return written.getvalue()


def _checksum_line(digest: str) -> bytes:
    return f'  "checksum": "{digest}",\n'.encode()


def canonical_requests(requests: Iterable[JSONObject]) -> tuple[JSONObject, ...]:
    """Return each request once, in an order that doesn't depend on the one given."""
    requests = tuple(requests)
    if len(requests) < 2:
        return requests
    written = {
        json.dumps(request, ensure_ascii=False, allow_nan=False, sort_keys=True): request
        for request in requests
    }
    return tuple(written[text] for text in sorted(written))


def from_json(content: bytes) -> Manifest:
    """Read a manifest. Keys that aren't known are passed over.

    Raises `ArchiveError`, whose message names the place, for anything that format 1 doesn't
    allow: another version, wrong types, a path that leaves the archive.
    """
    if len(content) > LARGEST:
        raise ArchiveError(f"`{MANIFEST}` is larger than {LARGEST // 2**20} MiB")
    try:
        value: object = json.loads(
            content.decode(),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ArchiveError(
            f"`{MANIFEST}` isn't JSON that can be read: {_printable(reason)}",
            hint=_REBUILD,
        ) from error
    document = _Object(value, "")
    version = document.integer("format-version")
    if version != FORMAT_VERSION:
        raise ArchiveError(
            f"The archive has format {version}, and this program reads {FORMAT_VERSION}",
            hint="Look for a newer uv-archive",
        )
    if _CHECKSUM.search(content) and not is_as_written(content):
        raise ArchiveError(
            f"`{MANIFEST}` isn't what was written: its checksum is another one", hint=_REBUILD
        )
    files = document.table("files")
    lock = document.table("lock")
    manifest = Manifest(
        project=document.text("project"),
        lock=LockRecord(
            path=lock.parsed("path", parse_path), sha256=lock.matched("sha256", _SHA256)
        ),
        requests=canonical_requests(document.requests("requests")),
        files={_path(files, key): _entry(files, key) for key in files.keys()},
        builds=_json_object(document.value("builds"), "builds") if "builds" in document else {},
        read_digest=hashlib.sha256(content).hexdigest(),
    )
    try:
        check_twins((MANIFEST, *manifest.files))
    except ValueError as error:
        raise files.fail_here(str(error)) from error
    if manifest.lock.path not in manifest.files:
        raise lock.fail("path", "the lock's copy isn't among the files")
    return manifest


def schema() -> bytes:
    """Return the JSON Schema of `uv-archive.json`."""
    return resources.files(__package__).joinpath("uv-archive.schema.json").read_bytes()


def _entry_to_json(entry: Entry) -> JSONObject:
    written: dict[str, JSON] = {"size": entry.size, "sha256": entry.sha256}
    match entry.origin:
        case None:
            return written
        case Origin() as origin:
            written |= {
                "name": origin.name,
                "source": origin.source,
                "vouched": origin.vouched,
                "why": canonical_requests(map(_why_to_json, _merged(origin.why))),
            }
            if origin.version is not None:
                written["version"] = origin.version
            if origin.commit is not None:
                written["commit"] = origin.commit
            return written


def _merged(whys: Iterable[Why]) -> list[Why]:
    """Make one reason of those that differ only in their targets."""
    others: list[Why] = []
    targets: defaultdict[BuildRequirement, set[str]] = defaultdict(set)
    for why in whys:
        match why:
            case BuildRequirement():
                targets[replace(why, targets=())].update(why.targets)
            case _:
                others.append(why)
    return others + [replace(why, targets=tuple(sorted(labels))) for why, labels in targets.items()]


def _why_to_json(why: Why) -> JSONObject:
    match why:
        case Locked():
            return {"kind": "locked"}
        case BuildRequirement(of=of, requested=requested, found=found, targets=targets):
            marker: JSONObject = {} if why.marker is None else {"marker": why.marker}
            return {
                "kind": "build requirement",
                "of": of,
                "requested": requested,
                "found": found,
                "targets": targets,
                **marker,
            }
        case BuiltFrom():
            texts = ("sha256", "commit", "tree", "subdirectory", "settings", "python", "platform")
            said = {key: value for key in texts if (value := getattr(why, key)) is not None}
            return {"kind": "built from", **said, **({"by": dict(why.by)} if why.by else {})}
        case Tool():
            return {"kind": "tool"}
        case SubmoduleOf(path=path):
            return {"kind": "submodule", "of": path}
        case _:
            assert_never(why)


class _Object:
    """A JSON object and the key path that leads to it. Every method raises `ArchiveError`."""

    def __init__(self, value: object, place: str) -> None:
        self._place = place
        if not isinstance(value, dict):
            raise self.fail_here("expected an object")
        self._value: Mapping[str, object] = value

    def keys(self) -> Collection[str]:
        return self._value.keys()

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def place_of(self, key: str) -> str:
        return (
            f"{self._place}[{json.dumps(key)}]"
            if self._place == "files"
            else (f"{self._place}.{key}" if self._place else key)
        )

    def fail_here(self, message: str) -> ArchiveError:
        return _failure(message, self._place)

    def fail(self, key: str, message: str) -> ArchiveError:
        return _failure(message, self.place_of(key))

    def value(self, key: str) -> object:
        if key not in self._value:
            raise self.fail(key, "a key is missing")
        return self._value[key]

    def table(self, key: str) -> _Object:
        return _Object(self.value(key), self.place_of(key))

    def tables(self, key: str) -> list[_Object]:
        place = self.place_of(key)
        return [_Object(item, f"{place}[{i}]") for i, item in enumerate(self._array(key))]

    def text(self, key: str) -> str:
        return _text(self.value(key), self.place_of(key))

    def texts(self, key: str) -> tuple[str, ...]:
        place = self.place_of(key)
        return tuple(_text(item, f"{place}[{i}]") for i, item in enumerate(self._array(key)))

    def integer(self, key: str) -> int:
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fail(key, "expected an integer")
        if not 0 <= value <= _LARGEST_SIZE:
            raise self.fail(key, "expected an integer from 0 to 2^63 - 1")
        return value

    def boolean(self, key: str) -> bool:
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.fail(key, "expected `true` or `false`")
        return value

    def matched(self, key: str, pattern: re.Pattern[str]) -> str:
        text = self.text(key)
        if not pattern.fullmatch(text):
            raise self.fail(key, "expected a digest in lower-case hexadecimal")
        return text

    def parsed(self, key: str, parse: Callable[[str], ArchivePath]) -> ArchivePath:
        try:
            return parse(self.text(key))
        except ValueError as error:
            raise self.fail(key, str(error)) from error

    def requests(self, key: str) -> list[JSONObject]:
        """Return objects whose content is nobody's business here, but for what is printable."""
        place = self.place_of(key)
        checked = []
        for position, item in enumerate(self._array(key)):
            at = f"{place}[{position}]"
            _Object(item, at)
            checked.append(_json_object(item, at))
        return checked

    def _array(self, key: str) -> list[object]:
        value = self.value(key)
        if not isinstance(value, list):
            raise self.fail(key, "expected an array")
        return value


def _path(files: _Object, key: str) -> ArchivePath:
    try:
        path = parse_path(key)
    except ValueError as error:
        raise files.fail(key, str(error)) from error
    if path.casefold() == MANIFEST.casefold():
        raise files.fail(key, "a manifest doesn't list itself")
    return path


def _entry(files: _Object, key: str) -> Entry:
    table = files.table(key)
    path = ArchivePath(key)
    is_distribution = "name" in table
    if is_distribution == is_metadata(path):
        raise files.fail(key, "metadata has no name, and every other file has one")
    return Entry(
        size=table.integer("size"),
        sha256=table.matched("sha256", _SHA256),
        origin=_origin(table, path) if is_distribution else None,
    )


def _origin(table: _Object, path: ArchivePath) -> Origin:
    name = table.text("name")
    if not is_normalized_name(name):
        raise table.fail("name", "expected a normalised name")
    origin = Origin(
        name=NormalizedName(name),
        version=_version(table) if "version" in table else None,
        source=table.text("source"),
        why=tuple(_why(item) for item in table.tables("why")),
        vouched=table.boolean("vouched"),
        commit=table.matched("commit", _COMMIT) if "commit" in table else None,
    )
    try:
        _check_filename(path, origin.name)
    except ValueError as error:
        raise table.fail_here(f"{error}") from error
    return origin


def _check_filename(path: ArchivePath, name: NormalizedName) -> None:
    directory, _, filename = path.rpartition("/")
    if directory == GIT:
        if not filename.startswith(f"{name}-"):
            raise ValueError(f"not the name of a bundle of `{name}`")
    elif filename.endswith(".whl"):
        if canonicalize_name(filename.partition("-")[0]) != name:
            raise ValueError(f"not the name of a wheel of `{name}`")
        parse_wheel(filename)
    else:
        parse_sdist(filename, name)


def _version(table: _Object) -> str:
    text = table.text("version")
    try:
        Version(text)
    except InvalidVersion as error:
        raise table.fail("version", "expected a version (PEP 440)") from error
    return text


def _why(table: _Object) -> Why:
    match table.text("kind"):
        case "locked":
            return Locked()
        case "build requirement":
            return BuildRequirement(
                of=table.text("of"),
                requested=table.text("requested"),
                found=_found(table),
                targets=table.texts("targets"),
                marker=table.text("marker") if "marker" in table else None,
            )
        case "built from":
            return _built_from(table)
        case "tool":
            return Tool()
        case "submodule":
            return SubmoduleOf(path=table.parsed("of", parse_path))
        case _:
            raise table.fail("kind", "a reason that format 1 doesn't have")


def _built_from(table: _Object) -> BuiltFrom:
    if sum(key in table for key in ("sha256", "commit", "tree")) != 1:
        raise table.fail("sha256", "expected one of `sha256`, `commit` and `tree`")
    by = table.table("by") if "by" in table else None
    return BuiltFrom(
        sha256=table.matched("sha256", _SHA256) if "sha256" in table else None,
        commit=table.matched("commit", _COMMIT) if "commit" in table else None,
        tree=table.text("tree") if "tree" in table else None,
        subdirectory=table.text("subdirectory") if "subdirectory" in table else None,
        by=tuple((key, by.matched(key, _SHA256)) for key in sorted(by.keys())) if by else (),
        settings=table.matched("settings", _SHA256) if "settings" in table else None,
        python=table.text("python") if "python" in table else None,
        platform=table.text("platform") if "platform" in table else None,
    )


def _found(table: _Object) -> Found:
    found = _FOUND.get(table.text("found"))
    if found is None:
        raise table.fail("found", f"expected one of {', '.join(_FOUND)}")
    return found


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _failure("expected a string", place)
    if _UNPRINTABLE.search(value):
        raise _failure("a string has characters that can't be printed", place)
    return value


def _json(value: object, place: str) -> JSON:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _text(value, place)
        case list():
            return [_json(item, f"{place}[{i}]") for i, item in enumerate(value)]
        case _:
            return _json_object(value, place)


def _json_object(value: object, place: str) -> JSONObject:
    if not isinstance(value, dict):
        raise _failure("expected an object", place)
    return {_text(key, place): _json(item, f"{place}.{key}") for key, item in value.items()}


def _failure(message: str, place: str) -> ArchiveError:
    at = f" (at `{_printable(place)}`)" if place else ""
    return ArchiveError(
        f"`{MANIFEST}` can't be used: {message}{at}",
        hint=_REBUILD,
    )


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)[:200]


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"`{text}` is no number of JSON")
