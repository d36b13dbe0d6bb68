"""A server of its own: nginx over HTTPS in a network namespace that nothing else is in."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "10.203.0.1"
PORT = 18443
BASE = f"https://{ADDRESS}:{PORT}"

_CONFIGURATION = """\
worker_processes auto;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    types {{ text/html html; }}
    default_type application/octet-stream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {address}:{port} ssl{http2} backlog=1024;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.key;
        ssl_protocols TLSv1.3;
        root {root};
    }}
}}
"""
_EXTENSIONS = f"subjectAltName=IP:{ADDRESS}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server that runs. *namespace* is its own, *authority* the certificate to trust (PEM)."""

    namespace: str
    authority: Path

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs *command* where the server is, over its loopback."""
        return ["ip", "netns", "exec", self.namespace, *command]


@contextmanager
def serving(root: Path, *, directory: Path, http2: bool = False) -> Iterator[Server]:
    """Serve *root* over HTTPS until the end of the block. *directory* is for its own files."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    _make_certificates(directory)
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            directory=directory,
            address=ADDRESS,
            port=PORT,
            root=root,
            http2=" http2" if http2 else "",
        )
    )
    namespace = f"bench-{os.getpid()}"
    run("ip", "netns", "add", namespace)
    try:
        server = Server(namespace=namespace, authority=directory / "authority.pem")
        run(*server.inside(["ip", "link", "set", "lo", "up"]))
        run(*server.inside(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"]))
        # The workers belong to whoever owns the files: root here.
        command = ["nginx", "-c", str(configuration), "-g", "user root;"]
        process = subprocess.Popen(server.inside(command))
        try:
            _wait_until_it_answers(server, process)
            yield server
        finally:
            process.terminate()
            process.wait()
    finally:
        run("ip", "netns", "delete", namespace)


def run(*command: str) -> None:
    """Run a command that has to succeed."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _make_certificates(directory: Path) -> None:
    """Make an authority, and a certificate of it for the server's address."""
    authority = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subject = ["-subj", "/CN=bench authority", "-days", "30"]
    _openssl("req", *authority, *subject, "-keyout", "authority.key", "-out", "authority.pem",
             directory=directory)  # fmt: skip
    request = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl("req", *request, "-subj", "/CN=bench", "-keyout", "server.key", "-out", "server.csr",
             directory=directory)  # fmt: skip
    (directory / "extensions").write_text(_EXTENSIONS)
    _openssl("x509", "-req", "-in", "server.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
             "-CAcreateserial", "-days", "30", "-extfile", "extensions", "-out", "server.pem",
             directory=directory)  # fmt: skip


def _openssl(*arguments: str, directory: Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, cwd=directory, capture_output=True)


def _wait_until_it_answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    check = ["curl", "-s", "-o", os.devnull, "--cacert", str(server.authority), BASE]
    deadline = time.monotonic() + 10
    while subprocess.run(server.inside(check), check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("nginx doesn't answer; its error.log says more")
        time.sleep(0.05)
