"""What each flag of `download` does, seen from outside."""

from __future__ import annotations

import re
import sys

import pytest

from tests.distributions import make_sdist
from tests.e2e.bench import CANARY, Bench
from tests.e2e.projects import write_project
from tests.e2e.validity import assert_valid

BETA, BETA_SDIST = "beta-2.0-py3-none-any.whl", "beta-2.0.tar.gz"
GAMMA, DELTA_SDIST = "gamma-1.0.tar.gz", "delta-1.0.tar.gz"
BUILD = {"forge-1.0-py3-none-any.whl", "anvil-1.0-py3-none-any.whl"}
LINUX_311 = "delta-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
LINUX_312 = "delta-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"
WINDOWS_311 = "delta-1.0-cp311-cp311-win_amd64.whl"
WINDOWS_312 = "delta-1.0-cp312-cp312-win_amd64.whl"
MACOS_311 = "delta-1.0-cp311-cp311-macosx_11_0_arm64.whl"
ALL_WHEELS = {LINUX_311, LINUX_312, WINDOWS_311, WINDOWS_312, MACOS_311}
EXTRA, GROUP = "direct-1.0-py3-none-any.whl", "epsilon-1.0+local.1-py3-none-any.whl"
LOGIN = {"UV_INDEX_MAIN_USERNAME": "reader", "UV_INDEX_MAIN_PASSWORD": CANARY}
P311 = ("-p", "3.11", "--python-platform", "linux")

CASES = {
    "a-minor-version": (P311, {BETA, LINUX_311}),
    "a-full-version": (("-p", "3.12.4", "--python-platform", "linux"), {BETA, LINUX_312}),
    "two-versions": ((*P311, "-p", "3.12"), {BETA, LINUX_311, LINUX_312}),
    "two-platforms": ((*P311, "--python-platform", "windows"), {BETA, LINUX_311, WINDOWS_311}),
    "a-product": (
        (*P311, "-p", "3.12", "--python-platform", "windows"),
        {BETA, LINUX_311, LINUX_312, WINDOWS_311, WINDOWS_312},
    ),
    "a-platform-tag": (
        ("-p", "3.11", "--python-platform", "macosx_12_0_arm64"),
        {BETA, MACOS_311},
    ),
    "a-platform-without-a-wheel": (
        ("-p", "3.11", "--python-platform", "aarch64-unknown-linux-gnu"),
        {BETA, DELTA_SDIST, *BUILD},
    ),
    "all-platforms": (
        ("--all-platforms", "--no-build-requirements"),
        {BETA, BETA_SDIST, DELTA_SDIST, *ALL_WHEELS},
    ),
    "all-platforms-of-a-python": (
        ("--all-platforms", "-p", "3.12", "--no-sdists", "--no-build-requirements"),
        {BETA, DELTA_SDIST, LINUX_312, WINDOWS_312},
    ),
    "sdists": ((*P311, "--sdists"), {BETA, BETA_SDIST, LINUX_311, DELTA_SDIST}),
    "no-binary": (
        (*P311, "--no-binary"), {BETA_SDIST, DELTA_SDIST, *BUILD}
    ),
    "no-binary-package": (
        (*P311, "--no-binary-package", "Delta", "--no-build-requirements"), {BETA, DELTA_SDIST}
    ),
    "no-build": ((*P311, "--no-build"), {BETA, LINUX_311}),
    "an-extra": ((*P311, "--extra", "net"), {BETA, LINUX_311, EXTRA}),
    "a-group": ((*P311, "--group", "more"), {BETA, LINUX_311, GROUP}),
    "only-a-group": ((*P311, "--only-group", "more"), {GROUP}),
    "no-dev": ((*P311, "--no-dev"), {BETA}),
    "only-dev": ((*P311, "--only-dev"), {LINUX_311}),
    "no-default-groups": ((*P311, "--no-default-groups"), {BETA}),
    "all": ((*P311, "--all"), {BETA, LINUX_311, EXTRA, GROUP}),
    "all-but-one": (
        (*P311, "--all-extras", "--no-extra", "net", "--all-groups", "--no-group", "dev"),
        {BETA, GROUP},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(module_bench: Bench) -> Bench:
    write_project(
        module_bench,
        '["beta"]',
        build="",
        more=f"""
[project.optional-dependencies]
net = ["direct"]

[dependency-groups]
dev = ["delta"]
more = ["epsilon"]

[tool.uv.sources]
direct = {{ url = "{module_bench.index.address}/files/direct-1.0-py3-none-any.whl" }}
""",
    )
    module_bench.lock()
    return module_bench


@pytest.mark.parametrize(("flags", "expected"), CASES.values(), ids=CASES.keys())
def test_takes(project: Bench, flags: tuple[str, ...], expected: set[str]) -> None:
    said = project.download("--frozen", "--dry-run", "--output-format", "json", *flags).json
    listed = said["fetched"]
    assert isinstance(listed, list)
    there = {one["path"] for one in listed}
    # What the sdists need is only known once they are there.
    assert there == expected - BUILD
    assert (said["builds_unresolved"] != 0) == bool(expected & BUILD)


@pytest.mark.parametrize("case", ["a-platform-without-a-wheel", "no-binary", "a-product"])
def test_rehearsals_are_right(project: Bench, case: str) -> None:
    flags, expected = CASES[case]
    archive = project.directory / case
    project.download("--frozen", *flags, "-o", archive)
    assert project.distributions(archive) == expected


def test_what_a_flag_forbids_is_not_blamed_on_the_targets(project: Bench) -> None:
    arm = ("-p", "3.11", "--python-platform", "aarch64-unknown-linux-gnu")
    said = project.uv_archive("download", "--frozen", "--dry-run", *arm, "--no-build")
    assert said.status == 2
    assert "delta==1.0" in said.err
    assert "hint: Leave out `--no-build`" in said.err


def test_a_python_that_uv_does_not_know_is_a_warning(project: Bench) -> None:
    said = project.download("--frozen", "--dry-run", "-p", "3.99", "--no-dev")
    assert re.search(r"warning: uv [\d.]+ knows no Python 3\.99, and there is none here", said.err)
    said = project.download("--frozen", "--dry-run", "-p", "3.12", "--no-dev")
    assert "knows no Python" not in said.err


def test_the_summary_names_what_was_left_out(project: Bench) -> None:
    said = project.download("--frozen", "--dry-run", *P311, "--no-dev")
    line = next(line for line in said.err.splitlines() if "Not selected" in line)
    assert all(name in line for name in ("net", "dev", "more", "--all"))


@pytest.mark.parametrize(
    ("flags", "below"),
    [
        (("-o", "for the command"), "project"),
        (("--project", "project"), "."),
        (("--project", "project", "-o", "x/dist/dependencies"), "."),
        (("--directory", "project", "--project", "."), "."),
        (("--directory", "project", "-o", "beside"), "."),
        (("--no-binary-package", "beta"), "project"),
    ],
    ids=[
        *("out-dir", "project", "project-and-out-dir", "directory", "directory-and-out-dir"),
        "no-binary-package",
    ],
)
def test_the_command_to_install_with_works_where_it_is_given(
    project: Bench, flags: tuple[str, ...], below: str
) -> None:
    where = project.directory / below
    said = project.uv_archive(
        "download", "--frozen", "--extra", "net", "--no-dev", *flags, cwd=where
    )
    assert said.status == 0, said.err
    line = next(line for line in said.err.splitlines() if "uv-archive sync" in line)
    command = line[line.index("uv-archive sync") :].replace("uv-archive", "uv_archive", 1)
    project.clear_environment()
    done = project.run("sh", "-c", f'"$0" -m {command}', sys.executable, offline=True, cwd=where)
    assert done.status == 0, f"{command}\n{done.err}"
    project.assert_nothing_left_to_do("--extra", "net", "--no-dev")


def test_mirror(bench: Bench) -> None:
    """Fetched from elsewhere, and recorded as if it weren't."""
    write_project(bench, '["alpha==1.0"]', build="")
    bench.lock()
    plain, mirrored = bench.directory / "plain", bench.directory / "mirrored"
    bench.download("-o", plain)
    bench.index.at("main").rename(bench.index.directory / "mirror")
    address = bench.index.address
    said = bench.uv_archive(
        "download", "--frozen", "-o", mirrored, "--mirror", f"{address}/main/={address}/mirror/"
    )
    assert said.status == 0, said.err
    assert (plain / "uv-archive.json").read_bytes() == (mirrored / "uv-archive.json").read_bytes()


class TestUnhashed:
    @pytest.fixture
    def unhashed(self, bench: Bench) -> Bench:
        bench.index.unhashed.add("main")
        write_project(bench, '["alpha==1.0"]', build="")
        bench.lock()
        assert "hash" not in bench.root.joinpath("uv.lock").read_text()
        return bench

    def test_is_refused(self, unhashed: Bench) -> None:
        said = unhashed.uv_archive("download", "--frozen")
        assert said.status == 2
        assert "--allow-unhashed alpha --allow-unhashed beta" in said.err
        assert not unhashed.archive.exists()

    @pytest.mark.parametrize(
        "flags",
        [("--allow-unhashed", "alpha", "--allow-unhashed", "beta"), ("--allow-unhashed-all",)],
        ids=["by-name", "all"],
    )
    def test_is_recorded_as_such_when_allowed(
        self, unhashed: Bench, flags: tuple[str, ...]
    ) -> None:
        said = unhashed.download("--frozen", *flags)
        assert "no secure hash" in said.err
        recorded = unhashed.manifest()["files"]
        assert isinstance(recorded, dict)
        assert recorded[BETA]["vouched"] is False
        assert_valid(unhashed)
        unhashed.index.requests.clear()
        unhashed.download("--frozen", *flags)
        assert unhashed.index.requests == []
        unhashed.sync()


class TestCredentials:
    @pytest.fixture
    def guarded(self, bench: Bench) -> Bench:
        """A project whose index asks who is there; uv locked it with the same credentials."""
        make_sdist(bench.index.at("main"), "beta", "3.0", build_requires=["forge"])
        write_project(bench, '["alpha==1.0", "gamma"]', build="")
        bench.index.logins["main"] = f"reader:{CANARY}"
        bench.lock(variables=LOGIN)
        return bench

    def test_come_from_the_environment(self, guarded: Bench) -> None:
        said = guarded.download(variables=LOGIN)
        assert "downloaded" in said.err
        assert_valid(guarded)
        guarded.sync()

    @pytest.mark.parametrize("place", ["home", "NETRC"])
    def test_come_from_netrc(self, guarded: Bench, place: str) -> None:
        netrc = guarded.directory / ("home/.netrc" if place == "home" else "elsewhere")
        netrc.write_text(f"machine 127.0.0.1 login reader password {CANARY}\n")
        netrc.chmod(0o600)
        guarded.download(variables={"NETRC": None if place == "home" else str(netrc)})
        assert_valid(guarded)

    @pytest.mark.parametrize("password", [None, f"{CANARY}-wrong"], ids=["none", "wrong"])
    def test_that_are_missing_are_asked_for(self, guarded: Bench, password: str | None) -> None:
        said = guarded.uv_archive(
            "download",
            "--frozen",
            variables={
                "UV_INDEX_MAIN_USERNAME": password and "reader",
                "UV_INDEX_MAIN_PASSWORD": password,
            },
        )
        assert said.status == 1
        assert "401" in said.err
        assert "UV_INDEX_" in said.err
        assert not (guarded.archive / "uv-archive.json").exists()

    def test_in_the_url_of_the_index_are_not_written_down(self, bench: Bench) -> None:
        bench.index.logins["main"] = f"reader:{CANARY}"
        secret = bench.index.address.replace("://", f"://reader:{CANARY}@")
        write_project(bench, '["alpha==1.0"]', build="")
        path = bench.root / "pyproject.toml"
        path.write_text(path.read_text().replace(bench.index.address, secret))
        bench.lock()
        bench.download()
        assert_valid(bench)
        bench.download("--output-format", "json", "--verify")
