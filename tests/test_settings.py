"""Settings come from where uv takes them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from uv_archive.errors import ProjectError
from uv_archive.settings import Index, Settings, read_settings
from uv_archive.url import Url

PROJECT = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.9"\n'


class Machine:
    """A project, and the places where a user and a system keep settings."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "work" / "project"
        self.user = directory / "home" / "uv" / "uv.toml"
        self.system = directory / "etc" / "uv" / "uv.toml"
        self.environment = {
            "HOME": str(directory / "nobody"),
            "XDG_CONFIG_HOME": str(self.user.parents[1]),
            "XDG_CONFIG_DIRS": f"{directory / 'nothing'}:{self.system.parents[1]}",
        }
        write(self.root / "pyproject.toml", PROJECT)

    def tool_uv(self, text: str, *, above: bool = False) -> None:
        directory = self.root.parent if above else self.root
        write(directory / "pyproject.toml", f"{'' if above else PROJECT}[tool.uv]\n{text}\n")

    def settings(self) -> Settings:
        return read_settings(self.root, self.environment)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def pyproject(machine: Machine) -> None:
    machine.tool_uv('no-binary-package = ["A_b"]')


def uv_toml(machine: Machine) -> None:
    pyproject(machine)
    write(machine.root / "uv.toml", 'no-binary-package = ["c"]')


def above(machine: Machine) -> None:
    machine.tool_uv('no-binary-package = ["d"]', above=True)


def above_an_empty_table(machine: Machine) -> None:
    above(machine)
    machine.tool_uv("")


def above_in_uv_toml(machine: Machine) -> None:
    write(machine.root.parent / "uv.toml", 'no-binary-package = ["e"]')


def user(machine: Machine) -> None:
    pyproject(machine)
    write(machine.user, 'no-binary-package = ["u"]')


def system(machine: Machine) -> None:
    user(machine)
    write(machine.system, 'no-binary-package = ["s"]')


def without_system(machine: Machine) -> None:
    system(machine)
    machine.environment["UV_NO_SYSTEM_CONFIG"] = "1"


def variable(machine: Machine) -> None:
    user(machine)
    machine.environment["UV_NO_BINARY_PACKAGE"] = "v W.x"


def config_file(machine: Machine) -> None:
    system(machine)
    file = write(machine.root.parent / "other.toml", 'no-binary-package = ["f"]')
    machine.environment["UV_CONFIG_FILE"] = str(file)


def config_file_and_no_config(machine: Machine) -> None:
    config_file(machine)
    machine.environment["UV_NO_CONFIG"] = "1"


def no_config(machine: Machine) -> None:
    system(machine)
    variable(machine)
    machine.environment["UV_NO_CONFIG"] = "true"


def no_config_switched_off(machine: Machine) -> None:
    pyproject(machine)
    machine.environment["UV_NO_CONFIG"] = "0"


CHANNELS: list[tuple[Callable[[Machine], None], set[str]]] = [
    (pyproject, {"a-b"}),
    (uv_toml, {"c"}),
    (above, {"d"}),
    (above_an_empty_table, set()),
    (above_in_uv_toml, {"e"}),
    (user, {"a-b", "u"}),
    (system, {"a-b", "u", "s"}),
    (without_system, {"a-b", "u"}),
    (variable, {"a-b", "u", "v", "w-x"}),
    (config_file, {"f"}),
    (config_file_and_no_config, {"f"}),
    (no_config, {"v", "w-x"}),
    (no_config_switched_off, {"a-b"}),
]
channels = pytest.mark.parametrize(
    ("prepare", "expected"), CHANNELS, ids=[prepare.__name__ for prepare, _ in CHANNELS]
)


@channels
def test_names_come_through_every_channel(
    machine: Machine, prepare: Callable[[Machine], None], expected: set[str]
) -> None:
    prepare(machine)
    assert machine.settings().names("no-binary-package") == expected


@channels
def test_uv_takes_the_same_names(
    machine: Machine, uv: Path, prepare: Callable[[Machine], None], expected: set[str]
) -> None:
    prepare(machine)
    assert set(shown(uv, machine).get("no_binary", [])) == expected


def shown(uv: Path, machine: Machine) -> dict[str, list[str]]:
    """Return the package names of the build options that uv shows."""
    done = subprocess.run(
        [uv, "sync", "--show-settings", "--project", machine.root],
        env=machine.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    options = re.search(
        r"build_options: BuildOptions \{(.*?)\n            \}", done.stdout, re.DOTALL
    )
    assert options
    no_binary, _, no_build = options[1].partition("no_build:")
    return {
        "no_binary": re.findall(r'"([a-z-]+)"', no_binary) + ["all"] * ("All" in no_binary),
        "no_build": re.findall(r'"([a-z-]+)"', no_build) + ["all"] * ("All" in no_build),
    }


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        pytest.param("", {}, False, id="nowhere"),
        pytest.param("no-binary = true", {}, True, id="file"),
        pytest.param("no-binary = false", {}, False, id="file-says-no"),
        pytest.param("", {"UV_NO_BINARY": "1"}, True, id="variable"),
        pytest.param("", {"UV_NO_BINARY": "YES"}, True, id="variable-in-capitals"),
        pytest.param("", {"UV_NO_BINARY": "0"}, False, id="variable-says-no"),
        pytest.param("no-binary = false", {"UV_NO_BINARY": "1"}, True, id="variable-over-file"),
        pytest.param("no-binary = true", {"UV_NO_BINARY": "0"}, True, id="file-over-variable"),
    ],
)
def test_a_switch_is_on_where_uv_says_so(
    machine: Machine, uv: Path, text: str, environment: Mapping[str, str], expected: bool
) -> None:
    machine.tool_uv(text)
    machine.environment.update(environment)
    assert machine.settings().is_set("no-binary") is expected
    assert (shown(uv, machine)["no_binary"] == ["all"]) is expected


def test_of_other_values_the_nearer_one_counts(machine: Machine) -> None:
    machine.tool_uv('index-strategy = "first-index"\nno-build = false')
    write(machine.user, 'index-strategy = "unsafe-best-match"\nno-build = true\noffline = true')
    options = machine.settings().options
    assert (options["index-strategy"], options["no-build"], options["offline"]) == (
        "first-index",
        False,
        True,
    )


def test_the_first_system_file_counts(machine: Machine, tmp_path: Path) -> None:
    write(machine.system, "offline = true")
    write(tmp_path / "nothing" / "uv" / "uv.toml", "offline = false")
    assert machine.settings().options["offline"] is False


def index(url: str, name: str | None = None) -> Index:
    return Index(name=name, url=Url.parse(url))


def test_indexes_of_the_environment_go_before_those_of_files(machine: Machine) -> None:
    machine.tool_uv(
        'index-url = "https://four.example/"\nextra-index-url = ["https://five.example/"]\n'
        '[[tool.uv.index]]\nname = "three"\nurl = "https://three.example/"\n'
        'authenticate = "always"\n'
        '[[tool.uv.index]]\nurl = "./wheels"\n'
    )
    machine.environment |= {
        "UV_DEFAULT_INDEX": "https://one.example/",
        "UV_INDEX": "two=https://two.example/?a=b https://other.example/?c=d",
        "UV_EXTRA_INDEX_URL": "https://one.example/",
    }
    assert machine.settings().indexes == (
        index("https://one.example/"),
        index("https://two.example/?a=b", "two"),
        index("https://other.example/?c=d"),
        Index(name="three", url=Url.parse("https://three.example/"), authenticate="always"),
        index("https://four.example/"),
        index("https://five.example/"),
    )


def test_settings_keep_credentials_to_themselves(machine: Machine) -> None:
    machine.environment["UV_INDEX"] = "https://user:s3cret@index.example/"
    assert "s3cret" not in repr(machine.settings().indexes)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param("no-binary-package = 1", lambda s: s.names("no-binary-package"), id="names"),
        pytest.param('no-build-package = "a"', lambda s: s.names("no-build-package"), id="text"),
        pytest.param("no-build-package = [1]", lambda s: s.names("no-build-package"), id="numbers"),
        pytest.param("index = 1", lambda s: s.indexes, id="index"),
        pytest.param("extra-index-url = 1", lambda s: s.indexes, id="extra-index"),
    ],
)
def test_a_setting_of_another_type_is_an_error(
    machine: Machine, text: str, read: Callable[[Settings], object]
) -> None:
    machine.tool_uv(text)
    with pytest.raises(ProjectError, match="uv's setting"):
        read(machine.settings())


@pytest.mark.parametrize(
    "text",
    [
        "[[tool.uv.index]]\nurl = 1",
        "[[tool.uv.index]]",
        'index = ["x"]',
        "index-url = 1",
        'extra-index-url = [1, "x"]',
    ],
)
def test_an_index_that_cant_be_read_is_left_to_uv(machine: Machine, text: str) -> None:
    machine.tool_uv(text)
    assert machine.settings().indexes == ()


def test_a_file_that_is_no_toml_is_an_error(machine: Machine) -> None:
    write(machine.user, "x = ")
    with pytest.raises(ProjectError, match=r"uv\.toml` isn't TOML"):
        machine.settings()


def test_a_named_file_has_to_be_there(machine: Machine) -> None:
    machine.environment["UV_CONFIG_FILE"] = str(machine.root / "gone.toml")
    with pytest.raises(ProjectError, match=r"gone\.toml` can't be read: No such file"):
        machine.settings()
