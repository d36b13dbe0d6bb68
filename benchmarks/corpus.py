"""What is fetched: valid wheels of random bytes, made once from a seed, and a lock of them.

A corpus is a directory:

    files/*.whl         what the server gives
    simple/<name>/      the pages of an index (PEP 503, with PEP 658 metadata)
    project/            `pyproject.toml` and `uv.lock`
    requirements.txt    the same for pip: every file with its hash
    pylock.toml         the same for tools that read PEP 751
    urls.txt            one URL a line
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

# Raised when the same seed gives other bytes: what was made before is then made anew.
_EDITION = 3
_SEED = 6
_EPOCH = (1980, 1, 1, 0, 0, 0)
# 126 real distributions had 26,354 files in 590 MiB.
_FILE_SIZE = 23_000
_MOST_FILES = 2_000
# Of a real project's distributions: the spread of the logarithm of their sizes.
_SPREAD = 1.9
_BLOCK = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a corpus is made of. *total* is in bytes; *even* files are all of one size.

    Of *wheels* for each package only the first is for this machine; the others are entries of
    the lock that have no file.
    """

    name: str
    packages: int
    total: int
    even: bool = False
    wheels: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """One file of a corpus. *sha256* is in hexadecimal, *size* in bytes."""

    name: str
    filename: str
    sha256: str
    size: int
    metadata_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A corpus on disk, served below *base*."""

    shape: Shape
    directory: Path
    base: str
    files: tuple[Made, ...]

    @property
    def project(self) -> Path:
        return self.directory / "project"

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)

    def url(self, file: Made) -> str:
        return f"{self.base}/{self.shape.name}/files/{file.filename}"


def make_corpus(shape: Shape, *, root: Path, base: str) -> Corpus:
    """Make a corpus below *root*, or take the one that is there. *base* is the server's URL."""
    directory = root / shape.name
    stamp = directory / "made.json"
    wanted = {"edition": _EDITION, "seed": _SEED, "base": base, "shape": asdict(shape)}
    if stamp.is_file():
        found = json.loads(stamp.read_bytes())
        if found["of"] == wanted:
            files = tuple(Made(**one) for one in found["files"])
            return Corpus(shape=shape, directory=directory, base=base, files=files)
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "files").mkdir(parents=True)
    files = tuple(_make_files(shape, directory / "files"))
    corpus = Corpus(shape=shape, directory=directory, base=base, files=files)
    _write_documents(corpus)
    stamp.write_text(json.dumps({"of": wanted, "files": [asdict(file) for file in files]}))
    return corpus


def sizes(shape: Shape) -> Sequence[int]:
    """Return how many bytes the wheels have: log-normal quantiles that add up to the total."""
    if shape.even:
        return [shape.total // shape.packages] * shape.packages
    normal = NormalDist(sigma=_SPREAD)
    quantiles = [(place + 0.5) / shape.packages for place in range(shape.packages)]
    weights = [2.718281828459045 ** normal.inv_cdf(quantile) for quantile in quantiles]
    # The order of a lock is that of names, which says nothing about sizes.
    random.Random(_SEED).shuffle(weights)  # noqa: S311 - no secrets are made
    return [max(2_000, int(shape.total * weight / sum(weights))) for weight in weights]


def _make_files(shape: Shape, directory: Path) -> Iterator[Made]:
    for place, size in enumerate(sizes(shape)):
        name = f"bench-{shape.name}-{place:05}"
        yield _make_wheel(directory, name, size, seed=f"{_SEED}/{shape.name}/{place}")


def _make_wheel(directory: Path, name: str, size: int, *, seed: str) -> Made:
    """Write a wheel of about *size* bytes whose modules are random data."""
    chance = random.Random(seed)  # noqa: S311 - no secrets are made
    stem = name.replace("-", "_")
    info = f"{stem}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    wheel = b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = []
    path = directory / f"{stem}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, length in _members(stem, size):
            record.append(_store(archive, member, length, chance))
        for member, content in ((f"{info}/METADATA", metadata), (f"{info}/WHEEL", wheel)):
            archive.writestr(zipfile.ZipInfo(member, _EPOCH), content)
            record.append(_record_line(member, hashlib.sha256(content).digest(), len(content)))
        lines = "\n".join([*record, f"{info}/RECORD,,", ""])
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", _EPOCH), lines)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    path.with_name(f"{path.name}.metadata").write_bytes(metadata)
    return Made(
        name=name,
        filename=path.name,
        sha256=sha256,
        size=path.stat().st_size,
        metadata_sha256=hashlib.sha256(metadata).hexdigest(),
    )


def _members(stem: str, size: int) -> Iterator[tuple[str, int]]:
    count = max(1, min(_MOST_FILES, size // _FILE_SIZE))
    for number in range(count):
        # Each has two headers of about 100 bytes in all besides its name.
        yield f"{stem}/data{number:04}.bin", max(100, size // count - 200)


def _store(archive: zipfile.ZipFile, member: str, length: int, chance: random.Random) -> str:
    digest = hashlib.sha256()
    with archive.open(zipfile.ZipInfo(member, _EPOCH), "w") as file:
        for start in range(0, length, _BLOCK):
            block = chance.randbytes(min(_BLOCK, length - start))
            digest.update(block)
            file.write(block)
    return _record_line(member, digest.digest(), length)


def _record_line(member: str, digest: bytes, size: int) -> str:
    encoded = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return f"{member},sha256={encoded},{size}"


def _write_documents(corpus: Corpus) -> None:
    directory, project = corpus.directory, corpus.project
    project.mkdir()
    (project / "pyproject.toml").write_text(_pyproject(corpus))
    (project / "uv.lock").write_text(_lock(corpus))
    (directory / "pylock.toml").write_text(_pylock(corpus))
    (directory / "requirements.txt").write_text(
        "".join(f"{file.name}==1.0 --hash=sha256:{file.sha256}\n" for file in corpus.files)
    )
    (directory / "urls.txt").write_text("".join(f"{corpus.url(file)}\n" for file in corpus.files))
    for file in corpus.files:
        page = directory / "simple" / file.name / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(
            f'<!DOCTYPE html><a href="../../files/{file.filename}#sha256={file.sha256}" '
            f'data-core-metadata="sha256={file.metadata_sha256}">{file.filename}</a>\n'
        )


def _pyproject(corpus: Corpus) -> str:
    lines = [f'    "{file.name}==1.0",' for file in corpus.files]
    return "\n".join(
        [
            "[project]",
            f'name = "project-{corpus.shape.name}"',
            'version = "1.0"',
            'requires-python = ">=3.11"',
            "dependencies = [",
            *lines,
            "]",
            "",
            "[[tool.uv.index]]",
            f'url = "{corpus.base}/{corpus.shape.name}/simple"',
            "default = true",
            "",
        ]
    )


def _lock(corpus: Corpus) -> str:
    """Write the lock as `uv lock` does: revision 3, packages in the order of their names."""
    text = io.StringIO()
    text.write('version = 1\nrevision = 3\nrequires-python = ">=3.11"\n')
    for file in corpus.files:
        text.write(_locked(corpus, file))
    names = [file.name for file in corpus.files]
    text.write(f'\n[[package]]\nname = "project-{corpus.shape.name}"\nversion = "1.0"\n')
    text.write('source = { virtual = "." }\ndependencies = [\n')
    text.writelines(f'    {{ name = "{name}" }},\n' for name in names)
    text.write("]\n\n[package.metadata]\nrequires-dist = [")
    written = [f'{{ name = "{name}", specifier = "==1.0" }}' for name in names]
    text.write(f"{written[0]}]\n" if len(written) == 1 else "\n")
    text.writelines(f"    {one},\n" for one in written[1:] and written)
    text.write("]\n" if len(written) > 1 else "")
    return text.getvalue()


def _locked(corpus: Corpus, file: Made) -> str:
    lines = [
        "",
        "[[package]]",
        f'name = "{file.name}"',
        'version = "1.0"',
        f'source = {{ registry = "{corpus.base}/{corpus.shape.name}/simple" }}',
        "wheels = [",
        *(_wheel_entry(corpus, file, tags) for tags in _tags(corpus.shape.wheels)),
        "]",
        "",
    ]
    return "\n".join(lines)


def _tags(count: int) -> Sequence[str]:
    """Return the tags of so many wheels; the last one is the file that there is."""
    foreign = [
        f"cp3{minor}-cp3{minor}-{platform}"
        for minor in (8, 9, 10, 13, 14)
        for platform in ("macosx_11_0_arm64", "win_amd64", "manylinux_2_17_aarch64")
    ]
    return [*foreign[: count - 1], "py3-none-any"]


def _wheel_entry(corpus: Corpus, file: Made, tags: str) -> str:
    url = corpus.url(file).replace("py3-none-any", tags)
    sha256 = file.sha256 if tags == "py3-none-any" else hashlib.sha256(url.encode()).hexdigest()
    time = "2026-01-01T00:00:00Z"
    return (
        f'    {{ url = "{url}", hash = "sha256:{sha256}", size = {file.size}, '
        f'upload-time = "{time}" }},'
    )


def _pylock(corpus: Corpus) -> str:
    text = io.StringIO()
    text.write('lock-version = "1.0"\ncreated-by = "bench"\nrequires-python = ">=3.11"\n')
    for file in corpus.files:
        text.write(f'\n[[packages]]\nname = "{file.name}"\nversion = "1.0"\nwheels = [')
        text.write(f'{{ name = "{file.filename}", url = "{corpus.url(file)}", size = {file.size}, ')
        text.write(f'hashes = {{ sha256 = "{file.sha256}" }} }}]\n')
    return text.getvalue()
