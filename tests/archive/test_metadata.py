"""All metadata at once: the same of the same, and readable."""

from __future__ import annotations

import random
from collections.abc import Mapping

from packaging.utils import NormalizedName

from tests.archive.samples import contents, entries, hexdigest, metadata, pylock, varied
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import Entry, JSONObject, Locked, Origin
from uv_archive.archive.metadata import compose
from uv_archive.archive.readme import size_text

REQUESTS: tuple[JSONObject, ...] = ({"groups": ["dev"]}, {"groups": ["gpu"]}, {"all": True})


def composed(
    distributions: Mapping[ArchivePath, Entry], shuffle: random.Random | None = None
) -> tuple[bytes, Mapping[ArchivePath, bytes]]:
    exports = {"": pylock("a"), "group-gpu": pylock("a", "b")}
    coverage = ["Python 3.11 on Linux", "Python 3.12 on Linux", "Python 3.11 on Linux"]
    requests = [*REQUESTS]
    if shuffle:
        distributions = dict(shuffle.sample([*distributions.items()], len(distributions)))
        exports = dict(shuffle.sample([*exports.items()], len(exports)))
        shuffle.shuffle(coverage)
        shuffle.shuffle(requests)
    made = compose(
        project="example",
        lock_name="uv.lock",
        lock=b'version = 1\nx = "https://user:canary@index.example/?canary"\n',
        requests=requests,
        distributions=distributions,
        exports=exports,
        coverage=coverage,
        builds={"b": 1, "a": [2]},
    )
    return made.manifest.to_json(), dict(sorted(made.documents.items()))


def test_metadata_does_not_depend_on_any_order() -> None:
    expected = composed(varied())
    for seed in range(20):
        assert composed(varied(), random.Random(seed)) == expected


def test_every_file_is_there_and_described() -> None:
    manifest, documents = composed(varied())
    assert list(documents) == [
        "README.md",
        "SHA256SUMS",
        "install.py",
        "locked/uv.lock",
        "pylock.group-gpu.toml",
        "pylock.toml",
        "requirements.group-gpu.txt",
        "requirements.txt",
    ]
    assert b"canary" not in manifest
    assert not any(b"canary" in content for content in documents.values())
    sums = documents[ArchivePath("SHA256SUMS")].decode().splitlines()
    listed = {path: digest for digest, _, path in (line.partition("  ") for line in sums)}
    assert list(listed) == sorted(
        [*varied(), *documents.keys() - {ArchivePath("README.md"), ArchivePath("SHA256SUMS")}]
    )
    for path, content in documents.items():
        if path in listed:
            assert listed[path] == hexdigest(content)


def test_the_manifest_has_the_digest_of_the_lock_as_it_was() -> None:
    lock = b'x = "https://user:canary@index.example/"\n'
    made = metadata({}, lock=lock)
    assert made.manifest.lock.sha256 == hexdigest(lock)
    copy = made.documents[ArchivePath("locked/uv.lock")]
    assert copy == b'x = "https://index.example/"\n'
    assert made.manifest.files[ArchivePath("locked/uv.lock")].sha256 == hexdigest(copy)


def readme(distributions: Mapping[ArchivePath, Entry], exports: Mapping[str, Pylock]) -> str:
    made = metadata(distributions, exports=exports)
    return made.documents[ArchivePath("README.md")].decode()


def test_the_readme_gives_every_way_to_install() -> None:
    text = readme(entries(contents()), {"": pylock("a"), "extra-b": pylock("b")})
    for command in (
        "    uv-archive sync --dist-archive DIR\n",
        "    uv pip sync --offline --no-index --find-links . pylock.toml\n",
        "    pip install --no-index --find-links . -r pylock.toml\n",
        "    pip install --no-index --find-links . --require-hashes -r requirements.txt\n",
        "    sha256sum -c SHA256SUMS\n",
    ):
        assert command in text
    for said in (
        "# The dependencies of `example`",
        "4 distributions (",
        "* Python 3.11 on Linux",
        "They leave out the project itself",
        "Files in `index/`",
        "`pylock.extra-b.toml` and `requirements.extra-b.txt`",
        "| `uv-archive.json` |",
    ):
        assert said in text
    assert text.endswith("\n")
    assert "\n\n\n" not in text


def test_the_readme_speaks_of_flags_only_where_there_are_some() -> None:
    assert "in brackets" not in readme(varied(), {})
    asked = "cp311 (3.11.7) on Linux (--no-binary-package a)"
    text = metadata(varied(), coverage=(asked,)).documents[ArchivePath("README.md")].decode()
    assert f"* {asked}\n" in text
    assert "Flags that stand in brackets above" in text


def test_the_readme_says_what_the_other_ways_leave_out() -> None:
    vcs: Mapping[str, object] = {
        "packages": [{"name": "from-git", "version": "1.0", "vcs": {"type": "git"}}]
    }
    text = readme(varied(), {"": Pylock(document=vcs, left_out=("project",))})
    assert "* from-git==1.0\n" in text
    assert "* project\n" not in text
    assert "`git/`" in text
    assert "1 file here is a source distribution" in text
    assert "    python3 DIR/install.py\n" in text
    assert "| `tools/` | uv and uv-archive, to install with |" in text


def test_an_archive_without_exports_has_a_readme_without_their_ways() -> None:
    text = readme({}, {})
    assert "pylock" not in text
    assert "0 distributions (0 bytes)" in text
    sdist = Entry(
        size=1,
        sha256=hexdigest("x"),
        origin=Origin(
            name=NormalizedName("foo"), version="1", source="s", why=(Locked(),), vouched=False
        ),
    )
    assert "1 distribution (1 bytes)" not in readme({ArchivePath("foo-1.tar.gz"): sdist}, {})


def test_sizes_are_for_people() -> None:
    given = [0, 1, 1023, 1024, 1536, 1024**2 - 1, 2**20, 2_040_109_466, 5 * 2**40, 2**52]
    assert [size_text(size) for size in given] == [
        "0 bytes", "1 byte", "1023 bytes", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "1.9 GiB",
        "5.0 TiB", "4096.0 TiB",
    ]  # fmt: skip
