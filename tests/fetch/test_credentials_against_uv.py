"""Where uv finds credentials, so does this program: both fetch one file of one server."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.distributions import make_wheel
from tests.fetch.conftest import CANARY
from tests.fetch.server import FaultServer, Request, Script, file, status
from uv_archive.uv import find_uv

BELOW = "/pkgs/files/alpha-1.0-py3-none-any.whl"
BESIDE = "/elsewhere/alpha-1.0-py3-none-any.whl"

# A backend for the real `keyring`, which keeps passwords in a file and its questions in another.
_BACKEND = """\
import json, os
from keyring.backend import KeyringBackend
from keyring.credentials import SimpleCredential

class Backend(KeyringBackend):
    priority = 1

    def _users(self, service, user):
        with open(os.environ["QUESTIONS"], "a") as log:
            log.write(json.dumps([service, user]) + "\\n")
        with open(os.environ["PASSWORDS"]) as file:
            return json.load(file).get(service, {})

    def get_password(self, service, user):
        return self._users(service, user).get(user)

    def get_credential(self, service, user):
        users = self._users(service, user)
        return next((SimpleCredential(*found) for found in users.items()), None)

    def set_password(self, service, user, password):
        raise NotImplementedError
"""


@dataclass(kw_only=True)
class Case:
    """What is configured. `{origin}` stands for the server's own, in every text.

    *index* are keys of `[[tool.uv.index]]`, *settings* those of `[tool.uv]`. *stored* is what
    `uv auth login` is told: a service, a user, a password. *keyring* has passwords by service and
    user.
    """

    path: str = BELOW
    index: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    netrc: str = ""
    stored: tuple[tuple[str, str, str], ...] = ()
    credentials: str = ""
    keyring: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a program did: its exit status, what it sent, and what it asked the keyring."""

    came: bool
    logins: tuple[str | None, ...]
    questions: tuple[tuple[str, str | None], ...]


USER_IN_URL = {"url": "{user-origin}/pkgs/simple"}
ALWAYS = {"authenticate": "always"}
BY_COMMAND = ("--keyring-provider", "subprocess")

CASES = {
    "nothing": (Case(), (None,)),
    "variables": (
        Case(variables={"UV_INDEX_CORP_USERNAME": "me", "UV_INDEX_CORP_PASSWORD": "right"}),
        ("me:right",),
    ),
    "page-of-links": (
        Case(settings={"find-links": ["http://me:right@{host}/pkgs/"]}),
        ("me:right",),
    ),
    "page-of-links-beside": (
        Case(variables={"UV_FIND_LINKS": "http://me:right@{host}/pkgs/"}, path=BESIDE),
        (None, "me:right"),
    ),
    "another-index-of-the-host": (
        Case(
            settings={"extra-index-url": ["http://me:right@{host}/other/simple"]},
        ),
        (None, "me:right"),
    ),
    "never": (
        Case(
            variables={"UV_INDEX_CORP_USERNAME": "me", "UV_INDEX_CORP_PASSWORD": "right"},
            index={"authenticate": "never"},
        ),
        (None,),
    ),
    "always-without": (Case(index=ALWAYS), ()),
    "netrc": (Case(netrc="machine 127.0.0.1 login me password right\n"), (None, "me:right")),
    "netrc-always": (
        Case(netrc="machine 127.0.0.1 login me password right\n", index=ALWAYS),
        ("me:right",),
    ),
    "netrc-of-another-user": (
        Case(netrc="machine 127.0.0.1 login you password right\n", index=USER_IN_URL),
        ("me:",),
    ),
    "store": (Case(stored=(("{origin}", "me", "right"),)), (None, "me:right")),
    "store-beside": (
        Case(stored=(("{origin}", "me", "right"),), path=BESIDE),
        (None, "me:right"),
    ),
    "store-longest-path": (
        Case(stored=(("{origin}", "me", "x"), ("{origin}/pkgs", "me", "right"))),
        (None, "me:right"),
    ),
    "store-half-segment": (Case(stored=(("{origin}/pk", "me", "right"),)), (None,)),
    "store-of-another-port": (Case(stored=(("http://127.0.0.1:1", "me", "right"),)), (None,)),
    "store-two-users": (
        Case(stored=(("{origin}", "me", "right"), ("{origin}", "you", "x"))),
        (None,),
    ),
    "store-two-users-one-named": (
        Case(stored=(("{origin}", "me", "right"), ("{origin}", "you", "x")), index=USER_IN_URL),
        ("me:", "me:right"),
    ),
    "store-token": (
        Case(credentials='[[credential]]\nservice = "{origin}"\nscheme = "bearer"\ntoken = "t"\n'),
        (None, "bearer t"),
    ),
    "store-token-and-user": (
        Case(
            credentials='[[credential]]\nservice = "{origin}"\nscheme = "bearer"\ntoken = "t"\n'
            '[[credential]]\nservice = "{origin}"\nusername = "me"\npassword = "right"\n'
        ),
        (None,),
    ),
    "store-token-of-the-very-url": (
        Case(
            credentials='[[credential]]\nservice = "{origin}' + BELOW + '"\n'
            'scheme = "bearer"\ntoken = "t"\n'
            '[[credential]]\nservice = "{origin}' + BELOW + '"\n'
            'username = "me"\npassword = "right"\n'
        ),
        (None, "bearer t"),
    ),
    "store-after-netrc": (
        Case(
            stored=(("{origin}", "me", "x"),), netrc="machine 127.0.0.1 login me password right\n"
        ),
        (None, "me:right"),
    ),
    "keyring-without-a-user": (
        Case(keyring={"127.0.0.1:{port}": {"me": "right"}}, arguments=BY_COMMAND),
        (None,),
    ),
    "keyring-by-url": (
        Case(
            keyring={"{origin}/pkgs/simple": {"me": "right"}},
            index=USER_IN_URL,
            arguments=BY_COMMAND,
        ),
        ("me:", "me:right"),
    ),
    "keyring-by-host": (
        Case(
            keyring={"127.0.0.1:{port}": {"me": "right"}},
            variables={"UV_INDEX_CORP_USERNAME": "me", "UV_KEYRING_PROVIDER": "subprocess"},
        ),
        ("me:", "me:right"),
    ),
    "keyring-by-scheme-and-host": (
        Case(
            keyring={"http://127.0.0.1:{port}": {"me": "right"}},
            index=USER_IN_URL,
            settings={"keyring-provider": "subprocess"},
        ),
        ("me:", "me:right"),
    ),
    "keyring-always": (
        Case(keyring={"{origin}/pkgs/simple": {"me": "right"}}, index=ALWAYS, arguments=BY_COMMAND),
        ("me:right",),
    ),
    "keyring-always-with-a-user": (
        Case(
            keyring={"{origin}/pkgs/simple": {"me": "right"}},
            index={**ALWAYS, **USER_IN_URL},
            arguments=BY_COMMAND,
        ),
        ("me:right",),
    ),
    "keyring-always-without": (Case(index=ALWAYS, arguments=BY_COMMAND), ()),
    "keyring-beside": (
        Case(
            keyring={"{origin}" + BESIDE: {"me": "right"}},
            index=USER_IN_URL,
            path=BESIDE,
            arguments=BY_COMMAND,
        ),
        (None, "me:right"),
    ),
    "keyring-after-store": (
        Case(
            stored=(("{origin}", "me", "right"),),
            keyring={"{origin}/pkgs/simple": {"me": "x"}},
            index=USER_IN_URL,
            arguments=BY_COMMAND,
        ),
        ("me:", "me:right"),
    ),
    "keyring-disabled-by-flag": (
        Case(
            keyring={"{origin}/pkgs/simple": {"me": "right"}},
            index=USER_IN_URL,
            settings={"keyring-provider": "subprocess"},
            arguments=("--keyring-provider", "disabled"),
        ),
        ("me:",),
    ),
}


@dataclass(kw_only=True)
class Room:
    """A project, a home directory and a keyring for one case."""

    directory: Path
    server: FaultServer
    case: Case
    accepted: Sequence[str] = ("me:right", "bearer t")

    def prepare(self) -> None:
        case, wheel = self.case, make_wheel(self.directory, "alpha", "1.0")
        content = wheel.read_bytes()
        self.server.route("/pkgs/", file(b"<!DOCTYPE html>", kind="text/html"))
        self.server.route(case.path, _for(self.accepted, content))
        project, home = self.directory / "project", self.directory / "home"
        project.mkdir()
        home.mkdir()
        index = {"name": "corp", "url": "{origin}/pkgs/simple", **case.index}
        self._write(project / "pyproject.toml", _PROJECT + _table("tool.uv", case.settings))
        with (project / "pyproject.toml").open("a") as document:
            document.write(self.told(_table("[tool.uv.index]", index)))
        digest = hashlib.sha256(content).hexdigest()
        lock = _LOCK.format(url="{origin}" + case.path, digest=digest, size=len(content))
        self._write(project / "uv.lock", lock)
        self._write(home / ".netrc", case.netrc)
        self._write(self.directory / "passwords.json", json.dumps(case.keyring))
        (self.directory / "keyring_backend.py").write_text(_BACKEND)
        if case.credentials:
            store = home / ".local" / "share" / "uv" / "credentials"
            store.mkdir(parents=True)
            self._write(store / "credentials.toml", case.credentials)
        for service, user, password in case.stored:
            login = ["auth", "login", self.told(service), "--username", user]
            assert self.run(_uv(), *login, "--password", password).returncode == 0

    def told(self, text: str) -> str:
        origin = self.server.origin
        return (
            text.replace("{origin}", origin)
            .replace("{host}", origin.partition("//")[2])
            .replace("{secret}", CANARY)
            .replace("{user-origin}", origin.replace("//", "//me@"))
            .replace("{port}", origin.rpartition(":")[2])
        )

    def _write(self, path: Path, text: str) -> None:
        path.write_text(self.told(text))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        home = self.directory / "home"
        environment = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "HOME": str(home),
            "UV_CACHE_DIR": str(self.directory / "cache"),
            "UV_PYTHON": sys.executable,
            "UV_HTTP_RETRIES": "0",
            "PYTHONPATH": str(self.directory),
            "PYTHON_KEYRING_BACKEND": "keyring_backend.Backend",
            "PASSWORDS": str(self.directory / "passwords.json"),
            "QUESTIONS": str(self.directory / "questions"),
            **{name: self.told(value) for name, value in self.case.variables.items()},
        }
        return subprocess.run(
            command,
            env=environment,
            cwd=self.directory / "project",
            capture_output=True,
            text=True,
            check=False,
        )

    def watch(self, *command: str) -> Seen:
        """Run a command, and say what it did."""
        questions = self.directory / "questions"
        questions.write_text("")
        self.server.requests.clear()
        finished = self.run(*command)
        asked = [json.loads(line) for line in questions.read_text().splitlines()]
        # uv also looks at pages of links, needed or not.
        requests = [one for one in self.server.requests if one.path == self.case.path]
        return Seen(
            came=finished.returncode == 0,
            logins=tuple(_sent(request) for request in requests),
            questions=tuple((service, user) for service, user in asked),
        )


_PROJECT = """\
[project]
name = "app"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["alpha"]

"""
_LOCK = """\
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "alpha"
version = "1.0"
source = {{ registry = "{{origin}}/pkgs/simple" }}
wheels = [{{ url = "{url}", hash = "sha256:{digest}", size = {size} }}]

[[package]]
name = "app"
version = "1.0"
source = {{ virtual = "." }}
dependencies = [{{ name = "alpha" }}]

[package.metadata]
requires-dist = [{{ name = "alpha" }}]
"""


def _table(name: str, values: Mapping[str, str | Sequence[str]]) -> str:
    lines = (f"{key} = {json.dumps(value)}" for key, value in values.items())
    return "\n".join((f"[{name}]", *lines, ""))


def _for(accepted: Sequence[str], content: bytes) -> Script:
    serve, refuse = file(content), status(401)

    def script(request: Request, connection: socket.socket) -> None:
        (serve if _sent(request) in accepted else refuse)(request, connection)

    return script


def _sent(request: Request) -> str | None:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    return f"bearer {value}" if kind == "Bearer" else request.login


def _uv() -> str:
    return str(find_uv(os.environ).executable)


@pytest.mark.parametrize("name", CASES)
def test_as_uv(name: str, tmp_path: Path, server: FaultServer) -> None:
    case, sent = CASES[name]
    room = Room(directory=tmp_path, server=server, case=case)
    room.prepare()
    uv = room.watch(_uv(), "sync", "--frozen", "--no-install-project", *case.arguments)
    program = [sys.executable, "-m", "uv_archive", "download", "--frozen", "--jobs", "1"]
    ours = room.watch(*program, *case.arguments)
    assert ours == uv
    assert ours.logins == sent
    assert ours.came == (ours.logins[-1:] in (("me:right",), ("bearer t",)))


SECRETS = {
    "in-the-url": Case(index={"url": "http://me:{secret}@{host}/pkgs/simple"}),
    "variables": Case(variables={"UV_INDEX_CORP_USERNAME": "me", "UV_INDEX_CORP_PASSWORD": CANARY}),
    "netrc": Case(netrc=f"machine 127.0.0.1 login me password {CANARY}\n"),
    "store": Case(stored=(("{origin}", "me", CANARY),)),
    "token": Case(
        credentials=f'[[credential]]\nservice = "{{origin}}"\nscheme = "bearer"\n'
        f'token = "{CANARY}"\n'
    ),
    "keyring": Case(
        keyring={"127.0.0.1:{port}": {"me": CANARY}}, index=USER_IN_URL, arguments=BY_COMMAND
    ),
}
WAYS: Mapping[str, tuple[str, ...]] = {
    "as-text": (),
    "as-json": ("--output-format", "json"),
    "rehearsed": ("--dry-run",),
    "under-development": (),
}


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_shown(
    *, name: str, way: str, is_right: bool, tmp_path: Path, server: FaultServer
) -> None:
    accepted = (f"me:{CANARY}", f"bearer {CANARY}") if is_right else ()
    room = Room(directory=tmp_path, server=server, case=SECRETS[name], accepted=accepted)
    room.prepare()
    before = set(_files(tmp_path))
    python = (sys.executable, "-X", "dev") if way == "under-development" else (sys.executable,)
    said = room.run(
        *(*python, "-m", "uv_archive", "download", "--frozen"),
        *(*room.case.arguments, *WAYS[way]),
    )
    assert said.returncode == (0 if is_right or way == "rehearsed" else 1), said.stderr
    assert CANARY not in said.stdout + said.stderr
    for path in set(_files(tmp_path)) - before:
        assert CANARY.encode() not in path.read_bytes(), path
    sent = {_sent(request) for request in server.requests}
    assert way == "rehearsed" or sent & {f"me:{CANARY}", f"bearer {CANARY}"}


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())
