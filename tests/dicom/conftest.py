"""Fixtures for DICOM and PACS."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import pytest

from tests.dicom.loopback import NoNetworkOfOurOwn, own_network


@pytest.fixture(scope="module", autouse=True)
def no_sockets_are_left():
    """Collect what pynetdicom leaves of refused associations here, not in some later test that fails for it."""
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <(socket|ssl)", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def loopback():
    """A network of this process's own: ports are free, and nobody else is there."""
    try:
        network = own_network()
        network.__enter__()
    except NoNetworkOfOurOwn as error:
        pytest.skip(str(error))
    yield
    network.__exit__(None, None, None)


@pytest.fixture(scope="module")
def archive(loopback, tmp_path_factory) -> Path:
    """Orthanc, running for a module: its folder."""
    from tests.dicom.servers import missing_programs, orthanc

    if reason := missing_programs("Orthanc"):
        pytest.skip(reason)
    with orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server.folder


@pytest.fixture
def configured(tmp_path):
    """Return a function that writes a configuration of peers and returns its path."""
    from tests.dicom.peer_files import write_config

    def write(**changes) -> Path:
        return write_config(tmp_path, **changes)

    return write
