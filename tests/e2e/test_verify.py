"""`verify` over archives that `download` made, and `download --verify` over damaged ones."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.bench import Bench, Said, bytes_of, tree
from tests.e2e.projects import (
    BY_HATCHLING,
    BY_ITSELF,
    PLAIN,
    SCENARIOS,
    Scenario,
    write_project,
)
from tests.verify.archives import flip
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import Manifest
from uv_archive.archive.store import Store

SCHEMA = json.loads(files("uv_archive.cli").joinpath("verify.schema.json").read_text("utf-8"))
ALPHA, BETA = "alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"
TOUCHING = """
import pathlib
import zipfile


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    pathlib.Path("built").write_text("here")
    name = "app-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        wheel.writestr(
            "app-1.0.dist-info/METADATA",
            "Metadata-Version: 2.2\\nName: app\\nVersion: 1.0\\nRequires-Dist: beta\\n",
        )
        wheel.writestr(
            "app-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: it\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        wheel.writestr("app-1.0.dist-info/RECORD", "")
    return name
"""


def verified(bench: Bench, *arguments: str, status: int) -> dict[str, object]:
    """Run `verify` without network, and return what it wrote as JSON."""
    said = bench.uv_archive("verify", "--output-format", "json", *arguments, offline=True)
    assert said.status == status, said.text
    assert said.err == ""
    document = json.loads(said.out)
    assert isinstance(document, dict)
    Draft202012Validator(SCHEMA).validate(document)
    return document


def found(document: Mapping[str, object]) -> list[tuple[str, str | None]]:
    findings = document["findings"]
    assert isinstance(findings, list)
    return [(one["kind"], one["path"]) for one in findings]


def only(document: Mapping[str, object], key: str) -> dict[str, object]:
    value = document[key]
    assert isinstance(value, list)
    (one,) = value
    assert isinstance(one, dict)
    return one


def forget(archive: Path, path: str) -> None:
    """Remove a file, and write a manifest that never had it."""
    store = Store(archive)
    manifest = store.manifest()
    kept = {name: entry for name, entry in manifest.files.items() if name != path}
    write(archive, replace(manifest, files=kept))
    (archive / path).unlink()


def forge(archive: Path, path: str) -> None:
    """Change a file, and what the manifest says of it."""
    manifest = Store(archive).manifest()
    (archive / path).write_bytes(b"forged")
    sha256 = hashlib.sha256(b"forged").hexdigest()
    forged = replace(manifest.files[ArchivePath(path)], size=6, sha256=sha256)
    write(archive, replace(manifest, files={**manifest.files, ArchivePath(path): forged}))


def write(archive: Path, manifest: Manifest) -> None:
    changed = replace(manifest, read_digest=None)
    (archive / "uv-archive.json").write_bytes(changed.to_json())


# Against the project


def test_a_finished_archive_is_consistent_and_nothing_is_touched(carried: Bench) -> None:
    before = tree(carried.directory)
    document = verified(carried, "--project", ".", status=0)
    assert document["verdict"] == "consistent"
    assert document["lock"] == str(carried.root / "uv.lock")
    assert verified(carried, str(carried.archive), status=0)["lock"] is None
    assert tree(carried.directory) == before


def test_what_the_projects_own_lock_doesnt_name_is_told(carried: Bench) -> None:
    """A file that was changed together with the archive's metadata."""
    forge(carried.archive, ALPHA)
    assert ("not as locked", ALPHA) in found(verified(carried, "--project", ".", status=1))


def test_sync_believes_the_projects_own_lock_and_not_the_metadata(carried: Bench) -> None:
    forge(carried.archive, ALPHA)
    said = carried.uv_archive("sync", offline=True)
    assert said.status == 1, said.text
    assert ALPHA in said.err
    assert not carried.venv.exists()


def test_sync_compares_the_digest_that_was_expected(carried: Bench) -> None:
    """No lock names what builds need; it may be changed together with the metadata."""
    digest = f"sha256:{Store(carried.archive).manifest().digest}"
    (hatchling,) = carried.archive.glob("hatchling-*.whl")
    forge(carried.archive, hatchling.name)
    said = carried.uv_archive("sync", "--expect", digest, offline=True)
    assert said.status == 2, said.text
    assert f"not {digest}" in said.err
    assert not carried.venv.exists()


def test_an_archive_of_another_state_of_the_lock_is_told(carried: Bench) -> None:
    lock = carried.root / "uv.lock"
    digest = Store(carried.archive).manifest().files[ArchivePath(ALPHA)].sha256
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    document = verified(carried, "--project", ".", status=1)
    assert [kind for kind, _ in found(document)] == ["other lock"]
    assert "`alpha 1.0`" in str(only(document, "findings")["message"])


def test_another_projects_archive_is_refused(carried: Bench) -> None:
    pyproject = carried.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('name = "app"', 'name = "other"'))
    lock = carried.root / "uv.lock"
    lock.write_text(lock.read_text().replace('name = "app"', 'name = "other"'))
    said = carried.uv_archive("verify", "--project", ".", offline=True)
    assert said.status == 2
    assert "is the archive of `app`" in said.err


def test_a_file_that_a_recorded_request_needs_and_that_isnt_recorded(carried: Bench) -> None:
    forget(carried.archive, ALPHA)
    document = verified(carried, "--project", ".", status=1)
    assert ("lacking", ALPHA) in found(document)


def test_a_stopped_second_requests_files_are_unrecorded(carried: Bench) -> None:
    manifest = Store(carried.archive).manifest()
    kept = {name: entry for name, entry in manifest.files.items() if name != ALPHA}
    write(carried.archive, replace(manifest, files=kept))
    assert ("unrecorded", ALPHA) in found(verified(carried, status=1))


# Targets


def test_a_target_that_can_be_served_by_uvs_word_as_well(carried: Bench) -> None:
    document = verified(carried, "--no-dev", "--python-platform", "windows", status=0)
    checked = only(document, "targets")
    assert checked["lacking"] == 0
    assert checked["by_uv"] is True, checked


def test_what_a_target_lacks_is_named_and_uv_refuses_it_too(carried: Bench) -> None:
    (carried.archive / ALPHA).unlink()
    document = verified(carried, "--no-dev", "--python-platform", "windows", status=1)
    assert found(document) == [("missing", ALPHA), ("lacking", ALPHA)]
    findings = document["findings"]
    assert isinstance(findings, list)
    assert "uv refuses it, too" in findings[1]["message"]
    assert "win_amd64" in findings[1]["target"]
    assert "--python-platform win_amd64" in findings[1]["hint"]


def test_a_python_that_isnt_here_is_judged_by_own_selection_only(carried: Bench) -> None:
    checked = only(verified(carried, "-p", "3.29", "--no-dev", status=0), "targets")
    assert checked["by_uv"] is False
    assert "3.29" in str(checked["reason"])


def test_an_extra_that_isnt_there_cant_be_verified(carried: Bench) -> None:
    assert carried.uv_archive("verify", "--extra", "nonesuch", offline=True).status == 2


# Rehearsals


def test_a_rehearsal_installs_everything_and_leaves_nothing(carried: Bench) -> None:
    before = tree(carried.root)
    rehearsal = only(verified(carried, "--rehearse", status=0), "rehearsals")
    assert rehearsal["succeeded"] is True
    assert int(str(rehearsal["distributions"])) > 3
    assert tree(carried.root) == before
    assert not carried.venv.exists()


def test_a_rehearsal_turns_the_network_off_by_itself(carried: Bench) -> None:
    said = carried.uv_archive("verify", "--rehearse")
    assert said.status == 0, said.text
    assert "without network" in said.err


def test_a_rehearsal_finds_what_looking_at_files_doesnt(carried: Bench) -> None:
    """The wheel that builds the project isn't recorded, and no lock names it."""
    names = [path.name for path in carried.archive.glob("hatchling-*.whl")]
    assert names
    for name in names:
        forget(carried.archive, name)
    document = verified(carried, "--rehearse", status=1)
    assert ("rehearsal failed", None) in found(document)
    assert "hatchling" in json.dumps(document)


def test_what_a_build_writes_into_the_source_tree_goes_into_a_copy(bench: Bench) -> None:
    write_project(bench, '["beta"]', build=BY_ITSELF.replace('["forge"]', "[]"))
    bench.write("build_backend/backend.py", TOUCHING)
    bench.lock()
    bench.download()
    before = tree(bench.root)
    document = verified(bench, "--rehearse", status=0)
    assert only(document, "rehearsals")["succeeded"] is True
    assert tree(bench.root) == before
    bench.sync()
    assert (bench.root / "built").exists()


SCRIPT = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["beta"]
#
# [[tool.uv.index]]
# url = "{index}"
# default = true
# ///
"""


@pytest.mark.parametrize("kind", ["project", "script", "pylock"])
def test_the_environment_of_the_interpreter_that_is_used_stays_as_it_is(
    bench: Bench, kind: str
) -> None:
    """`sync --pylock --python PATH` installs into the environment that has the interpreter."""
    write_project(bench, '["beta"]')
    bench.lock()
    bench.write("s.py", SCRIPT.format(index=bench.index.simple()))
    bench.lock("--script", "s.py")
    export = ("export", "--frozen", "--format", "pylock.toml", "--no-emit-project")
    said = bench.run(bench.uv, *export, "-o", "pylock.toml")
    assert said.status == 0, said.err
    flags = {
        "project": ("--project", "."),
        "script": ("--script", "s.py"),
        "pylock": ("--pylock", "pylock.toml"),
    }[kind]
    archive = str(bench.directory / "archive")
    bench.download(*flags, "-o", archive)
    other = bench.directory / "other"
    assert bench.run(bench.uv, "venv", str(other)).status == 0
    used = f"{other}/bin/python"
    (other / "lib" / "mine").write_text("left alone")
    before, project = tree(other), tree(bench.root)
    document = verified(bench, archive, *flags, "--rehearse", "-p", used, status=0)
    rehearsal = only(document, "rehearsals")
    assert (rehearsal["succeeded"], rehearsal["distributions"]) == (True, 1)
    after = {path: state for path, state in tree(other).items() if "__pycache__" not in path}
    assert after == {path: state for path, state in before.items() if "__pycache__" not in path}
    assert tree(bench.root) == project


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_false_alarms_with_any_kind_of_source(bench: Bench, scenario: Scenario) -> None:
    scenario.write(bench)
    bench.lock()
    bench.download(*scenario.download)
    for flags, _ in scenario.installs:
        # How something is installed changes nothing about what is.
        selecting = [flag for flag in flags if flag != "--no-editable"]
        document = verified(bench, "--rehearse", "-p", "3.11", *selecting, status=0)
        assert only(document, "targets")["lacking"] == 0
        assert only(document, "rehearsals")["succeeded"] is True


def test_all_that_stands_in_the_way_of_a_rehearsal_is_in_one_line(carried: Bench) -> None:
    flip(carried.archive / ALPHA, 7)
    (carried.archive / BETA).unlink()
    said = carried.uv_archive("verify", "--rehearse", offline=True)
    (line,) = (line for line in said.out.splitlines() if line.startswith("rehearsal failed"))
    assert f"`{BETA}`" in line
    assert f"{ALPHA}`" in line
    assert "; 1 of the files that this sync needs" in line
    assert r"\n" not in line


@pytest.fixture
def stale(bench: Bench) -> Bench:
    """A project that asks for more than its lock, and an archive of that lock."""
    write_project(bench, '["alpha"]')
    bench.lock()
    bench.download()
    path = bench.root / "pyproject.toml"
    path.write_text(path.read_text().replace('["alpha"]', '["alpha", "epsilon"]'))
    return bench


@pytest.mark.parametrize("flags", [("--project", "."), ("-q", "--project", "."), ("--rehearse",)])
def test_a_stale_lock_is_warned_of(stale: Bench, flags: tuple[str, ...]) -> None:
    """It isn't the archive's fault."""
    before = tree(stale.root)
    said = stale.uv_archive("verify", *flags, offline=True)
    assert said.status == 0, said.text
    warning = f"warning: `{stale.root / 'uv.lock'}` isn't up to date with `pyproject.toml`, as far"
    assert warning in said.err
    assert tree(stale.root) == before


def test_no_uv_is_needed_to_compare_the_projects_lock(stale: Bench) -> None:
    said = stale.uv_archive("verify", "--project", ".", variables={"UV": sys.executable})
    assert said.status == 0, said.text
    assert "warning" not in said.err


def test_without_a_project_nothing_is_asked_about_its_lock(stale: Bench) -> None:
    said = stale.uv_archive("verify", stale.archive, offline=True)
    assert said.status == 0, said.text
    assert "warning" not in said.err


def test_a_foreign_target_cant_be_rehearsed(carried: Bench) -> None:
    said = carried.uv_archive("verify", "--rehearse", "--python-platform", "windows", offline=True)
    assert said.status == 2
    assert "rehearsed" in said.err


# Repairs


def rot(path: str) -> Callable[[Bench], None]:
    return lambda bench: flip(bench.archive / path, 4_321)


def lose(path: str) -> Callable[[Bench], None]:
    return lambda bench: (bench.archive / path).unlink()


def cut_manifest(bench: Bench) -> None:
    os.truncate(bench.archive / "uv-archive.json", 1_000)


def link(bench: Bench) -> None:
    (bench.archive / ALPHA).rename(bench.directory / ALPHA)
    (bench.archive / ALPHA).symlink_to(bench.directory / ALPHA)


def everything(bench: Bench) -> None:
    for damage in (rot(ALPHA), rot("README.md"), rot("SHA256SUMS"), rot("uv-archive.json")):
        damage(bench)
    lose("pylock.toml")(bench)


@pytest.fixture(scope="module")
def two_requests(module_bench: Bench) -> Bench:
    """An archive that two requests made, and a copy of it to go back to."""
    PLAIN.write(module_bench)
    pyproject = module_bench.root / "pyproject.toml"
    more = '\n[project.optional-dependencies]\nmore = ["gamma"]\n'
    pyproject.write_text(pyproject.read_text().replace(BY_HATCHLING, more + BY_HATCHLING))
    module_bench.lock()
    module_bench.download()
    module_bench.download("--extra", "more")
    shutil.copytree(module_bench.archive, module_bench.directory / "whole")
    return module_bench


@pytest.fixture
def damaged(two_requests: Bench) -> Bench:
    shutil.rmtree(two_requests.archive)
    shutil.copytree(two_requests.directory / "whole", two_requests.archive)
    return two_requests


def whole(bench: Bench) -> dict[str, str]:
    return bytes_of(bench.directory / "whole")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        pytest.param(rot(ALPHA), ALPHA, id="a-file"),
        pytest.param(lose(ALPHA), "1 distribution downloaded", id="a-file-lost"),
        pytest.param(link, "1 distribution downloaded", id="a-link"),
        pytest.param(rot("README.md"), "README.md", id="metadata"),
        pytest.param(rot("uv-archive.json"), "uv-archive.json", id="the-manifest"),
        pytest.param(everything, ALPHA, id="everything"),
    ],
)
def test_download_verify_repairs_and_says_what(
    damaged: Bench, damage: Callable[[Bench], None], named: str
) -> None:
    damage(damaged)
    said: Said = damaged.download("--verify")
    assert named in said.err, said.err
    assert bytes_of(damaged.archive) == whole(damaged)
    assert verified(damaged, "--project", ".", status=0)["verdict"] == "consistent"


def test_json_says_what_was_mended(damaged: Bench) -> None:
    everything(damaged)
    document = damaged.download("--verify", "--output-format", "json").json
    assert document["mended"] == ["README.md", "SHA256SUMS", "uv-archive.json"]
    assert only(document, "replaced")["path"] == ALPHA


@pytest.mark.parametrize(
    "damage",
    [pytest.param(rot("uv-archive.json"), id="a-bit"), pytest.param(cut_manifest, id="a-half")],
)
def test_a_damaged_manifest_is_named_and_nothing_is_changed(
    damaged: Bench, damage: Callable[[Bench], None]
) -> None:
    damage(damaged)
    before = bytes_of(damaged.archive)
    said = damaged.uv_archive("download")
    assert said.status == 2
    assert "uv-archive.json" in said.err
    assert "--verify" in said.err
    assert bytes_of(damaged.archive) == before


@pytest.mark.parametrize("flag", ["--verify", "--replace"])
def test_half_a_manifest_is_made_anew_and_no_file_is_lost(damaged: Bench, flag: str) -> None:
    cut_manifest(damaged)
    said = damaged.download(flag)
    assert "Made `uv-archive.json` anew" in said.err
    assert "0 B" in said.err or "Nothing to download" in said.err
    before, after = whole(damaged), bytes_of(damaged.archive)
    distributions = [path for path in before if path.endswith((".whl", ".tar.gz"))]
    assert {path: after[path] for path in distributions} == {
        path: before[path] for path in distributions
    }
    # The other request stood in the half that is gone; made again, it finds its files.
    assert "What else was requested before" in said.err
    damaged.download("--extra", "more")
    assert bytes_of(damaged.archive) == before


def test_replace_makes_a_damaged_manifest_anew_for_this_request(damaged: Bench) -> None:
    rot("uv-archive.json")(damaged)
    damaged.download("--replace")
    assert len(Store(damaged.archive).manifest().requests) == 1
