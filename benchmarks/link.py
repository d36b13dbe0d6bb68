"""A slow link between two network namespaces: so long a way, so many bits a second.

`tc netem` does it where the kernel has it. Elsewhere two TUN devices and a process between them
delay each packet, so that handshakes, slow start and windows are what they are on a long way.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.server import ADDRESS, Server, run

ROUND_TRIP = 0.050
BITS_PER_SECOND = 200_000_000

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
# As a router would: as much as the link carries in two round trips, then packets are dropped.
_QUEUE = BITS_PER_SECOND / 8 * ROUND_TRIP * 2
_NEAR, _FAR = "10.203.1.1", "10.203.1.2"


@contextmanager
def slow_link(server: Server) -> Iterator[tuple[str, str]]:
    """Make a namespace from which the server is far away; give its name and what delays."""
    client = f"{server.namespace}-far"
    run("ip", "netns", "add", client)
    try:
        run("ip", "netns", "exec", client, "ip", "link", "set", "lo", "up")
        process = None if _by_netem(server.namespace, client) else _by_tun(server.namespace, client)
        try:
            yield client, "tc netem" if process is None else "TUN devices"
        finally:
            if process is not None:
                process.terminate()
                process.wait()
    finally:
        run("ip", "netns", "delete", client)


def _by_netem(near: str, far: str) -> bool:
    """Join the namespaces by a delayed pair of devices; `False` where the kernel has no netem."""
    devices = {near: ("veth-near", _NEAR), far: ("veth-far", _FAR)}
    run("ip", "link", "add", "veth-near", "netns", near, "type", "veth",
        "peer", "name", "veth-far", "netns", far)  # fmt: skip
    netem = ["root", "netem", "delay", f"{ROUND_TRIP * 500:.0f}ms", "rate", f"{BITS_PER_SECOND}bit"]
    for namespace, (device, _) in devices.items():
        inside = ["ip", "netns", "exec", namespace]
        said = subprocess.run(
            [*inside, "tc", "qdisc", "add", "dev", device, *netem],
            check=False,
            capture_output=True,
            text=True,
        )
        if said.returncode != 0:
            sys.stderr.write(f"tc netem: {said.stderr.strip()}\n")
            run("ip", "netns", "exec", near, "ip", "link", "delete", "veth-near")
            return False
    for namespace, (device, address) in devices.items():
        _address(namespace, device, address)
    _routes(far, "veth-far")
    return True


def _by_tun(near: str, far: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.link", near, far]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    if process.stdout is None or process.stdout.readline() != b"ready\n":
        raise SystemExit("the slow link can't be made")
    _address(near, "tun-near", _NEAR, peer=_FAR)
    _address(far, "tun-far", _FAR, peer=_NEAR)
    _routes(far, "tun-far")
    return process


def _address(namespace: str, device: str, address: str, *, peer: str | None = None) -> None:
    inside = ["ip", "netns", "exec", namespace, "ip"]
    own = [address, "peer", peer] if peer else [f"{address}/24"]
    run(*inside, "address", "add", *own, "dev", device)
    run(*inside, "link", "set", device, "up")


def _routes(far: str, device: str) -> None:
    run("ip", "netns", "exec", far, "ip", "route", "add", ADDRESS, "via", _NEAR, "dev", device,
        "onlink")  # fmt: skip


class _Way:
    """One direction: packets come out of it later, and no faster than the link carries them."""

    def __init__(self, source: int, destination: int) -> None:
        self.source = source
        self._destination = destination
        self._packets: deque[tuple[float, bytes]] = deque()
        self._free = 0.0

    def take_in(self) -> None:
        """Take what has come, until nothing is left."""
        while True:
            try:
                packet = os.read(self.source, 65536)
            except BlockingIOError:
                return
            now = time.monotonic()
            begins = max(now, self._free)
            if (begins - now) * BITS_PER_SECOND / 8 > _QUEUE:
                continue
            self._free = begins + len(packet) * 8 / BITS_PER_SECOND
            self._packets.append((self._free + ROUND_TRIP / 2, packet))

    def give_out(self) -> float | None:
        """Pass on what is due, and return in how many seconds the next packet will be."""
        now = time.monotonic()
        while self._packets:
            due, packet = self._packets[0]
            if due > now:
                return due - now
            self._packets.popleft()
            try:
                os.write(self._destination, packet)
            except OSError:  # as a wire loses packets
                continue
        return None


def main() -> None:
    """Carry packets between two namespaces until SIGTERM."""
    near = _tun(sys.argv[1], "tun-near")
    far = _tun(sys.argv[2], "tun-far")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ways = (_Way(near, far), _Way(far, near))
    while True:
        waits = [wait for way in ways if (wait := way.give_out()) is not None]
        select.select([near, far], [], [], min(waits, default=1.0))
        for way in ways:
            way.take_in()


def _tun(namespace: str, name: str) -> int:
    """Open a new TUN device of a namespace: it stays there, and the file is ours."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _enter(other)
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(device, _TUNSETIFF, request)
        return device
    finally:
        _enter(own)
        os.close(own)
        os.close(other)


def _enter(namespace: int) -> None:
    # `os.setns` came with Python 3.12.
    import ctypes  # noqa: PLC0415

    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
