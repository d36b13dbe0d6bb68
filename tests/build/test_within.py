"""Building inside an archive: what it adds, records and leaves alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.build.sources import Needs, make_archive, make_misdoer
from tests.distributions import make_sdist, make_wheel
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import BuiltFrom, Manifest, from_json, schema
from uv_archive.build import BuildOutcome, Built, NotBuilt, Options, build_archive, build_one, many
from uv_archive.errors import ArchiveError
from uv_archive.target import Interpreter
from uv_archive.uv import Uv


@dataclass(kw_only=True)
class Yard:
    """Where archives are made, and built in."""

    directory: Path
    uv: Uv
    interpreter: Interpreter
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    @property
    def sdists(self) -> Path:
        return self.directory / "sdists"

    def make(self, *sources: Needs, builds: Mapping[str, object] | None = None) -> Manifest:
        return make_archive(self.archive, sources, target=self.interpreter.target, builds=builds)

    def build(self, *, jobs: int = 2, timeout: float = 60) -> BuildOutcome:
        return build_archive(
            self.archive,
            Options(pythons=(str(self.interpreter.executable),), jobs=jobs, timeout=timeout),
            uv=self.uv,
            environment=self.environment,
        )

    def manifest(self) -> Manifest:
        return from_json((self.archive / "uv-archive.json").read_bytes())


@pytest.fixture
def yard(tmp_path: Path, found_uv: Uv, interpreter: Interpreter) -> Yard:
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return Yard(directory=tmp_path, uv=found_uv, interpreter=interpreter, environment=environment)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def failures(outcome: BuildOutcome) -> Sequence[tuple[str, str]]:
    return [(one.label, one.reason) for one in outcome.failed]


def test_a_wheel_lies_beside_its_sdist_and_says_where_it_is_from(yard: Yard) -> None:
    helper = make_wheel(yard.sdists, "helper", "2.0")
    sdist = make_sdist(yard.sdists, "it", "1.0", build_requires=["helper"])
    yard.make(Needs(sdist=sdist, files=[helper]))

    outcome = yard.build()

    path = ArchivePath("it-1.0-py3-none-any.whl")
    assert [file.path for file in outcome.built] == [path]
    origin = yard.manifest().files[path].origin
    assert origin is not None
    assert (origin.name, origin.version, origin.vouched) == ("it", "1.0", False)
    assert origin.why == (
        BuiltFrom(
            sha256=digest(sdist),
            by=((helper.name, digest(helper)),),
            python=f"cp{sys.version_info.major}{sys.version_info.minor}",
            platform=yard.interpreter.target.platform.tags[0],
        ),
    )
    assert zipfile.is_zipfile(yard.archive / path)


def test_the_metadata_agree_with_each_other(yard: Yard) -> None:
    sdist = make_sdist(yard.sdists, "it", "1.0")
    yard.make(Needs(sdist=sdist))

    outcome = yard.build()

    written = json.loads((yard.archive / "uv-archive.json").read_bytes())
    Draft202012Validator(json.loads(schema())).validate(written)
    assert outcome.digest == digest(yard.archive / "uv-archive.json")
    sums = (yard.archive / "SHA256SUMS").read_text().splitlines()
    listed = {name: value for value, _, name in (line.partition("  ") for line in sums)}
    assert listed == {
        name: digest(yard.archive / name)
        for name in written["files"]
        if name not in ("README.md", "SHA256SUMS")
    }
    assert "1 that were built here beforehand" in (yard.archive / "README.md").read_text()
    assert not (yard.archive / ".partial").exists()


def test_other_installers_are_told_of_the_wheel(yard: Yard) -> None:
    yard.make(Needs(sdist=make_sdist(yard.sdists, "it", "1.0")))

    yard.build()

    wheel = "it-1.0-py3-none-any.whl"
    (package,) = tomllib.loads((yard.archive / "pylock.toml").read_text())["packages"]
    assert package["sdist"]["path"] == "it-1.0.tar.gz"
    assert [one["path"] for one in package["wheels"]] == [wheel]
    assert package["wheels"][0]["hashes"] == {"sha256": digest(yard.archive / wheel)}
    assert digest(yard.archive / wheel) in (yard.archive / "requirements.txt").read_text()


def test_building_again_changes_nothing(yard: Yard) -> None:
    yard.make(Needs(sdist=make_sdist(yard.sdists, "it", "1.0")))
    first = yard.build()
    before = {path: path.stat().st_mtime_ns for path in yard.archive.rglob("*") if path.is_file()}

    second = yard.build()

    assert (second.built, second.there) == ((), (ArchivePath("it-1.0-py3-none-any.whl"),))
    assert second.digest == first.digest
    after = {path: path.stat().st_mtime_ns for path in yard.archive.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_a_wheel_that_is_not_as_recorded_is_built_again(yard: Yard, harm: str) -> None:
    yard.make(Needs(sdist=make_sdist(yard.sdists, "it", "1.0")))
    first = yard.build()
    wheel = yard.archive / "it-1.0-py3-none-any.whl"
    if harm == "gone":
        wheel.unlink()
    else:
        wheel.write_bytes(b"\0" * wheel.stat().st_size)

    second = yard.build()

    assert [file.path for file in second.built] == [wheel.name]
    assert second.digest == first.digest
    assert digest(wheel) == yard.manifest().files[ArchivePath(wheel.name)].sha256


def test_other_requirements_mean_another_build(yard: Yard) -> None:
    sdist = make_sdist(yard.sdists, "it", "1.0", build_requires=["helper"])
    yard.make(Needs(sdist=sdist, files=[make_wheel(yard.sdists, "helper", "1.0")]))
    yard.build()
    built = (yard.archive / "it-1.0-py3-none-any.whl").read_bytes()
    recorded = yard.manifest()
    shutil.rmtree(yard.archive)
    yard.make(Needs(sdist=sdist, files=[make_wheel(yard.sdists, "helper", "2.0")]))
    # As it is after a download that found a newer helper.
    (yard.archive / "it-1.0-py3-none-any.whl").write_bytes(built)
    document = json.loads((yard.archive / "uv-archive.json").read_bytes())
    wheel = ArchivePath("it-1.0-py3-none-any.whl")
    document["files"][wheel] = json.loads(recorded.to_json())["files"][wheel]
    (yard.archive / "uv-archive.json").write_bytes(
        from_json(json.dumps(document).encode()).to_json()
    )

    outcome = yard.build()

    assert [file.path for file in outcome.built] == [wheel]
    origin = yard.manifest().files[wheel].origin
    assert origin is not None
    assert [name for why in origin.why if isinstance(why, BuiltFrom) for name, _ in why.by] == [
        "helper-2.0-py3-none-any.whl"
    ]


@pytest.mark.parametrize(
    ("settings", "is_built_again"),
    [
        ({"config-settings": {"level": "4"}}, True),
        ({"config-settings": {"level": "3"}}, False),
        ({}, True),
        ({"config-settings-package": {"It": {"level": "3"}}}, True),
        (
            {"config-settings": {"level": "3"}, "extra-build-variables": {"it": {"OWN": "1"}}},
            True,
        ),
        (
            {"config-settings": {"level": "3"}, "extra-build-variables": {"other": {"OWN": "1"}}},
            False,
        ),
    ],
    ids=["other", "same", "none", "by-package", "variables", "of-others"],
)
def test_other_settings_mean_another_build(
    yard: Yard, settings: Mapping[str, object], *, is_built_again: bool
) -> None:
    sdist = make_misdoer(yard.sdists, "it", "said['level'] = settings.get('level', '')")
    yard.make(Needs(sdist=sdist), builds={"settings": {"config-settings": {"level": "3"}}})
    yard.build()
    document = json.loads((yard.archive / "uv-archive.json").read_bytes())
    document["builds"]["settings"] = settings  # as a download leaves it that found others
    path = yard.archive / "uv-archive.json"
    path.write_bytes(from_json(without_checksum(document)).to_json())

    outcome = yard.build()

    assert [file.label for file in outcome.built] == (["it==1.0"] if is_built_again else [])
    again = yard.build()
    assert again.built == ()


def without_checksum(document: dict[str, object]) -> bytes:
    return json.dumps({k: v for k, v in document.items() if k != "checksum"}).encode()


def test_only_the_bytes_that_were_hashed_get_into_the_archive(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_and_change(*arguments: object, **more: object) -> Built | NotBuilt:
        made = build_one(*arguments, **more)  # type: ignore[arg-type]
        if isinstance(made, Built) and made.filename.name == "it":
            made.path.write_bytes(made.path.read_bytes() + b"more")
        return made

    sdists = [make_sdist(yard.sdists, name, "1.0") for name in ("it", "other")]
    yard.make(*(Needs(sdist=sdist) for sdist in sdists))
    monkeypatch.setattr(many, "build_one", build_and_change)

    outcome = yard.build()

    reason = "`it-1.0-py3-none-any.whl` was changed after it was built"
    assert failures(outcome) == [("it==1.0", reason)]
    assert [file.label for file in outcome.built] == ["other==1.0"]
    assert not (yard.archive / "it-1.0-py3-none-any.whl").exists()


def test_two_that_want_different_versions_of_one_requirement_are_both_built(yard: Yard) -> None:
    one, two = (make_wheel(yard.sdists, "helper", version) for version in ("1.0", "2.0"))
    older = make_sdist(yard.sdists, "older", "1.0", build_requires=["helper<2"])
    newer = make_sdist(yard.sdists, "newer", "1.0", build_requires=["helper>=2"])
    yard.make(Needs(sdist=older, files=[one]), Needs(sdist=newer, files=[two]))

    outcome = yard.build()

    assert failures(outcome) == []
    assert [file.label for file in outcome.built] == ["newer==1.0", "older==1.0"]


def test_a_requirement_that_is_an_sdist_is_built_first(yard: Yard) -> None:
    helper = make_sdist(yard.sdists, "helper", "1.0", build_requires=["deeper"])
    deeper = make_wheel(yard.sdists, "deeper", "1.0")
    sdist = make_sdist(yard.sdists, "it", "1.0", build_requires=["helper"])
    yard.make(Needs(sdist=sdist, files=[helper]), Needs(sdist=helper, files=[deeper]))

    outcome = yard.build()

    assert failures(outcome) == []
    assert [file.label for file in outcome.built] == ["helper==1.0", "it==1.0"]


def test_settings_that_the_archive_recorded_count(yard: Yard) -> None:
    sdist = make_misdoer(yard.sdists, "it", "said['level'] = settings['level']")
    settings = {"config-settings-package": {"it": {"level": "3"}}}
    yard.make(Needs(sdist=sdist), builds={"settings": settings})

    yard.build()

    with zipfile.ZipFile(yard.archive / "it-1.0-py3-none-any.whl") as wheel:
        assert wheel.read("level") == b"3"


# What goes wrong


def test_one_that_fails_is_named_and_the_others_are_built(yard: Yard) -> None:
    broken = make_misdoer(yard.sdists, "broken", "raise OSError('no compiler here')")
    endless = make_misdoer(yard.sdists, "endless", "import time; time.sleep(600)")
    greedy = make_misdoer(yard.sdists, "greedy", "open(os.path.expanduser('~/.netrc')).read()")
    fine = make_sdist(yard.sdists, "fine", "1.0")
    damaged = make_sdist(yard.sdists, "damaged", "1.0")
    yard.make(*(Needs(sdist=one) for one in (broken, endless, greedy, fine, damaged)))
    (yard.archive / damaged.name).write_bytes(b"something else")

    outcome = yard.build(timeout=15, jobs=4)

    assert [file.label for file in outcome.built] == ["fine==1.0"]
    told = {one.label: one for one in outcome.failed}
    assert {label: one.reason for label, one in told.items() if label != "damaged==1.0"} == {
        "broken==1.0": "its build failed",
        "endless==1.0": "it wasn't done after 15 seconds",
        "greedy==1.0": "its build failed",
    }
    assert "isn't what was recorded" in told["damaged==1.0"].reason
    assert any("no compiler here" in line for line in told["broken==1.0"].lines)
    log = told["broken==1.0"].log
    assert log is not None
    assert "no compiler here" in log.read_text()
    assert not log.is_relative_to(yard.archive)
    # The archive is none the worse.
    assert yard.manifest().digest == outcome.digest


def test_what_has_no_recorded_requirements_is_named(yard: Yard) -> None:
    helper = make_sdist(yard.sdists, "helper", "1.0")
    sdist = make_sdist(yard.sdists, "it", "1.0", build_requires=["helper"])
    yard.make(Needs(sdist=sdist, files=[helper]))

    ((label, reason),) = failures(yard.build())

    assert label == "it==1.0"
    assert "`helper==1.0`, which it needs, has no wheel" in reason


def test_an_archive_without_build_requirements_says_so(yard: Yard) -> None:
    yard.make(Needs(sdist=make_sdist(yard.sdists, "it", "1.0")), builds={"gathered": {}})

    ((label, reason),) = failures(yard.build())

    assert label == "it==1.0"
    assert "no build requirements" in reason


@pytest.mark.parametrize("harm", ["none", "a wheel", "an sdist"])
def test_a_build_that_was_killed_while_it_replaced_a_wheel_goes_on(yard: Yard, harm: str) -> None:
    yard.make(Needs(sdist=make_sdist(yard.sdists, "it", "1.0")))
    first = yard.build()
    partial = yard.archive / ".partial"
    partial.mkdir()
    (yard.archive / "uv-archive.json").rename(partial / "uv-archive.json")
    if harm == "a wheel":
        (yard.archive / "it-1.0-py3-none-any.whl").write_bytes(b"other bytes")
    if harm == "an sdist":
        (yard.archive / "it-1.0.tar.gz").write_bytes(b"other bytes")
        with pytest.raises(ArchiveError, match="incomplete"):
            yard.build()
        assert (partial / "uv-archive.json").is_file()
        return

    second = yard.build()

    assert second.digest == first.digest
    assert bool(second.built) == (harm == "a wheel")
    assert not partial.exists()


def test_an_incomplete_archive_is_refused(yard: Yard) -> None:
    yard.make(Needs(sdist=make_sdist(yard.sdists, "it", "1.0")))
    (yard.archive / "uv-archive.json").rename(yard.directory / "aside")

    with pytest.raises(ArchiveError):
        yard.build()


def test_the_same_wheels_give_the_same_digest(yard: Yard) -> None:
    """In whichever order they are done, and how many at a time."""
    sdists = [make_sdist(yard.sdists, f"part{number}", "1.0") for number in range(4)]
    digests = set()
    for jobs, ordered in ((1, sdists), (4, sdists[::-1])):
        yard.make(*(Needs(sdist=sdist) for sdist in ordered))
        yard.build(jobs=jobs)
        shutil.rmtree(yard.archive / "locked")  # the lock itself has the order
        document = json.loads((yard.archive / "uv-archive.json").read_bytes())
        digests.add(json.dumps({k: v for k, v in document["files"].items() if ".whl" in k}))
        shutil.rmtree(yard.archive)

    assert len(digests) == 1
