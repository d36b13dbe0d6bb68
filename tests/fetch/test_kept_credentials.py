"""Credentials that other programs keep: the keyring's, and those of `uv auth login`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fetch.conftest import CANARY, Bench
from tests.fetch.server import FaultServer, file, guarded, status
from tests.fetch.test_credentials import spoken
from uv_archive.errors import RequestError
from uv_archive.fetch import Credentials
from uv_archive.fetch.keyring import AskedOnce, Keyring, keyring_provider
from uv_archive.fetch.login import Credential, Login, Question
from uv_archive.fetch.unverified import UnverifiedHost, unverified_hosts
from uv_archive.fetch.uv_store import UvNativeStore, UvTextStore, service_name
from uv_archive.settings import Index, Settings
from uv_archive.url import Url
from uv_archive.uv import Completed, Uv, find_uv

FILE = Url.parse("https://index.example/pkgs/files/a.whl")


def entry(service: str, user: str = "me", password: str = "p") -> str:  # noqa: S107 - a test's
    return (
        f'[[credential]]\nservice = "{service}"\nusername = "{user}"\nscheme = "basic"\n'
        f'password = "{password}"\n'
    )


def token(service: str) -> str:
    return f'[[credential]]\nservice = "{service}"\nscheme = "bearer"\ntoken = "t"\n'


@dataclass
class Counting:
    """A place that knows one user, and counts the questions."""

    questions: list[Question] = field(default_factory=list)

    def login(self, question: Question) -> Credential | None:
        self.questions.append(question)
        return Login(user="me", password="p") if question.user == "me" else None


class TestAskedOnce:
    def test_for_each_index_and_user(self) -> None:
        place = Counting()
        source = AskedOnce(place)
        one, two = (
            Index(name=name, url=Url.parse(f"https://index.example/{name}")) for name in "ab"
        )
        questions = [
            Question(url=FILE, index=index, user=user)
            for index in (one, two, None)
            for user in ("me", "you")
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(source.login, questions * 20))
        assert len(place.questions) == 6
        assert [spoken(answer) for answer in answers] == ["me:p", None] * 60

    def test_outside_of_all_indexes_for_each_origin(self) -> None:
        place = Counting()
        source = AskedOnce(place)
        for text in ("https://a.example/1", "https://a.example/2", "https://a.example:8443/1"):
            source.login(Question(url=Url.parse(text), user="me"))
        assert len(place.questions) == 2


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://Index.Example", "https://index.example/"),
        ("https://me:pw@index.example:443/simple/", "https://index.example/simple/"),
        ("http://index.example:8080/a?token=x#y", "http://index.example:8080/a"),
        ("https://[::1]:8443/a", "https://[::1]:8443/a"),
    ],
)
def test_the_name_of_a_service(url: str, name: str) -> None:
    assert service_name(Url.parse(url)) == name


class TestKeyring:
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """A directory for a `keyring` of our own."""
        (tmp_path / "bin").mkdir()
        return tmp_path / "bin"

    @staticmethod
    def write(place: Path, script: str) -> Mapping[str, str]:
        command = place / "keyring"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        return {"PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}

    @pytest.mark.parametrize(
        ("script", "user", "found"),
        [
            pytest.param("echo secret", "me", "me:secret", id="password"),
            pytest.param("printf 'secret \\n\\n'", "me", "me:secret", id="white-space-after-it"),
            pytest.param("exit 1", "me", None, id="unknown"),
            pytest.param("printf '\\377'", "me", None, id="no-text"),
            pytest.param("echo you; echo secret", None, "you:secret", id="both"),
            pytest.param("echo you", None, None, id="user-without-password"),
            pytest.param('test "$4" = creds && printf "a\\nb"', None, "a:b", id="mode"),
            pytest.param("echo unrecognized arguments: --mode >&2; exit 2", None, None, id="old"),
        ],
    )
    def test_answers(self, script: str, user: str | None, found: str | None, place: Path) -> None:
        index = Index(name=None, url=FILE, authenticate="always")
        answer = Keyring(self.write(place, script)).login(
            Question(url=FILE, index=index, user=user)
        )
        assert spoken(answer) == found

    def test_not_asked_without_a_user(self, place: Path) -> None:
        environ = self.write(place, f"touch {place}/asked; echo secret")
        assert Keyring(environ).login(Question(url=FILE)) is None
        assert not (place / "asked").exists()

    def test_a_missing_command_is_named_in_the_hint(self, place: Path) -> None:
        settings = Settings(
            environment={"PATH": str(place), "UV_KEYRING_PROVIDER": "subprocess"},
        )
        credentials = Credentials.of(settings, uv=find_uv())
        assert "`keyring`, which is to be asked, isn't there" in credentials.hint(FILE)
        assert credentials.for_url(FILE, asked=True) is None

    def test_a_keyring_that_tells_secrets_on_standard_error(
        self, place: Path, bench: Bench, server: FaultServer, capfd: pytest.CaptureFixture[str]
    ) -> None:
        environ = self.write(place, f"echo {CANARY} >&2; echo {CANARY}")
        url = server.route("/a.whl", status(401))
        index = Index(name="corp", url=Url.parse(server.origin.replace("//", "//me@")))
        bench.credentials = Credentials([Keyring(environ)], indexes=[index])
        failure = bench.failure(url)
        assert failure.reason == "`127.0.0.1` refuses access (401)"
        assert server.logins() == ["me:", f"me:{CANARY}"]
        assert CANARY not in "".join(capfd.readouterr())

    @pytest.mark.parametrize(
        ("environment", "options", "provider"),
        [
            ({}, {}, "disabled"),
            ({}, {"keyring-provider": "subprocess"}, "subprocess"),
            ({"UV_KEYRING_PROVIDER": "disabled"}, {"keyring-provider": "native"}, "disabled"),
        ],
    )
    def test_provider(
        self, environment: Mapping[str, str], options: Mapping[str, str], provider: str
    ) -> None:
        assert keyring_provider(Settings(environment=environment, options=options)) == provider

    def test_unknown_provider(self) -> None:
        with pytest.raises(RequestError, match="no keyring provider `auto`"):
            keyring_provider(Settings(options={"keyring-provider": "auto"}))


class TestTextStore:
    @staticmethod
    def store(directory: Path, content: str) -> UvTextStore:
        (directory / "credentials.toml").write_text(content)
        return UvTextStore({"UV_CREDENTIALS_DIR": str(directory)})

    @pytest.mark.parametrize(
        ("entries", "user", "found"),
        [
            pytest.param([entry("https://index.example/")], None, "me:p", id="host"),
            pytest.param([entry("index.example")], None, "me:p", id="https-unsaid"),
            pytest.param([entry("https://INDEX.example:443")], None, "me:p", id="default-port"),
            pytest.param([entry("https://index.example/pkgs/")], None, "me:p", id="slash"),
            pytest.param([entry("https://index.example/pkg")], None, None, id="half-segment"),
            pytest.param([entry("https://other.example/")], None, None, id="other-host"),
            pytest.param([entry("https://x.index.example/")], None, None, id="subdomain"),
            pytest.param([entry("https://index.example/")], "you", None, id="other-user"),
            pytest.param(
                [entry("https://index.example/"), entry(str(FILE), password="q")],
                "me",
                "me:q",
                id="longest-path",
            ),
            pytest.param(
                [entry("https://index.example/"), entry("https://index.example/", "you")],
                None,
                None,
                id="ambiguous",
            ),
            pytest.param(
                [entry("https://index.example/", password="q"), entry("https://index.example/")],
                None,
                "me:p",
                id="the-last-of-two",
            ),
            pytest.param(
                [entry("https://index.example/"), token("https://index.example/")],
                None,
                None,
                id="ambiguous-with-a-token",
            ),
            pytest.param(
                [entry(str(FILE)), token(str(FILE))], None, "bearer t", id="token-of-the-very-url"
            ),
            pytest.param([entry(str(FILE)), token(str(FILE))], "me", "me:p", id="no-token-for-me"),
            pytest.param([], None, None, id="empty"),
        ],
    )
    def test_lookup(
        self, entries: Iterable[str], user: str | None, found: str | None, tmp_path: Path
    ) -> None:
        store = self.store(tmp_path, "".join(entries))
        assert spoken(store.login(Question(url=FILE, user=user))) == found

    def test_a_login_without_a_password(self, tmp_path: Path) -> None:
        content = '[[credential]]\nservice = "https://index.example/"\nusername = "me"\n'
        assert spoken(self.store(tmp_path, content).login(Question(url=FILE))) == "me"

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(CANARY, id="not-toml"),
            pytest.param(entry(f"ftp://{CANARY}.example"), id="scheme"),
            pytest.param(entry(f"http://{CANARY}.example"), id="not-https"),
            pytest.param(f'[[credential]]\nusername = "{CANARY}"\n', id="no-service"),
            pytest.param(f'credential = "{CANARY}"\n', id="no-table"),
            pytest.param('[[credential]]\nservice = "a.example"\nusername = 1\n', id="type"),
            pytest.param(
                f'[[credential]]\nservice = "a.example"\nscheme = "{CANARY}"\n', id="unknown"
            ),
        ],
    )
    def test_unreadable(self, content: str, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="isn't what uv writes") as caught:
            self.store(tmp_path, content).login(Question(url=FILE))
        assert CANARY not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"

    def test_a_directory_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "credentials.toml").mkdir()
        with pytest.raises(RequestError, match="can't be read"):
            UvTextStore({"UV_CREDENTIALS_DIR": str(tmp_path)}).login(Question(url=FILE))

    @pytest.mark.parametrize(
        "place", ["HOME", "XDG_DATA_HOME", "UV_CREDENTIALS_DIR"], ids=str.lower
    )
    def test_where_uv_writes_it(self, place: str, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
        environ[place] = str(tmp_path / "place")
        uv = find_uv()
        arguments = ["auth", "login", "index.example", "--username", "me", "--password", CANARY]
        assert uv.run(arguments, environment=environ).status == 0
        assert spoken(UvTextStore(environ).login(Question(url=FILE))) == f"me:{CANARY}"


@dataclass
class Answering:
    """A uv that answers one question, and keeps how it was asked."""

    said: Completed
    calls: list[tuple[Sequence[str], str]] = field(default_factory=list)

    def __call__(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        assert directory is None
        assert capture
        self.calls.append((command[1:], environment["UV_PREVIEW_FEATURES"]))
        return self.said


class TestNativeStore:
    def uv(self, said: Completed) -> tuple[Uv, Answering]:
        runner, found = Answering(said), find_uv()
        return Uv(executable=found.executable, version=found.version, runner=runner), runner

    def test_uv_reads_it_for_us(self) -> None:
        uv, runner = self.uv(Completed(status=0, stdout="p\n", stderr=""))
        index = Index(name="corp", url=Url.parse("https://index.example/pkgs/simple"))
        settings = Settings(
            environment={"UV_PREVIEW_FEATURES": "native-auth,pylock", "UV_INDEX": f"{index.url}"}
        )
        credentials = Credentials.of(settings, uv=uv)
        assert credentials.for_url(FILE, asked=True) is None
        url = Url.parse("https://me@index.example/pkgs/files/a.whl")
        for _ in range(3):
            assert spoken(credentials.for_url(url, asked=True)) == "me:p"
        asked = ["auth", "token", *("--username", "me"), "--", "https://index.example/pkgs/simple"]
        assert runner.calls == [(asked, "native-auth,pylock,native-auth")]

    def test_not_by_default(self) -> None:
        uv, runner = self.uv(Completed(status=0, stdout="p\n", stderr=""))
        url = Url.parse("https://me@index.example/pkgs/files/a.whl")
        assert spoken(Credentials.of(Settings(), uv=uv).for_url(url, asked=True)) == "me"
        assert not runner.calls

    def test_by_the_provider(self) -> None:
        uv, _ = self.uv(Completed(status=0, stdout="p\n", stderr=""))
        settings = Settings(options={"keyring-provider": "native"})
        url = Url.parse("https://me@index.example/pkgs/files/a.whl")
        assert spoken(Credentials.of(settings, uv=uv).for_url(url)) == "me:p"

    def test_real_uv_understands_the_question(self, tmp_path: Path) -> None:
        environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        said = find_uv().run(
            ["auth", "token", "--username", "me", "--", "https://index.example/pkgs"],
            environment={**environ, "UV_PREVIEW_FEATURES": "native-auth"},
        )
        assert said.status == 2
        assert "Failed to fetch credentials" in said.stderr
        store = UvNativeStore(find_uv(), environ)
        assert store.login(Question(url=FILE, user="me")) is None


class TestHuggingFace:
    @pytest.mark.parametrize(
        ("url", "variables", "found"),
        [
            ("https://huggingface.co/a.whl", {}, "bearer t"),
            ("https://huggingface.co/a.whl", {"UV_NO_HF_TOKEN": "1"}, None),
            ("http://huggingface.co/a.whl", {}, None),
            ("https://cdn.huggingface.co/a.whl", {}, None),
            ("https://index.example/a.whl", {}, None),
        ],
    )
    def test_only_its_own_host(
        self, url: str, variables: Mapping[str, str], found: str | None
    ) -> None:
        credentials = Credentials.from_environment({"HF_TOKEN": "t", **variables})
        assert credentials.for_url(Url.parse(url)) is None
        assert spoken(credentials.for_url(Url.parse(url), asked=True)) == found


class TestUnverifiedHosts:
    @pytest.mark.parametrize(
        ("text", "covered"),
        [
            ("index.example", [True, True, True, False]),
            ("Index.Example:8443", [False, True, False, False]),
            ("https://index.example", [True, True, False, False]),
            ("https://index.example:443/simple", [True, False, False, False]),
            ("http://index.example", [False, False, True, False]),
            ("*", [True, True, True, True]),
        ],
    )
    def test_covers(self, text: str, covered: list[bool]) -> None:
        host = UnverifiedHost.parse(text)
        urls = [
            "https://index.example/a",
            "https://index.example:8443/a",
            "http://index.example/a",
            "https://x.index.example/a",
        ]
        assert [host.covers(Url.parse(url)) for url in urls] == covered

    def test_settings_and_environment(self) -> None:
        settings = Settings(
            options={"allow-insecure-host": ["a.example"]},
            environment={"UV_INSECURE_HOST": "b.example c.example:1"},
        )
        assert [host.host for host in unverified_hosts(settings)] == [
            *("b.example", "c.example", "a.example")
        ]

    @pytest.mark.parametrize("value", ["a.example", [1], ["a.example:x"]])
    def test_unreadable(self, value: object) -> None:
        with pytest.raises(RequestError, match="allow-insecure-host"):
            unverified_hosts(Settings(options={"allow-insecure-host": value}))


def test_once_taken_a_password_goes_along(bench: Bench, server: FaultServer) -> None:
    place, login = Counting(), "me:p"
    bodies = [b"one", b"two", b"three"]
    transfers = [
        bench.transfer(server.route(f"/{n}", guarded(login, file(body))), body)
        for n, body in enumerate(bodies)
    ]
    index = Index(name="corp", url=Url.parse(server.origin.replace("//", "//me@")))
    bench.credentials = Credentials([place], indexes=[index])
    assert not bench.fetch_all(transfers, jobs=1).failed
    assert server.logins() == ["me:", login, login, login]


def test_two_indexes_of_one_host_keep_their_passwords(bench: Bench, server: FaultServer) -> None:
    class ByPath:
        def login(self, question: Question) -> Credential | None:
            return Login(user="me", password=str(question.place).rpartition("/")[2])

    indexes = [
        Index(name=name, url=Url.parse(server.origin.replace("//", "//me@") + f"/{name}"))
        for name in "ab"
    ]
    transfers = [
        bench.transfer(server.route(f"/{name}/x", guarded(f"me:{name}", file(body))), body)
        for name, body in (("a", b"one"), ("b", b"two"))
    ]
    bench.credentials = Credentials([ByPath()], indexes=indexes)
    assert not bench.fetch_all(transfers, jobs=1).failed
    assert server.logins() == ["me:", "me:a", "me:a", "me:b"]


def test_no_secret_in_what_is_printed() -> None:
    assert CANARY not in repr(Question(url=Url.parse(f"https://me:{CANARY}@a.example/?{CANARY}")))
