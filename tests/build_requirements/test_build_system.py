from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.distributions import make_sdist
from uv_archive.build_requirements import BuildSystem, read_build_system, source_files
from uv_archive.build_requirements.build_system import LEGACY_REQUIRES
from uv_archive.errors import BuildRequirementsError

PYPROJECT = (
    b'[build-system]\nrequires = ["flit_core >=3.4"]\nbuild-backend = "flit_core.buildapi"\n'
)
MEMBERS = {"a-1.0/src/a.py": b"", "a-1.0/pyproject.toml": PYPROJECT}


def packed(members: Mapping[str, bytes]) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in members.items():
            information = tarfile.TarInfo(name)
            information.size = len(content)
            archive.addfile(information, io.BytesIO(content))
    return tar.getvalue()


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def special(name: str, kind: bytes, target: str = "") -> bytes:
    information = tarfile.TarInfo(name)
    information.type = kind
    information.linkname = target
    return information.tobuf(tarfile.GNU_FORMAT)


def sized(name: str, kind: bytes, size: int) -> bytes:
    """Return a header that promises *size* bytes, whatever follows it."""
    information = tarfile.TarInfo(name)
    information.type = kind
    information.size = size
    return information.tobuf(tarfile.GNU_FORMAT)


def saved(directory: Path, content: bytes, name: str = "a-1.0.tar.gz") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a-1.0.tar.gz", gzip.compress(packed(MEMBERS)), id="gzip"),
        pytest.param("a-1.0.tar.bz2", bz2.compress(packed(MEMBERS)), id="bzip2"),
        pytest.param("a-1.0.tar.xz", lzma.compress(packed(MEMBERS)), id="xz"),
        pytest.param("a-1.0.tar", packed(MEMBERS), id="plain"),
        pytest.param("a-1.0.zip", zipped(MEMBERS), id="zip"),
        pytest.param(
            "a-1.0.tar.gz",
            gzip.compress(packed({f"./{name}": data for name, data in MEMBERS.items()})),
            id="dot-names",
        ),
        pytest.param(
            "a-1.0.tar.gz",
            gzip.compress(packed({"pyproject.toml": PYPROJECT, "src/a.py": b""})),
            id="without-a-top",
        ),
        pytest.param(
            "a-1.0.tar.gz",
            gzip.compress(packed({"a-1.0/" + "d" * 300 + "/pyproject.toml": b"= no", **MEMBERS})),
            id="long-names",
        ),
        pytest.param(
            "a-1.0.tar.gz",
            gzip.compress(special("a-1.0/pipe", tarfile.FIFOTYPE) + packed(MEMBERS)),
            id="devices-that-nobody-unpacks",
        ),
        pytest.param(
            "a-1.0.tar.gz",
            gzip.compress(packed({"../pyproject.toml": b"= no", **MEMBERS})),
            id="names-that-lead-out",
        ),
    ],
)
def test_an_sdist_says_what_builds_it(tmp_path: Path, name: str, content: bytes) -> None:
    assert read_build_system(saved(tmp_path, content, name)) == BuildSystem(
        requires=("flit_core >=3.4",),
        backend="flit_core.buildapi",
        pyproject={
            "build-system": {
                "requires": ["flit_core >=3.4"],
                "build-backend": "flit_core.buildapi",
            }
        },
    )


@pytest.mark.parametrize("place", ["a/__init__.py", "src/a/__init__.py", "a.py", "src/a.py"])
def test_the_module_is_read_where_flit_reads_it(tmp_path: Path, place: str) -> None:
    pyproject = PYPROJECT + b'[project]\nname = "a"\ndynamic = ["version"]\n'
    members = {"a-1.0/pyproject.toml": pyproject, f"a-1.0/{place}": b"__version__ = '1'"}
    system = read_build_system(saved(tmp_path, packed(members)))
    assert system.module_source == "__version__ = '1'"


def test_of_two_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    content = packed({"a-1.0/pyproject.toml": b"= no"})[:1024] + packed(MEMBERS)
    assert read_build_system(saved(tmp_path, content)).requires == ("flit_core >=3.4",)


def test_a_source_tree_says_what_builds_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(PYPROJECT)
    assert read_build_system(tmp_path).requires == ("flit_core >=3.4",)


@pytest.mark.parametrize("top", ["a-1.0/", ""], ids=["sdist", "without-a-top"])
def test_a_subdirectory_has_a_build_system_of_its_own(tmp_path: Path, top: str) -> None:
    members = {f"{top}pyproject.toml": b"= no", f"{top}x/y/pyproject.toml": PYPROJECT}
    if not top:
        members["z"] = b""
    path = saved(tmp_path, gzip.compress(packed(members)))
    assert read_build_system(path, subdirectory="x/y").requires == ("flit_core >=3.4",)


def test_a_subdirectory_can_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "pyproject.toml").write_bytes(PYPROJECT)
    with pytest.raises(BuildRequirementsError, match="outside"):
        read_build_system(tmp_path / "tree", subdirectory="..")


@pytest.mark.parametrize(
    ("members", "requires"),
    [
        pytest.param({"setup.py": b""}, LEGACY_REQUIRES, id="no-pyproject"),
        pytest.param({"pyproject.toml": b"[tool.x]\n"}, LEGACY_REQUIRES, id="no-table"),
        pytest.param(
            {"pyproject.toml": b'[build-system]\nrequires = ["wheel", "setuptools"]\n'},
            ("wheel", "setuptools"),
            id="no-backend",
        ),
    ],
)
def test_setuptools_is_assumed(
    tmp_path: Path, members: Mapping[str, bytes], requires: tuple[str, ...]
) -> None:
    content = packed({f"a-1.0/{name}": data for name, data in members.items()})
    system = read_build_system(saved(tmp_path, content))
    assert system.requires == requires
    assert system.legacy
    assert system.module == "setuptools.build_meta"


def test_an_in_tree_backend_is_told(tmp_path: Path) -> None:
    system = read_build_system(make_sdist(tmp_path, "a", "1.0", build_requires=["b"]))
    assert (system.requires, system.backend_path) == (("b",), (".",))


@pytest.mark.parametrize(
    ("pyproject", "said"),
    [
        pytest.param(b"= no", "isn't TOML", id="not-toml"),
        pytest.param(b"a = '\xff'", "isn't TOML", id="not-utf-8"),
        pytest.param(b"a = " + b"[" * 100_000, "isn't TOML", id="nested"),
        pytest.param(b"build-system = 1", "`build-system`", id="no-table"),
        pytest.param(b"[build-system]", "`build-system.requires`", id="no-requires"),
        pytest.param(b"[build-system]\nrequires = 'a'", "`build-system.requires`", id="a-string"),
        pytest.param(
            b"[build-system]\nrequires = [1]", r"`build-system.requires\[0\]`", id="a-number"
        ),
        pytest.param(
            b"[build-system]\nrequires = ['a', 'b c']",
            r"`build-system.requires\[1\]`",
            id="no-requirement",
        ),
        pytest.param(
            b"[build-system]\nrequires = []\nbuild-backend = 1",
            "`build-system.build-backend`",
            id="backend",
        ),
        pytest.param(
            b"[build-system]\nrequires = []\nbackend-path = '.'",
            "`build-system.backend-path`",
            id="backend-path",
        ),
    ],
)
def test_a_malformed_pyproject_is_named(tmp_path: Path, pyproject: bytes, said: str) -> None:
    path = saved(tmp_path, packed({"a-1.0/pyproject.toml": pyproject}))
    with pytest.raises(BuildRequirementsError, match=said) as caught:
        read_build_system(path)
    assert "a-1.0.tar.gz" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "neither", id="empty"),
        pytest.param(packed({"a-1.0/a.py": b""}), "neither", id="no-source-distribution"),
        pytest.param(b"no archive" * 100, "tar archive", id="no-archive"),
        pytest.param(gzip.compress(b"x" * 5000), "tar archive", id="packed-rubbish"),
        pytest.param(gzip.compress(packed(MEMBERS))[:60], "damaged", id="cut-gzip"),
        pytest.param(b"\x1f\x8b" + b"x" * 50, "damaged", id="no-gzip"),
        pytest.param(lzma.compress(packed(MEMBERS))[:60], "damaged", id="cut-xz"),
        pytest.param(packed(MEMBERS)[:700], "cut short", id="cut-tar"),
        pytest.param(
            special("a-1.0/pyproject.toml", tarfile.SYMTYPE, "/etc/passwd"), "a link", id="link"
        ),
        pytest.param(
            special("a-1.0/pyproject.toml", tarfile.LNKTYPE, "a-1.0/x"), "a link", id="hard-link"
        ),
        pytest.param(
            special("a-1.0/pyproject.toml", tarfile.CHRTYPE), "no regular file", id="device"
        ),
        pytest.param(
            sized("a-1.0/pyproject.toml", tarfile.REGTYPE, 1 << 21), "longer than", id="long"
        ),
        pytest.param(sized("x", tarfile.XHDTYPE, 1 << 33), "a header of more", id="pax-bomb"),
        pytest.param(
            sized("x", tarfile.GNUTYPE_LONGNAME, 1 << 33), "a header of more", id="name-bomb"
        ),
        pytest.param(sized("x", tarfile.REGTYPE, 1 << 60), "unpacks to more", id="size-bomb"),
        pytest.param(sized("x", tarfile.GNUTYPE_SPARSE, 5), "sparse", id="sparse"),
        pytest.param(
            sized("x", tarfile.XHDTYPE, 6) + b"99 a=b".ljust(512, b"\0"),
            "neither",
            id="pax-length-past-its-end",
        ),
        pytest.param(
            sized("x", tarfile.XHDTYPE, 3) + b"a=b".ljust(512, b"\0"), "damaged", id="pax-rubbish"
        ),
        pytest.param(
            sized("x", tarfile.XHDTYPE, 10) + b"10 size=-1".ljust(512, b"\0"),
            "damaged",
            id="pax-negative-size",
        ),
    ],
)
def test_a_hostile_tar_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(BuildRequirementsError, match=said):
        read_build_system(path)


def linked_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        information = zipfile.ZipInfo("a-1.0/pyproject.toml")
        information.external_attr = 0o120777 << 16
        archive.writestr(information, "/etc/passwd")
    return file.getvalue()


def with_flag(content: bytes, flag: int) -> bytes:
    """Set a general purpose flag of every entry. Specification: APPNOTE.TXT, 4.4.4."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        position = changed.find(signature)
        while position >= 0:
            changed[position + offset] |= flag
            position = changed.find(signature, position + 4)
    return bytes(changed)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "ZIP", id="empty"),
        pytest.param(b"no archive", "ZIP", id="no-archive"),
        pytest.param(zipped(MEMBERS)[:-30], "ZIP", id="cut"),
        pytest.param(with_flag(zipped(MEMBERS), 1), "ZIP", id="encrypted"),
        pytest.param(linked_zip(), "a link", id="link"),
        pytest.param(
            zipped({"a-1.0/pyproject.toml": bytes(2 << 20)}), "longer than", id="long-member"
        ),
        pytest.param(
            zipped(MEMBERS, zipfile.ZIP_STORED).replace(b"flit_core >=3.4", b"flit_core >=9.9"),
            "ZIP",
            id="wrong-checksum",
        ),
    ],
)
def test_a_hostile_zip_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = saved(tmp_path, content, "a-1.0.zip")
    with pytest.raises(BuildRequirementsError, match=said):
        read_build_system(path)


def test_a_header_bomb_costs_no_memory(tmp_path: Path) -> None:
    content = gzip.compress(sized("x", tarfile.XHDTYPE, 200 << 20) + bytes(200 << 20), 1)
    path = saved(tmp_path, content)
    tracemalloc.start()
    with pytest.raises(BuildRequirementsError):
        read_build_system(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("name", "limit", "value", "said"),
    [
        # Of a ZIP archive only the members asked for are unpacked.
        pytest.param("a-1.0.tar.gz", "LONGEST_ARCHIVE", 1000, "unpacks to more", id="tar-bytes"),
        pytest.param("a-1.0.tar.gz", "MOST_MEMBERS", 1, "more than 1 members", id="tar-members"),
        pytest.param("a-1.0.zip", "MOST_MEMBERS", 1, "more than 1 members", id="zip-members"),
    ],
)
def test_how_much_is_looked_through_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, limit: str, value: int, said: str
) -> None:
    members = {**MEMBERS, "a-1.0/big": bytes(5000)}
    content = zipped(members) if name.endswith(".zip") else gzip.compress(packed(members))
    path = saved(tmp_path, content, name)
    monkeypatch.setattr(source_files, limit, value)
    with pytest.raises(BuildRequirementsError, match=said):
        read_build_system(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildRequirementsError, match="No such file"):
        read_build_system(tmp_path / "a-1.0.tar.gz")


@given(
    seed=st.sampled_from([packed(MEMBERS), gzip.compress(packed(MEMBERS)), zipped(MEMBERS)]),
    changes=st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 255)), max_size=8),
    cut=st.none() | st.integers(0, 12_000),
)
def test_no_damage_makes_a_traceback(
    tmp_path_factory: pytest.TempPathFactory,
    seed: bytes,
    changes: list[tuple[int, int]],
    cut: int | None,
) -> None:
    content = bytearray(seed)
    for position, value in changes:
        content[position % len(content)] = value
    name = "a-1.0.zip" if seed.startswith(b"PK") else "a-1.0.tar.gz"
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content[:cut])
    with suppress(BuildRequirementsError):
        assert all(isinstance(text, str) for text in read_build_system(path).requires)
