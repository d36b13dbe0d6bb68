"""Which user name and password go with which URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fetch.conftest import BODY, CANARY, Bench, digest_of
from tests.fetch.server import FaultServer, file, guarded, status
from uv_archive.fetch import Credentials
from uv_archive.fetch.credentials import IndexCredentials
from uv_archive.fetch.login import Credential, Login, Token
from uv_archive.fetch.transport import Refused
from uv_archive.settings import Index
from uv_archive.url import Url

FILE = Url.parse("https://index.example/pkgs/files/a.whl")


def index(
    url: str, name: str | None = None, authenticate: Literal["auto", "always", "never"] = "auto"
) -> Index:
    return Index(name=name, url=Url.parse(url), authenticate=authenticate)


def spoken(credential: Credential | None) -> str | None:
    """Return `user:password`, without the colon where no password is known."""
    match credential:
        case Login(user=user, password=password):
            return user if password is None else f"{user}:{password}"
        case Token(value=value):
            return f"bearer {value}"
        case None:
            return None


def environ(**logins: str) -> Mapping[str, str]:
    """Turn `NAME="user:password"` into uv's variables."""
    found = {}
    for name, login in logins.items():
        user, _, password = login.partition(":")
        found[f"UV_INDEX_{name}_USERNAME"] = user
        found[f"UV_INDEX_{name}_PASSWORD"] = password
    return found


@pytest.mark.parametrize(
    ("indexes", "known", "asked"),
    [
        pytest.param([index("https://index.example/pkgs", "corp")], "u:p", "u:p", id="below"),
        pytest.param([index("https://index.example/pkgs/", "corp")], "u:p", "u:p", id="slash"),
        pytest.param(
            [index("https://index.example/pkgs/simple/", "corp")], "u:p", "u:p", id="simple"
        ),
        pytest.param(
            [index("https://index.example/pkgs/+simple", "corp")], "u:p", "u:p", id="devpi"
        ),
        pytest.param([index("https://index.example", "corp")], "u:p", "u:p", id="whole-host"),
        pytest.param(
            [index("https://INDEX.example:443/pkgs", "corp")], "u:p", "u:p", id="default-port"
        ),
        pytest.param([index("https://index.example/pk", "corp")], None, "u:p", id="half-segment"),
        pytest.param([index("https://index.example/other", "corp")], None, "u:p", id="realm"),
        pytest.param([index("http://index.example/pkgs", "corp")], None, None, id="other-scheme"),
        pytest.param([index("https://index.example:8443/pkgs", "corp")], None, None, id="port"),
        pytest.param([index("https://x.index.example/pkgs", "corp")], None, None, id="subdomain"),
        pytest.param([index("https://a:b@index.example/pkgs")], "a:b", "a:b", id="in-index-url"),
        pytest.param(
            [index("https://a:b@index.example/pkgs", "corp")], "u:p", "u:p", id="variables-first"
        ),
        pytest.param(
            [index("https://x:y@index.example"), index("https://index.example/pkgs", "corp")],
            "u:p",
            "u:p",
            id="longest-path",
        ),
        pytest.param([index("https://index.example/pkgs")], None, None, id="no-name"),
        pytest.param(
            [index("https://index.example/pkgs", "corp", "never")], None, None, id="never"
        ),
        pytest.param(
            [index("https://index.example/other", "corp"),
             index("https://index.example/pkgs", authenticate="always")],
            "u:p",
            "u:p",
            id="always",
        ),
    ],
)  # fmt: skip
def test_index_credentials(indexes: list[Index], known: str | None, asked: str | None) -> None:
    credentials = Credentials.from_environment(environ(CORP="u:p"), indexes=indexes)
    for expected, login in (
        (known, credentials.for_url(FILE)),
        (asked, credentials.for_url(FILE, asked=True)),
    ):
        assert expected == spoken(login)


def test_names_of_variables() -> None:
    corp = index("https://index.example", "my-corp.Index_2")
    found = IndexCredentials([corp], environ(MY_CORP_INDEX_2="u:p"))
    assert found.login(FILE, asked=False) == Login(user="u", password="p")
    assert "UV_INDEX_MY_CORP_INDEX_2_USERNAME" in Credentials((), indexes=[corp]).hint(FILE)


@pytest.mark.parametrize(
    ("variables", "login"),
    [
        pytest.param({"UV_INDEX_CORP_USERNAME": "token"}, "token", id="user-only"),
        pytest.param({"UV_INDEX_CORP_PASSWORD": "token"}, ":token", id="password-only"),
        pytest.param({"UV_INDEX_CORP_USERNAME": ""}, None, id="nothing"),
    ],
)
def test_half_a_login(variables: Mapping[str, str], login: str | None) -> None:
    corp = index("https://index.example", "corp")
    assert spoken(Credentials.from_environment(variables, indexes=[corp]).for_url(FILE)) == login


def test_the_url_itself_comes_first_and_is_decoded() -> None:
    corp = index("https://index.example", "corp")
    credentials = Credentials.from_environment(environ(CORP="u:p"), indexes=[corp])
    url = Url.parse("https://me%40home:a%3Ab@index.example/a.whl")
    assert spoken(credentials.for_url(url)) == "me@home:a:b"


def test_a_user_name_alone_looks_for_its_password(tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine index.example login me password from-netrc\n")
    credentials = Credentials.from_environment({"HOME": str(tmp_path)})
    assert spoken(credentials.for_url(Url.parse("https://me@index.example/a"))) == "me:from-netrc"
    assert spoken(credentials.for_url(Url.parse("https://you@index.example/a"))) == "you"


def test_always_without_credentials_is_refused_with_a_hint() -> None:
    corp = index("https://index.example/pkgs", "corp", "always")
    with pytest.raises(Refused, match="there are no credentials") as caught:
        Credentials.from_environment({}, indexes=[corp]).for_url(FILE)
    assert "UV_INDEX_CORP_USERNAME" in (caught.value.hint or "")


class TestNetrc:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        (tmp_path / ".netrc").write_text(
            "machine index.example\n  login me\n  password secret\n"
            "machine other.example login you password word\n"
        )
        return tmp_path

    def test_only_for_a_host_that_asks(self, home: Path) -> None:
        credentials = Credentials.from_environment({"HOME": str(home)})
        assert credentials.for_url(FILE) is None
        assert spoken(credentials.for_url(FILE, asked=True)) == "me:secret"
        assert credentials.for_url(Url.parse("https://x.example/a"), asked=True) is None

    def test_the_variable_goes_before_the_home_directory(self, home: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_text("default login any password one\n")
        credentials = Credentials.from_environment({"HOME": str(home), "NETRC": str(other)})
        assert spoken(credentials.for_url(FILE, asked=True)) == "any:one"

    def test_a_variable_that_names_nothing_leaves_the_home_directory(self, home: Path) -> None:
        environ = {"HOME": str(home), "NETRC": str(home / "missing")}
        credentials = Credentials.from_environment(environ)
        assert spoken(credentials.for_url(FILE, asked=True)) == "me:secret"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(f"nonsense {CANARY}".encode(), r"can't be understood \(line", id="token"),
            pytest.param(f"machine x login {CANARY}".encode(), "can't be", id="cut"),
            pytest.param(b"machine \xff\xfe", "isn't text in UTF-8", id="binary"),
        ],
    )
    def test_unreadable(self, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / ".netrc").write_bytes(content)
        credentials = Credentials.from_environment({"HOME": str(tmp_path)})
        assert credentials.for_url(FILE) is None
        if content.startswith(b"machine x"):
            # Python reads that much as an entry without a password.
            return
        assert credentials.for_url(FILE, asked=True) is None
        hint = credentials.hint(FILE)
        assert re.search(message, hint)
        assert "name another one in `NETRC`; set `UV_INDEX" in hint
        assert CANARY not in hint

    def test_a_directory_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / ".netrc").mkdir()
        credentials = Credentials.from_environment({"HOME": str(tmp_path)})
        assert credentials.for_url(FILE, asked=True) is None
        assert "`.netrc` can't be read" in credentials.hint(FILE).replace(f"{tmp_path}/", "")

    def test_what_cannot_be_read_does_not_hide_what_another_place_knows(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / ".netrc").write_text("nonsense")
        (tmp_path / "credentials.toml").write_text(
            '[[credential]]\nservice = "index.example"\nusername = "me"\npassword = "kept"\n'
        )
        environ = {"HOME": str(tmp_path), "UV_CREDENTIALS_DIR": str(tmp_path)}
        credentials = Credentials.from_environment(environ)
        assert spoken(credentials.for_url(FILE, asked=True)) == "me:kept"

    def test_no_home_at_all(self) -> None:
        assert Credentials.from_environment({}).for_url(FILE, asked=True) is None


SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab", "simple", "%2F"]), max_size=4)


@given(SEGMENTS, SEGMENTS, st.sampled_from(["index.example", "indexx.example", "index.example:1"]))
def test_nothing_known_leaves_its_index(root: list[str], path: list[str], host: str) -> None:
    corp = index("https://" + "/".join(["index.example", *root]), "corp")
    url = Url.parse("https://" + "/".join([host, *path]))
    credentials = Credentials.from_environment(environ(CORP="u:p"), indexes=[corp])
    below = root[:-1] if root and root[-1] == "simple" else root
    expected = host == "index.example" and path[: len(below)] == below
    assert (credentials.for_url(url) is not None) == expected
    assert (credentials.for_url(url, asked=True) is not None) == (host == "index.example")


def test_never_printed() -> None:
    login = (Login(user=CANARY, password=CANARY), Token(CANARY))
    assert CANARY not in f"{login} {login!r}"


class TestOverTheWire:
    def test_index_credentials_go_with_the_first_request(
        self, bench: Bench, server: FaultServer
    ) -> None:
        login = f"user:{CANARY}"
        url = server.route("/pkgs/a.whl", guarded(login, file(BODY)))
        bench.credentials = Credentials.from_environment(
            environ(CORP=login), indexes=[Index(name="corp", url=server.url("/pkgs/simple"))]
        )
        bench.done(url)
        assert server.logins() == [login]

    @pytest.mark.parametrize("refusal", [401, 403, 404])
    def test_netrc_is_asked_when_the_server_asks(
        self, refusal: int, bench: Bench, server: FaultServer, tmp_path: Path
    ) -> None:
        login = f"me:{CANARY}"
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {CANARY}\n")
        bench.credentials = Credentials.from_environment({"NETRC": str(tmp_path / "netrc")})
        bodies = [b"one", b"two", b"three"]
        transfers = [
            bench.transfer(server.route(f"/{n}", guarded(login, file(x), refusal=refusal)), x)
            for n, x in enumerate(bodies)
        ]
        assert not bench.fetch_all(transfers, jobs=1).failed
        # Once it took them, the host isn't asked again without.
        assert server.logins() == [None, login, login, login]

    def test_wrong_credentials_fail_at_once(self, bench: Bench, server: FaultServer) -> None:
        url = server.route("/a.whl", guarded("right:one", file(BODY)))
        bench.credentials = Credentials.from_environment(
            environ(CORP=f"wrong:{CANARY}"), indexes=[Index(name="corp", url=server.url("/"))]
        )
        failure = bench.failure(url)
        assert failure.reason == "`127.0.0.1` refuses access (401)"
        assert failure.hint == (
            "set `UV_INDEX_CORP_USERNAME` and `UV_INDEX_CORP_PASSWORD`, log in with "
            "`uv auth login`, or add `127.0.0.1` to your netrc file"
        )
        assert len(server.requests) == 1

    def test_unreadable_netrc_is_named_where_it_is_missed(
        self, bench: Bench, server: FaultServer, tmp_path: Path
    ) -> None:
        (tmp_path / "netrc").write_text(CANARY)
        bench.credentials = Credentials.from_environment({"NETRC": str(tmp_path / "netrc")})
        failure = bench.failure(server.route("/a.whl", status(401)))
        assert failure.hint is not None
        assert f"{tmp_path / 'netrc'}` can't be understood" in failure.hint
        assert CANARY not in failure.hint

    def test_secrets_of_urls_are_in_no_message(self, bench: Bench, server: FaultServer) -> None:
        scripts = [status(404), status(500), status(302), file(b"<html>")]
        for number, script in enumerate(scripts):
            url = server.route(f"/{number}?token={CANARY}", script)
            secret = url.exposed.replace("//", f"//{CANARY}:{CANARY}@")
            bench.failure(Url.parse(secret), BODY, size=10)  # the bench looks for the canary
        unreachable = Url.parse(f"http://{CANARY}:{CANARY}@127.0.0.1:1/a?{CANARY}")
        assert bench.fetch_all([bench.transfer(unreachable, digest=digest_of(b"2"))]).failed
