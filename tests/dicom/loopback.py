"""A network of this process's own with nothing but loopback: servers started in it can be reached by nobody else."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


class NoNetworkOfOurOwn(RuntimeError):
    """The system does not let us have one; the tests that need it are skipped."""


@contextmanager
def own_network() -> Iterator[None]:
    """Enter a fresh network with the calling thread; threads and processes started from here are in it too."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    except OSError as error:
        raise NoNetworkOfOurOwn(f"no network namespaces here: {error.strerror}") from error
    try:
        if libc.unshare(CLONE_NEWNET):
            raise NoNetworkOfOurOwn(f"no network namespace of our own: {os.strerror(ctypes.get_errno())}")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
                fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
            yield
        finally:
            if libc.setns(before, CLONE_NEWNET):
                raise RuntimeError(f"cannot leave the network again: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(before)
