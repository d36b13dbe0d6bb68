"""`uv-archive.json`: canonical, and read with distrust."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from packaging.utils import NormalizedName

from tests.archive.samples import contents, entries, hexdigest, metadata, varied
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import (
    JSON,
    BuildRequirement,
    BuiltFrom,
    Entry,
    JSONObject,
    Locked,
    LockRecord,
    Manifest,
    Origin,
    Tool,
    Why,
    canonical_requests,
    from_json,
    is_as_written,
    schema,
)
from uv_archive.errors import ArchiveError

Document = dict[str, object]

VALIDATOR = Draft202012Validator(json.loads(schema()), format_checker=FormatChecker())
LOCK = LockRecord(path=ArchivePath("locked/uv.lock"), sha256=hexdigest("lock"))

texts = st.text(
    alphabet=st.characters(exclude_categories=["Cc", "Cs"], max_codepoint=0x2000), max_size=12
)
digests = st.binary(max_size=3).map(lambda data: hashlib.sha256(data).hexdigest())
whys: st.SearchStrategy[Why] = st.one_of(
    st.just(Locked()),
    st.just(Tool()),
    st.builds(
        BuiltFrom,
        sha256=digests,
        subdirectory=st.none() | texts,
        by=st.dictionaries(texts, digests, max_size=2).map(lambda d: tuple(sorted(d.items()))),
        python=st.none() | texts,
        platform=st.none() | texts,
    ),
    st.builds(BuiltFrom, commit=digests),
    st.builds(BuiltFrom, tree=texts, settings=digests),
    st.builds(
        BuildRequirement,
        of=texts,
        requested=texts,
        found=st.sampled_from(["static", "table", "hook"]),
        targets=st.lists(texts, max_size=3).map(tuple),
    ),
)
values: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
requests = st.lists(st.dictionaries(texts, values, max_size=3), max_size=4)


@st.composite
def files(draw: st.DrawFn) -> dict[ArchivePath, Entry]:
    names = draw(st.lists(st.sampled_from(["foo", "bar", "baz", "qux"]), unique=True))
    found = {LOCK.path: Entry(size=3, sha256=LOCK.sha256)}
    for name in names:
        path = draw(
            st.sampled_from([f"{name}-1.0.tar.gz", f"index/01234567/{name}-1.0-py3-none-any.whl"])
        )
        origin = Origin(
            name=NormalizedName(name),
            version=draw(st.sampled_from(["1.0", "1!2.0+local", None])),
            source=draw(texts),
            why=tuple(draw(st.lists(whys, max_size=4))),
            vouched=draw(st.booleans()),
        )
        found[ArchivePath(path)] = Entry(
            size=draw(st.integers(0, 2**63 - 1)), sha256=draw(digests), origin=origin
        )
    return found


@given(project=texts, asked=requests, described=files(), seed=st.integers())
def test_bytes_are_canonical_and_read_back(
    project: str, asked: list[JSONObject], described: dict[ArchivePath, Entry], seed: int
) -> None:
    manifest = Manifest(project=project, lock=LOCK, requests=tuple(asked), files=described)
    written = manifest.to_json()
    again = from_json(written)
    assert again.to_json() == written
    assert again.digest == manifest.digest == hashlib.sha256(written).hexdigest()
    assert again.files.keys() == described.keys()
    assert again.project == project
    VALIDATOR.validate(json.loads(written))
    # The order of everything is as it is written, whatever it was.
    shuffle = random.Random(seed)
    items, twice = list(described.items()), [*asked, *asked]
    shuffle.shuffle(items)
    shuffle.shuffle(twice)
    turned = {
        path: entry
        if entry.origin is None
        else dataclasses.replace(
            entry, origin=dataclasses.replace(entry.origin, why=tuple(_turned(entry.origin.why)))
        )
        for path, entry in items
    }
    other = Manifest(project=project, lock=LOCK, requests=tuple(twice), files=turned)
    assert other.to_json() == written


def _turned(reasons: tuple[Why, ...]) -> list[Why]:
    found: list[Why] = []
    for why in reversed(reasons):
        match why:
            case BuildRequirement() if len(why.targets) > 1:
                found += [
                    dataclasses.replace(why, targets=why.targets[1:]),
                    dataclasses.replace(why, targets=why.targets[:1]),
                ]
            case _:
                found.append(why)
    return found


def test_the_form_is_canonical() -> None:
    content = metadata(varied()).manifest.to_json()
    assert content.endswith(b"\n")
    assert b"\r" not in content
    text = json.dumps(json.loads(content), ensure_ascii=False, indent=2, sort_keys=True)
    assert content.decode() == f"{text}\n"


@given(described=files(), builds=st.dictionaries(texts, requests | texts | st.booleans()))
def test_the_form_is_that_of_the_standard_library(
    described: dict[ArchivePath, Entry], builds: dict[str, list[JSONObject] | str | bool]
) -> None:
    misleading: JSONObject = {"files": {"files": {}}, "text": '\n  "files": {'}
    manifest = Manifest(
        project="p", lock=LOCK, requests=(), files=described, builds={**builds, **misleading}
    )
    written = manifest.to_json()
    assert is_as_written(written)
    text = json.dumps(json.loads(written), ensure_ascii=False, indent=2, sort_keys=True)
    assert f"{text}\n".encode() == written


def test_requests_are_there_once_and_sorted() -> None:
    one: JSONObject = {"b": 1, "a": [1, 2]}
    same: JSONObject = {"a": [1, 2], "b": 1}
    other: JSONObject = {"a": [1]}
    assert canonical_requests([one, other, same]) == canonical_requests([other, one])
    assert len(canonical_requests([one, other, same])) == 2


def test_a_manifest_has_everything_it_was_given() -> None:
    manifest = metadata(varied()).manifest
    again = from_json(manifest.to_json())
    for path, (entry, origin) in again.distributions.items():
        given = varied()[path]
        assert given.origin is not None
        assert set(origin.why) == set(given.origin.why)
        assert dataclasses.replace(origin, why=given.origin.why) == given.origin
        assert (entry.size, entry.sha256) == (given.size, given.sha256)
    assert again.distributions.keys() == varied().keys()
    assert {"README.md", "SHA256SUMS", "install.py", "locked/uv.lock"} == (
        again.files.keys() - again.distributions.keys()
    )


def test_unknown_keys_are_passed_over_and_count_for_the_digest() -> None:
    document = json.loads(metadata(varied()).manifest.to_json())
    document["later"] = {"anything": 1}
    document["files"]["README.md"]["later"] = 1
    content = json.dumps(document).encode()
    assert from_json(content).digest == hashlib.sha256(content).hexdigest()
    VALIDATOR.validate(document)


def base() -> Document:
    document: Document = json.loads(metadata(entries(contents(1))).manifest.to_json())
    return document


def inner(document: Document, *keys: str | int) -> Document:
    value: object = document
    for key in keys:
        match value:
            case dict():
                value = value[key]
            case list() if isinstance(key, int):
                value = value[key]
            case _:
                raise AssertionError(key)
    assert isinstance(value, dict)
    return value


WHEEL = "part0-1.0-py3-none-any.whl"


@dataclasses.dataclass(frozen=True)
class Change:
    """A way to spoil a manifest, and what the test is called."""

    label: str
    apply: Callable[[Document], None]


def at(*keys: str | int, value: object) -> Change:
    def change(document: Document) -> None:
        *outer, last = keys
        inner(document, *outer)[str(last)] = value

    return Change(f"{keys[-1]}-{ascii(value)[:30]}", change)


def without(*keys: str | int) -> Change:
    def change(document: Document) -> None:
        *outer, last = keys
        del inner(document, *outer)[str(last)]

    return Change(f"no-{keys[-1]}", change)


def renamed(path: str, old: str = WHEEL) -> Change:
    def change(document: Document) -> None:
        found = inner(document, "files")
        found[path] = found.pop(old)

    return Change(f"path-{path!a}", change)


def twin(document: Document) -> None:
    found = inner(document, "files")
    found[WHEEL.replace("part", "PART")] = found[WHEEL]


REFUSED: list[tuple[Change, str | None, bool]] = [
    (at("format-version", value=2), None, True),
    (at("format-version", value=True), "format-version", True),
    (at("format-version", value=1.0), "format-version", False),
    (at("format-version", value="1"), "format-version", True),
    (without("format-version"), "format-version", True),
    (without("project"), "project", True),
    (at("project", value=7), "project", True),
    (at("project", value="a\x1b[31mb"), "project", True),
    (at("project", value="a\u202eb"), "project", True),
    (at("project", value="\ud800"), "project", False),
    (at("lock", value=[]), "lock", True),
    (at("lock", "path", value="../uv.lock"), "lock.path", True),
    (at("lock", "path", value="locked/other.lock"), "lock.path", False),
    (at("lock", "sha256", value="00"), "lock.sha256", True),
    (at("lock", "sha256", value="A" * 64), "lock.sha256", True),
    (at("requests", value={}), "requests", True),
    (at("requests", value=[1]), "requests[0]", True),
    (at("requests", value=[{"a": ["\x00"]}]), "requests[0].a[0]", False),
    (at("requests", value=[{"\x1b": 1}]), "requests[0]", False),
    (at("files", value=[]), "files", True),
    (at("files", WHEEL, value=None), f'files["{WHEEL}"]', True),
    (at("files", WHEEL, "size", value=-1), f'files["{WHEEL}"].size', True),
    (at("files", WHEEL, "size", value=2**63), f'files["{WHEEL}"].size', True),
    (at("files", WHEEL, "size", value=True), f'files["{WHEEL}"].size', True),
    (at("files", WHEEL, "size", value=1.5), f'files["{WHEEL}"].size', True),
    (at("files", WHEEL, "sha256", value="md5:0"), f'files["{WHEEL}"].sha256', True),
    (at("files", WHEEL, "name", value="Part0"), f'files["{WHEEL}"].name', True),
    (at("files", WHEEL, "name", value="part1"), f'files["{WHEEL}"]', False),
    (at("files", WHEEL, "version", value="x y"), f'files["{WHEEL}"].version', False),
    (at("files", WHEEL, "version", value=None), f'files["{WHEEL}"].version', True),
    (at("files", WHEEL, "vouched", value=1), f'files["{WHEEL}"].vouched', True),
    (at("files", WHEEL, "source", value=[]), f'files["{WHEEL}"].source', True),
    (at("files", WHEEL, "commit", value="a"), f'files["{WHEEL}"].commit', True),
    (without("files", WHEEL, "why"), f'files["{WHEEL}"].why', True),
    (without("files", WHEEL, "name"), f'files["{WHEEL}"]', False),
    (at("files", WHEEL, "why", value="locked"), f'files["{WHEEL}"].why', True),
    (at("files", WHEEL, "why", value=["locked"]), f'files["{WHEEL}"].why[0]', True),
    (
        at("files", WHEEL, "why", value=[{"kind": "because"}]),
        f'files["{WHEEL}"].why[0].kind',
        True,
    ),
    (
        at("files", WHEEL, "why", value=[{"kind": "built from"}]),
        f'files["{WHEEL}"].why[0].sha256',
        True,
    ),
    (
        at(
            "files",
            WHEEL,
            "why",
            value=[
                {
                    "kind": "build requirement",
                    "of": "a",
                    "requested": "b",
                    "found": "guess",
                    "targets": [],
                }
            ],
        ),
        f'files["{WHEEL}"].why[0].found',
        True,
    ),
    (at("files", "README.md", "name", value="readme"), 'files["README.md"]', False),
    (renamed("../x.whl"), 'files["../x.whl"]', True),
    (renamed("/etc/passwd"), 'files["/etc/passwd"]', True),
    (renamed("index/01234567/../x.whl"), 'files["index/01234567/../x.whl"]', True),
    (renamed("a\\b.whl"), 'files["a\\\\b.whl"]', True),
    (renamed("a\x00.whl"), 'files["a\\u0000.whl"]', True),
    (renamed("not-a-wheel.whl"), 'files["not-a-wheel.whl"]', False),
    (renamed("uv-archive.json", "README.md"), 'files["uv-archive.json"]', False),
    (renamed("UV-Archive.json", "README.md"), 'files["UV-Archive.json"]', False),
    (renamed("stray.toml", "README.md"), 'files["stray.toml"]', False),
    (renamed("git/other-0123456789ab.bundle"), 'files["git/other-0123456789ab.bundle"]', False),
    (Change("twins", twin), "files", False),
]


@pytest.mark.parametrize(
    ("change", "place", "schema_agrees"),
    [pytest.param(change.apply, *rest, id=change.label) for change, *rest in REFUSED],
)
def test_what_format_1_does_not_allow_is_refused_with_its_place(
    change: Callable[[Document], None], place: str | None, *, schema_agrees: bool
) -> None:
    document = base()
    change(document)
    content = json.dumps(document).encode()
    with pytest.raises(ArchiveError) as raised:
        from_json(content)
    if place is not None:
        assert raised.value.message.endswith(f"(at `{place}`)")
    assert raised.value.hint
    assert raised.value.message.isprintable()
    if schema_agrees:
        with pytest.raises(ValidationError):
            VALIDATOR.validate(document)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"\xff\xfe", id="not-UTF-8"),
        pytest.param(b'{"a": 1, "a": 1}', id="a-key-twice"),
        pytest.param(b'{"format-version": NaN}', id="NaN"),
        pytest.param(b'{"format-version": 1' + b"0" * 5000 + b"}", id="huge-number"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"a":' * 100_000, id="deep-objects"),
    ],
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"uv-archive\.json") as raised:
        from_json(content)
    assert raised.value.message.isprintable()


def test_another_version_is_named() -> None:
    document = base()
    document["format-version"] = 2
    with pytest.raises(ArchiveError, match="has format 2, and this program reads 1") as raised:
        from_json(json.dumps(document).encode())
    assert raised.value.hint == "Look for a newer uv-archive"


def mutated(value: object, shuffle: random.Random) -> object:
    """Return a JSON value with something in it replaced."""
    replacements: list[object] = [
        None,
        True,
        -1,
        1e300,
        "",
        "\x1b",
        "../x",
        [],
        {},
        [[]],
        {"a": {}},
        "x" * 5000,
    ]
    match value:
        case dict() if value and shuffle.random() < 0.9:
            key = shuffle.choice(sorted(value))
            return {**value, key: mutated(value[key], shuffle)}
        case list() if value and shuffle.random() < 0.9:
            position = shuffle.randrange(len(value))
            return [*value[:position], mutated(value[position], shuffle), *value[position + 1 :]]
        case _:
            return shuffle.choice(replacements)


def test_no_mutation_causes_anything_but_an_archive_error() -> None:
    document = json.loads(metadata(varied()).manifest.to_json())
    shuffle = random.Random(7)
    refused = 0
    for _ in range(2000):
        content = json.dumps(mutated(document, shuffle)).encode()
        try:
            from_json(content)
        except ArchiveError:
            refused += 1
    assert refused > 1000


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json.loads(schema()))


def described(mapping: Mapping[str, object]) -> bool:
    return "description" in mapping


def test_every_property_of_the_schema_is_described() -> None:
    def walk(value: object, place: str) -> list[str]:
        missing = []
        match value:
            case dict():
                for name, item in value.get("properties", {}).items():
                    if not described(item) and "$ref" not in item:
                        missing.append(f"{place}.{name}")
                for key, item in value.items():
                    missing += walk(item, f"{place}.{key}")
            case list():
                for item in value:
                    missing += walk(item, place)
            case _:
                pass
        return missing

    assert walk(json.loads(schema()), "") == []
