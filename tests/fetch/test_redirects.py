"""Where redirects lead, and what goes along."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fetch.conftest import BODY, CANARY, Bench
from tests.fetch.server import FaultServer, broken, file, guarded, redirect
from uv_archive.fetch import Credentials
from uv_archive.fetch.exchange import is_private, next_hop
from uv_archive.fetch.transport import Refused
from uv_archive.settings import Index
from uv_archive.url import Url


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_followed(code: int, bench: Bench, server: FaultServer) -> None:
    server.route("/x/b.whl?signed=1", file(BODY))
    bench.done(server.route("/x/a.whl", redirect("b.whl?signed=1#fragment", code)))
    assert [request.path for request in server.requests] == ["/x/a.whl", "/x/b.whl?signed=1"]


def test_the_rest_is_asked_for_at_the_new_place(bench: Bench, server: FaultServer) -> None:
    server.route("/b.whl", broken(BODY, 100_000), file(BODY))
    bench.done(server.route("/a.whl", redirect("/b.whl")))
    asked = [(request.path, request.offset) for request in server.requests]
    assert asked == [
        ("/a.whl", None), ("/b.whl", None), ("/a.whl", 100_000), ("/b.whl", 100_000),
    ]  # fmt: skip


def test_ten_are_followed_and_no_more(bench: Bench, server: FaultServer) -> None:
    for number in range(12):
        server.route(f"/{number}", redirect(f"/{number + 1}"))
    server.route("/12", file(BODY))
    failure = bench.failure(server.url("/1"))
    bench.done(server.url("/2"))
    assert failure.reason.startswith("more than 10 redirects")


def test_loop_ends(bench: Bench, server: FaultServer) -> None:
    failure = bench.failure(server.route("/a", redirect("/a")))
    assert failure.reason.startswith("more than 10 redirects")
    assert len(server.requests) == 11


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        pytest.param("file:///etc/passwd", "no URL of a host", id="file"),
        pytest.param("file://host/etc/passwd", "a URL of the kind `file:`", id="file-on-host"),
        pytest.param("ftp://files.example/a.whl", "a URL of the kind `ftp:`", id="ftp"),
        pytest.param("data:text/plain,x", "no URL of a host", id="data"),
        pytest.param("http://[bad/a", "no URL of a host", id="malformed"),
        pytest.param("http://files.example:port/a", "no URL of a host", id="no-port"),
        pytest.param("", "more than 10 redirects", id="empty"),
        pytest.param("http://127.0.0.1\\@files.example/a", "no URL of a host", id="backslash"),
        pytest.param("http://2130706433/a", "more than one way", id="address-as-number"),
        pytest.param("http://127.1/a", "more than one way", id="short-address"),
        pytest.param("http://%31%32%37.0.0.1/a", "more than one way", id="encoded-address"),
        pytest.param("http://\uff11\uff12\uff17.0.0.1/", "redirects without", id="wide-digits"),
    ],
)
def test_refused(location: str, reason: str, bench: Bench, server: FaultServer) -> None:
    location = location.encode().decode("latin-1")
    failure = bench.failure(server.route("/a.whl", redirect(location)))
    assert reason in failure.reason
    assert len(server.requests) <= 11


def test_without_location(bench: Bench, server: FaultServer) -> None:
    failure = bench.failure(server.route("/a.whl", redirect("x", 200), redirect("x")))
    assert not failure.reason.startswith("more")


PRIVATE = [
    "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "0.1.2.3", "100.64.0.1", "224.0.0.1", "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]",
    "localhost", "a.localhost", "localhost.", "127.0.0.1.",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_public_hosts_dont_lead_into_private_networks(host: str) -> None:
    target = f"https://{host}/a.whl"
    public = Url.parse("https://files.example/a.whl")
    with pytest.raises(Refused, match="private network"):
        next_hop(public, target, first=public)
    private = Url.parse("https://10.1.1.1/a.whl")
    assert next_hop(private, target, first=private).exposed == target


@pytest.mark.parametrize("hops", [1, 3])
def test_not_over_the_wire_either(
    hops: int, bench: Bench, servers: Callable[[], FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public host answers through a proxy, and leads to a server of this machine in the end."""
    proxy, inside = servers(), servers()
    monkeypatch.setenv("HTTP_PROXY", proxy.origin)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    target = inside.route("/b.whl", file(BODY))
    public = [f"http://files.invalid/{number}" for number in range(hops)]
    for here, there in zip(public, [*public[1:], target.exposed], strict=True):
        proxy.answer(here, redirect(there))
    failure = bench.failure(Url.parse(public[0]))
    assert failure.reason.startswith("`files.invalid` redirects to an address of a private network")
    assert [request.path for request in proxy.requests] == public
    assert inside.requests == []


def test_the_first_host_decides_what_is_private() -> None:
    public = Url.parse("https://files.example/a.whl")
    assert not is_private("files.example")
    assert not is_private("8.8.8.8")
    assert not is_private("[2606:4700::1]".strip("[]"))
    with pytest.raises(Refused, match="private network"):
        next_hop(Url.parse("https://cdn.example/b"), "https://10.0.0.1/c", first=public)


def test_never_from_https_to_http() -> None:
    hop = Url.parse("https://files.example/a.whl")
    with pytest.raises(Refused, match="from https to http"):
        next_hop(hop, "http://files.example/a.whl", first=hop)
    upwards = next_hop(Url.parse("http://files.example/a"), "https://files.example/a", first=hop)
    assert upwards.scheme == "https"


@given(st.text())
def test_any_location_is_a_web_url_or_refused(location: str) -> None:
    hop = Url.parse(f"https://user:{CANARY}@files.example/a/b.whl?token={CANARY}")
    outcome: Url | None = None
    with suppress(Refused):
        outcome = next_hop(hop, location, first=hop)
    assert outcome is None or (outcome.scheme, outcome.credentials) == ("https", None)


@pytest.mark.parametrize("location", ["/%zz", "//[", "http://b.example", "https://10.0.0.1", None])
def test_no_secret_in_the_reason(location: str | None) -> None:
    hop = Url.parse(f"https://user:{CANARY}@files.example/a/b.whl?token={CANARY}")
    if location == "/%zz":
        assert CANARY not in str(next_hop(hop, location, first=hop))
        return
    with pytest.raises(Refused) as caught:
        next_hop(hop, location, first=hop)
    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_credentials_stay_with_their_origin(
    bench: Bench, servers: Callable[[], FaultServer]
) -> None:
    index, cdn = servers(), servers()
    login = f"user:{CANARY}"
    target = cdn.route("/b.whl", file(BODY))
    index.route("/private/a.whl", guarded(login, redirect(target)))
    bench.done(Url.parse(f"{index.origin}/private/a.whl".replace("//", f"//{login}@", 1)))
    assert index.logins() == [login]
    assert cdn.logins() == [None]
    assert CANARY not in repr(cdn.requests)


def test_credentials_go_along_within_their_origin(bench: Bench, server: FaultServer) -> None:
    login = f"user:{CANARY}"
    server.route("/b.whl", guarded(login, file(BODY)))
    url = server.route("/a.whl", guarded(login, redirect("/b.whl")))
    bench.done(Url.parse(url.exposed.replace("//", f"//{login}@", 1)))
    assert server.logins() == [login, login]


def test_credentials_dont_come_back_from_another_origin(
    bench: Bench, servers: Callable[[], FaultServer]
) -> None:
    index, cdn = servers(), servers()
    login = f"user:{CANARY}"
    home = index.route("/b.whl", file(BODY))
    away = cdn.route("/hop", redirect(home))
    url = index.route("/a.whl", redirect(away))
    bench.done(Url.parse(url.exposed.replace("//", f"//{login}@", 1)))
    assert index.logins() == [login, None]
    assert cdn.logins() == [None]


def test_a_server_cant_put_credentials_into_a_redirect(
    bench: Bench, servers: Callable[[], FaultServer]
) -> None:
    index, other = servers(), servers()
    target = other.route("/b.whl", file(BODY)).exposed.replace("//", f"//evil:{CANARY}@")
    bench.done(index.route("/a.whl", redirect(target)))
    assert other.logins() == [None]


def test_each_origin_gets_its_own_credentials(
    bench: Bench, servers: Callable[[], FaultServer]
) -> None:
    index, cdn = servers(), servers()
    target = cdn.route("/files/b.whl", guarded("c:2", file(BODY)))
    url = index.route("/files/a.whl", guarded("i:1", redirect(target)))
    environ = {
        "UV_INDEX_ONE_USERNAME": "i", "UV_INDEX_ONE_PASSWORD": "1",
        "UV_INDEX_TWO_USERNAME": "c", "UV_INDEX_TWO_PASSWORD": "2",
    }  # fmt: skip
    indexes = [
        Index(name="one", url=index.url("/files/simple/")),
        Index(name="two", url=cdn.url("/files")),
    ]
    bench.credentials = Credentials.from_environment(environ, indexes=indexes)
    bench.done(url)
    assert (index.logins(), cdn.logins()) == (["i:1"], ["c:2"])
