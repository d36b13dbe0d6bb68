"""What the indexes serve: tiny distributions, among them two build backends."""

from __future__ import annotations

from pathlib import Path

from tests.distributions import make_sdist, make_wheel

# What hatchling does, in a few lines: for editable installs it needs `editables`, and says so in
# a hook only.
_HATCHLING = """\
import pathlib
import tomllib
import zipfile


def get_requires_for_build_editable(config_settings=None):
    return ["editables~=0.3"]


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    import editables

    assert editables.__version__
    return _build(wheel_directory, None)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    sources = pathlib.Path("src")
    return _build(
        wheel_directory,
        {p.relative_to(sources).as_posix(): p.read_text() for p in sorted(sources.rglob("*.py"))},
    )


def _build(directory, files):
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
    stem = project["name"].replace("-", "_") + "-" + project["version"]
    lines = ["Metadata-Version: 2.2", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {one}" for one in project.get("dependencies", [])]
    if files is None:
        files = {f"_{stem}.pth": str(pathlib.Path("src").resolve())}
    files[f"{stem}.dist-info/METADATA"] = "\\n".join(lines) + "\\n"
    files[f"{stem}.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    )
    names = [*files, f"{stem}.dist-info/RECORD"]
    files[f"{stem}.dist-info/RECORD"] = "".join(f"{name},,\\n" for name in names)
    with zipfile.ZipFile(pathlib.Path(directory, f"{stem}-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return f"{stem}-py3-none-any.whl"
"""

#: What a test's index has of the start: the names of its directories.
INDEXES = ("main", "other", "files")


def fill(directory: Path) -> None:
    """Write every distribution that the tests' projects need."""
    main, other, files = (directory / name for name in INDEXES)
    make_wheel(main, "alpha", "1.0", requires=["beta>=1"], entry_points={"hello": "alpha:hello"},
               files={"alpha/__init__.py": '__version__ = "1.0"\ndef hello(): print("hello")\n'},
               extras={"fast": ["gamma"]})  # fmt: skip
    make_wheel(main, "alpha", "2.0", requires=["beta>=1"])
    make_wheel(main, "beta", "1.0")
    make_wheel(main, "beta", "2.0")
    make_sdist(main, "beta", "2.0")
    # Only an sdist, whose build needs something that no lock names.
    make_sdist(main, "gamma", "1.0", build_requires=["forge>=1"])
    make_wheel(main, "forge", "1.0", requires=["anvil"])
    make_wheel(main, "anvil", "1.0")
    make_wheel(main, "hatchling", "1.30.0", requires=["pluggish"],
               files={"hatchling/__init__.py": "", "hatchling/build.py": _HATCHLING})  # fmt: skip
    make_wheel(main, "pluggish", "1.0")
    make_wheel(main, "editables", "0.5")
    # One name, one version, and a wheel for each of some platforms.
    for tags in ("cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_x86_64",
                 "cp311-cp311-win_amd64", "cp312-cp312-win_amd64",
                 "cp311-cp311-macosx_11_0_arm64"):  # fmt: skip
        make_wheel(main, "delta", "1.0", tags=tags)
    make_sdist(main, "delta", "1.0", build_requires=["forge>=1"])
    make_wheel(main, "winonly", "1.0", tags="cp311-cp311-win_amd64")
    make_wheel(main, "epsilon", "1.0+local.1")
    # Two indexes have one file name with other bytes.
    make_wheel(main, "torchish", "1.0", files={"torchish/__init__.py": 'BUILD = "cpu"\n'})
    make_wheel(other, "torchish", "1.0", files={"torchish/__init__.py": 'BUILD = "gpu"\n'})
    make_wheel(files, "direct", "1.0")
    make_sdist(files, "directsource", "1.0", build_requires=["forge"])
    make_wheel(directory / "local", "vendored", "1.0")
    make_sdist(directory / "local", "vendoredsource", "1.0")
