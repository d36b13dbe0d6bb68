"""Whatever decoys a machine has, alone or together, what is installed is what the lock names.

`UV_ARCHIVE_DECOY_LOCKS=20` tries every decoy on that many locks; `-s` shows the figure.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.distributions import make_wheel
from tests.e2e.bench import Bench, contents, difference
from tests.e2e.catalogue import fill
from tests.e2e.conftest import benched
from tests.git.server import serving
from tests.sync.made_locks import MadeLock, distributions_of, features_of, make_lock

# Read here because the tests don't see variables of uv's.
LOCKS = int(os.environ.get("UV_ARCHIVE_DECOY_LOCKS", "0"))
# In the everyday count each decoy is tried on one of some locks, and all together on each.
EVERYDAY = 4

Variables = Mapping[str, str]
Decoy = Callable[[Bench, Path], Variables]
# Puts another file into the archive right before uv installs, after everything was checked.
_SWAPPING = """\
#!/bin/sh
case " $* " in
    *" sync "*" --dry-run "* | *" python find "* | *" --version "* | *" lock "*) ;;
    *) cp "{decoy}" "{path}" ;;
esac
exec "{uv}" "$@"
"""


def _index(bench: Bench, place: Path) -> Variables:
    url = f"file://{place}/simple"
    named = {f"UV_{name}": url for name in ("DEFAULT_INDEX", "INDEX_URL", "EXTRA_INDEX_URL")}
    return {**named, "UV_INDEX": f"decoy={url}", "UV_INDEX_STRATEGY": "unsafe-best-match"}


def _find_links(bench: Bench, place: Path) -> Variables:
    return {"UV_FIND_LINKS": str(place)}


def _pip(bench: Bench, place: Path) -> Variables:
    return {"PIP_FIND_LINKS": str(place), "PIP_INDEX_URL": f"file://{place}/simple"}


def _uv_toml(bench: Bench, place: Path) -> Variables:
    """Settings of the user, of the system, and in a file that a variable names."""
    path = bench.directory / "settings" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True)
    path.write_text(
        f'find-links = ["{place}"]\nno-index = false\noffline = false\n'
        f'[[index]]\nname = "decoy"\nurl = "{place}"\nformat = "flat"\ndefault = true\n'
    )
    settings = str(path.parent.parent)
    return {
        "UV_CONFIG_FILE": str(path), "XDG_CONFIG_HOME": settings, "XDG_CONFIG_DIRS": settings
    }  # fmt: skip


def _pip_conf(bench: Bench, place: Path) -> Variables:
    path = bench.directory / "home" / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True)
    path.write_text(f"[global]\nfind-links = {place}\nindex-url = {place.as_uri()}\n")
    return {"PIP_CONFIG_FILE": str(path)}


def _poisoned_cache(bench: Bench, place: Path) -> Variables:
    """A cache that uv has filled by a sync of this project, with changed modules in it."""
    cache = bench.directory / "home" / ".cache" / "uv"
    modules = [path for path in cache.rglob("*.py") if "interpreter" not in str(path)]
    assert modules
    for path in modules:
        path.write_text("raise SystemExit('decoy')\n")
    return {"UV_CACHE_DIR": str(cache), "UV_NO_CACHE": "0"}


def _beside(bench: Bench, place: Path) -> Variables:
    """Higher versions in the archive itself."""
    for path in place.glob("*-99-*"):
        shutil.copyfile(path, bench.archive / path.name)
    return {}


def _swapped(bench: Bench, place: Path) -> Variables:
    """One of the files that are installed is another one when uv comes to read it."""
    has = {name.partition("-")[0] for name in contents(bench.directory / "right")}
    used = sorted(p for p in bench.distributions() if _stem(p) in has and p.endswith(".whl"))
    path = bench.archive / used[0]
    decoy = make_wheel(place / "swap", _stem(used[0]), path.name.split("-")[1], files=_BITE)
    wrapper = bench.directory / "bin" / "uv"
    wrapper.parent.mkdir()
    wrapper.write_text(_SWAPPING.format(decoy=decoy, path=path, uv=bench.uv))
    wrapper.chmod(0o755)
    return {"UV": str(wrapper)}


DECOYS: Mapping[str, Decoy] = {
    "UV_INDEX": _index,
    "UV_FIND_LINKS": _find_links,
    "PIP_*": _pip,
    "uv.toml": _uv_toml,
    "pip.conf": _pip_conf,
    "a poisoned cache": _poisoned_cache,
    "beside the archive's files": _beside,
    "a swapped file": _swapped,
}
# Python runs such a line when it starts in an environment that has the file, such as a build's.
_BITE = {"bite.pth": "import os; os._exit(3)\n", "bite.py": ""}


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition("-")[0]


@pytest.fixture(scope="module")
def figures() -> Iterator[Counter[str]]:
    """Counts that are printed in the end."""
    counts: Counter[str] = Counter()
    yield counts
    said = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    print(f"\n{len(DECOYS)} decoys: {said}")


@pytest.fixture(scope="module")
def prepared(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    uv: Path,
    no_network: tuple[str, ...],
) -> Iterator[tuple[Bench, MadeLock]]:
    """A locked project with its archive, the environment that plain uv made, and decoys."""
    directory = tmp_path_factory.mktemp("made") / "bench"
    catalogue = directory.with_name("catalogue")
    fill(catalogue)
    with benched(directory, catalogue=catalogue, uv=uv, offline=no_network) as bench:
        (directory / "git").mkdir()
        with serving(directory / "git") as git:
            made = make_lock(bench, git, number=request.param)
            cache = {"UV_CACHE_DIR": str(directory / "home" / ".cache" / "uv"), "UV_NO_CACHE": "0"}
            online = bench.run(uv, "sync", "--locked", *made.sync, variables=cache)
            assert online.status == 0, online.err
            bench.venv.rename(directory / "right")
            bench.download(*made.download)
        _make_decoys(bench, directory / "decoys")
        shutil.copytree(directory, directory.with_name("kept"), symlinks=True)
        yield bench, made


def _make_decoys(bench: Bench, place: Path) -> None:
    """Write a higher version of everything, and the right ones with other bytes."""
    for name, path in distributions_of(bench).items():
        for version in ("99", path.name.split("-")[1].removesuffix(".tar.gz")):
            make_wheel(place, name, version, files=_BITE)
        page = place / "simple" / name / "index.html"
        page.parent.mkdir(parents=True)
        links = (f'<a href="{file.as_uri()}">{file.name}</a>' for file in place.glob(f"{name}-*"))
        page.write_text("\n".join(links))


@pytest.fixture
def restored(prepared: tuple[Bench, MadeLock]) -> tuple[Bench, MadeLock]:
    """The same, as it was in the beginning."""
    bench, made = prepared
    shutil.rmtree(bench.directory)
    shutil.copytree(bench.directory.with_name("kept"), bench.directory, symlinks=True)
    return bench, made


def assert_right(bench: Bench) -> None:
    found = contents(bench.venv)
    assert len(found) > 1
    assert difference(found, contents(bench.directory / "right")) == []


def assert_not_led_astray(
    bench: Bench, made: MadeLock, decoys: Sequence[str], figures: Counter[str]
) -> None:
    """Sync among decoys: what is installed is right; a swapped file may only be refused."""
    place = bench.directory / "decoys"
    kept = {path: (bench.archive / path).read_bytes() for path in bench.distributions()}
    variables = {k: v for name in decoys for k, v in DECOYS[name](bench, place).items()}
    said = bench.uv_archive("sync", *made.sync, offline=True, variables=variables)
    figures["syncs"] += 1
    if "a swapped file" in decoys:
        assert said.status != 0
        assert not list(bench.venv.rglob("bite.*"))
        figures["of them with a swapped file refused"] += 1
        for path, content in kept.items():
            (bench.archive / path).write_bytes(content)
        variables.pop("UV")
        said = bench.uv_archive("sync", *made.sync, offline=True, variables=variables)
    assert said.status == 0, said.text
    assert_right(bench)
    figures["installed what the lock names"] += 1


def tried() -> Iterator[tuple[int, str, Sequence[str]]]:
    """Return locks with the decoys that are tried on them at once: each alone, and all."""
    for lock in range(LOCKS or EVERYDAY):
        for position, name in enumerate(DECOYS):
            if LOCKS or position % EVERYDAY == lock:
                yield lock, name, [name]
        yield lock, "all", list(DECOYS)


@pytest.mark.parametrize(
    ("prepared", "decoys"),
    [pytest.param(lock, decoys, id=f"{lock}-{name}") for lock, name, decoys in tried()],
    indirect=["prepared"],
    scope="module",
)
def test_what_the_lock_names_is_installed(
    restored: tuple[Bench, MadeLock], decoys: Sequence[str], figures: Counter[str]
) -> None:
    assert_not_led_astray(*restored, decoys, figures)


def test_the_locks_have_every_kind_of_source() -> None:
    """Hold against a generator that makes the same again and again."""
    for count in (EVERYDAY, 20):
        kinds = Counter(name for number in range(count) for name in features_of(number))
        assert min(kinds.values()) > count // 8, kinds
    assert len({tuple(features_of(number)) for number in range(20)}) == 20
