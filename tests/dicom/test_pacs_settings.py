"""Configurations that are refused, and secrets that show up nowhere."""

from __future__ import annotations

import io
import logging
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monai_diffaug.cli import main
from monai_diffaug.dicom.peers import open_peer
from monai_diffaug.dicom.secret_values import Secret
from monai_diffaug.dicom.settings import load_settings
from tests.dicom.servers import HTTP, PASSWORD, missing_programs, orthanc
from tests.dicom.synthetic_objects import make_object, uid, write_objects


def test_a_configuration_is_read(configured):
    settings = load_settings(configured(dimse={"objects_per_second": 5}), "dimse")
    assert settings.peer.address == "ORTHANC@127.0.0.1:14242"
    assert settings.peer.objects_per_second == 5 and settings.operator == "tester"
    assert settings.audit_log.is_absolute()


@pytest.mark.parametrize(
    ("peer", "changes", "said"),
    [
        ("dimse", {"hots": "x"}, "unknown key 'hots'"),
        ("dimse", {"kind": "ftp"}, "kind must be"),
        ("dimse", {"port": "104"}, "port must be of type int"),
        ("dimse", {"port": 0}, "port must be from 1"),
        ("dimse", {"push": 1}, "push must be of type bool"),
        ("dimse", {"host": None}, "missing 1 required keyword-only argument: 'host'"),
        ("dimse", {"called_aet": "MORE THAN SIXTEEN CHARACTERS"}, "1 to 16 plain characters"),
        ("dimse", {"retrieve": "move"}, "move_port"),
        ("dimse", {"ca_file": "absent.pem"}, "absent.pem does not exist"),
        ("dimse", {"password_file": "x"}, "unknown key 'password_file'"),
        ("dimse", {"timeout": 0}, "timeout must be above 0"),
        ("web", {"url": "http://pacs.example/dicom-web"}, "in the clear; use https"),
        ("web", {"url": "http://localhost.example/x"}, "in the clear; use https"),
        ("web", {"url": "https://me:hidden@pacs.example/"}, "no user or password"),
        ("web", {"url": "ftp://pacs.example/"}, "url must be http"),
        ("web", {"user": None}, "user with its password"),
        ("web", {"password_env": "PACS_TEST_ABSENT"}, "more than one way"),
        ("web", {"password_file": None, "password_env": "PACS_TEST_ABSENT"}, "PACS_TEST_ABSENT is not set"),
        ("web", {"password_file": "absent"}, "does not exist"),
    ],
)
def test_what_is_wrong_is_said(configured, peer, changes, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said) as raised:
        load_settings(configured(**{peer: changes}), peer)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("key", ["timeout", "objects_per_second", "megabytes_per_second"])
def test_limits_are_finite(configured, key, value):
    with pytest.raises(ValueError, match="all of them finite"):
        load_settings(configured(dimse={key: float(value)}, web={}), "dimse")


@pytest.mark.parametrize("rate", ["nan", "inf", "0", "-1"])
def test_a_rate_is_finite(configured, tmp_path, capsys, rate):
    command = ["dicom", "push", str(tmp_path), "--to", "dimse", "--config", str(configured()), f"--rate={rate}"]
    assert main(command) == 2
    assert "--rate must be a finite number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [("operator = 5", "operator must be a name in quotes, got int"), ('operator = "  "', "who acts")],
)
def test_who_acts_has_a_name(configured, tmp_path, capsys, line, said):
    config = configured()
    config.write_text(config.read_text().replace('operator = "tester"', line))
    assert main(["dicom", "find", "dimse", "--echo", "--config", str(config)]) == 2
    assert said in capsys.readouterr().err


def test_files_that_others_may_read_hold_no_secrets(configured, tmp_path):
    config = configured()
    (tmp_path / "password").chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        load_settings(config, "web")
    load_settings(config, "dimse")
    config = configured(web={"password_file": None, "password": PASSWORD})
    config.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        load_settings(config, "dimse")
    config.chmod(0o600)
    assert load_settings(config, "web").peer.password.reveal() == PASSWORD


def test_a_line_that_is_no_toml_is_not_repeated(configured):
    config = configured()
    config.write_text(config.read_text() + f'password = "{PASSWORD}\n')
    with pytest.raises(ValueError, match="not valid TOML") as raised:
        load_settings(config, "web")
    assert PASSWORD not in str(raised.value)


def test_a_secret_is_not_shown_or_stored(configured, monkeypatch):
    monkeypatch.setenv("PACS_TEST_TOKEN", PASSWORD)
    web = {"password_file": None, "user": None, "token_env": "PACS_TEST_TOKEN"}
    for changes in ({}, web):
        peer = load_settings(configured(web=changes), "web").peer
        assert PASSWORD not in repr(peer) + str(peer) + repr(vars(open_peer(peer)))
    with pytest.raises(TypeError, match="not stored"):
        pickle.dumps(Secret(PASSWORD))
    with pytest.raises(ValueError, match="empty"):
        Secret(" x")


@pytest.fixture
def everything_logged():
    """All that any logger says, down to debug."""
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("user", ["tester", "stranger"])
def test_a_password_is_in_no_log_journal_error_or_command(
    loopback, configured, tmp_path, capsys, everything_logged, user
):
    if reason := missing_programs("Orthanc"):
        pytest.skip(reason)
    folder = write_objects(tmp_path / "out", [make_object("CT", number, "secret") for number in range(3)])
    config = configured(web={"user": user, "attempts": 1})
    config.touch()
    with orthanc(tmp_path / "orthanc"):
        push = ["dicom", "push", str(folder), "--to", "web", "--send", "--config", str(config)]
        assert main(push) == (0 if user == "tester" else 1)
        assert main(["dicom", "find", "web", "--where", f"StudyInstanceUID={uid('secret')}", *push[-2:]]) in (0, 1)
        commands = seen_commands([sys.executable, "-m", "monai_diffaug", *push])
    assert main(push) in (0, 1)  # nobody is there any more
    said = capsys.readouterr()
    texts = [said.out, said.err, everything_logged.getvalue(), commands]
    texts += [path.read_text() for path in tmp_path.glob("*.jsonl")]
    assert len(list(tmp_path.glob("*.jsonl"))) == 2 and all(texts[2:])
    for text in texts:
        assert PASSWORD not in text
        assert "c3dvcmRmaXNo" not in text and "OnN3b3JkZmlzaC" not in text, "nor in the form that HTTP sends"


def seen_commands(command: list[str]) -> str:
    """Run a command and return all command lines of the system while it ran."""
    seen = ""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for _ in range(200):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen += path.read_bytes().replace(b"\0", b" ").decode(errors="replace") + "\n"
            except OSError:
                continue
        if process.poll() is not None:
            break
        time.sleep(0.05)
    output, _ = process.communicate(timeout=30)
    return seen + output.decode()


def test_credentials_are_no_options():
    for command in ("find", "pull", "push", "verify"):
        with pytest.raises(SystemExit):
            main(["dicom", command, "--password", "x"])


def test_a_bearer_token_is_sent(loopback, configured, monkeypatch):
    import http.server
    import threading

    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    monkeypatch.setenv("PACS_TEST_TOKEN", PASSWORD)
    web = {"password_file": None, "user": None, "token_env": "PACS_TEST_TOKEN"}
    peer = open_peer(load_settings(configured(web=web), "web").peer)
    server = http.server.HTTPServer(("127.0.0.1", HTTP), Handler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    peer.echo()
    thread.join(10)
    server.server_close()
    peer.close()
    assert asked == [f"Bearer {PASSWORD}"]
