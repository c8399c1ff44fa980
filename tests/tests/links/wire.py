"""A bad line between two network namespaces, in user space: what netem does, where the kernel has none.

    wire.py NAME-A ADDRESS-A NAME-B ADDRESS-B SEED

opens a tunnel device `wire` with an address (such as 10.9.0.1/24) in each of two network namespaces and carries IP packets
between them. Commands come on standard input, one a line, and are answered with `ok`:

    loss PERCENT      of the packets, each way
    delay MS          each way
    rate MBIT         each way; what waits longer than a second is lost
    down / up         nothing passes / as before
    drop udp          UDP is lost, everything else passes
"""
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
UDP, LONGEST_WAIT = 17, 1.0


def enter(name):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{name}") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {name}")


def tunnel(name, address):
    enter(name)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI))
    for words in (f"addr add {address} dev wire", "link set wire mtu 1500 txqueuelen 1000 up", "link set lo up"):
        subprocess.run(["ip", *words.split()], check=True)
    return device


class Line:
    """One direction."""

    def __init__(self, target):
        self.target, self.free = target, 0.0

    def due(self, packet, now, state, chance):
        """When a packet arrives; None when it is lost."""
        lost = state["down"] or chance.random() * 100 < state["loss"]
        udp = packet[0] >> 4 == 4 and packet[9] == UDP
        if lost or (udp and state["no_udp"]):
            return None
        start = max(now, self.free)
        if state["rate"]:
            if start - now > LONGEST_WAIT:
                return None
            start += len(packet) * 8 / (state["rate"] * 1e6)
            self.free = start
        return start + state["delay"] / 1000


def obey(line, state):
    word, *rest = line.split()
    if word in ("loss", "delay", "rate"):
        state[word] = float(rest[0])
    elif word in ("down", "up"):
        state["down"] = word == "down"
    elif line.split() == ["drop", "udp"]:
        state["no_udp"] = True
    else:
        raise ValueError(line)
    print("ok", flush=True)


def carry(devices, chance):
    state = {"loss": 0.0, "delay": 0.0, "rate": 0.0, "down": False, "no_udp": False}
    lines = {devices[0]: Line(devices[1]), devices[1]: Line(devices[0])}
    waiting, count, typed = [], 0, b""
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for ready in select.select([*devices, 0], [], [], pause)[0]:
            if ready == 0:
                words = os.read(0, 4096)
                if not words:
                    return
                *whole, typed = (typed + words).split(b"\n")
                for line in whole:
                    obey(line.decode(), state)
                continue
            for _ in range(64):
                try:
                    packet = os.read(ready, 65536)
                except BlockingIOError:
                    break
                due = lines[ready].due(packet, time.monotonic(), state, chance)
                if due is not None:
                    count += 1
                    heapq.heappush(waiting, (due, count, lines[ready].target, packet))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, target, packet = heapq.heappop(waiting)
            try:
                os.write(target, packet)
            except (BlockingIOError, OSError):
                pass  # A full queue or a device without an address loses packets, as any line does.


def main():
    name_a, address_a, name_b, address_b, seed = sys.argv[1:]
    devices = [tunnel(name_a, address_a), tunnel(name_b, address_b)]
    print("ready", flush=True)
    carry(devices, random.Random(int(seed)))


main()
