"""The embedded homeserver for real: one shared by most tests, and a few short-lived ones."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from matrixdata import homeserver
from matrixdata.errors import Conflict, MatrixDataError, MissingExtra, NotSent, Rejected, StoreLocked
from matrixdata.homeserver import loopback
from tests.requirements import ROOT

START = """
import sys
from pathlib import Path
from matrixdata import homeserver
address = homeserver.start(Path(sys.argv[1]), owned=sys.argv[2] == "owned")
print(address.pid, address.url, address.name, flush=True)
if sys.argv[2] == "owned":
    sys.stdin.read()
"""


def starter(place, kind):
    command = [sys.executable, "-c", START, str(place), kind]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def client(address, **headers):
    return httpx.Client(base_url=address.url, headers=headers, trust_env=False, timeout=30)


def login(address, localpart, password):
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": localpart},
        "password": password,
    }
    with client(address) as http:
        answer = http.post("/_matrix/client/v3/login", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_until(condition, seconds=15):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def sockets_of(pid):
    """Every internet socket of a process, from Linux's tables: (local, remote) as hexadecimal text."""
    links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:")}
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        rows = [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
        found += [(row[1], row[2]) for row in rows if row[9] in inodes]
    return found


@pytest.fixture
def place(tmp_path):
    yield tmp_path / "a servér of one's own"
    homeserver.stop(tmp_path / "a servér of one's own", timeout=2)


# --- one that stays the same for many tests ------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("homeserver") / "server"
    before = os.umask(0o022)
    try:
        yield homeserver.start(directory, owned=True)
    finally:
        os.umask(before)
        homeserver.stop(directory)


@pytest.mark.server
def test_starting_again_finds_the_same_one(server):
    again = homeserver.start(server.directory)
    assert again == server
    assert (server.new, again.new) == (True, False)


@pytest.mark.server
def test_status_tells_what_runs(server):
    now = homeserver.status(server.directory)
    assert (now.running, now.answering, now.owned, now.limits) == (True, True, True, "wide")
    assert (now.url, now.name, now.pid, now.directory) == (
        server.url,
        server.name,
        server.pid,
        server.directory,
    )
    assert now.version[0].isdigit()
    assert now.started.utcoffset() is not None


@pytest.mark.server
def test_only_its_owner_can_read_it(server):
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    entries = list(server.directory.rglob("*"))
    assert {"homeserver.db", "homeserver.yaml", "identity.json", "homeserver.log"} <= {
        e.name for e in entries
    }
    assert not [e for e in entries if stat.S_IMODE(e.stat().st_mode) & 0o077]


@pytest.mark.server
def test_other_settings_are_not_silently_ignored(server):
    with pytest.raises(Conflict, match="other settings"):
        homeserver.start(server.directory, limits="stock")
    with pytest.raises(Conflict, match="other settings"):
        homeserver.start(server.directory, extra_config={"max_event_delay_duration": "1d"})


@pytest.mark.server
def test_registering_twice_gives_the_same_user(server):
    password = homeserver.register(server, "ada")
    assert homeserver.register(server, "ada") == password
    assert login(server, "ada", password)["user_id"] == f"@ada:{server.name}"


@pytest.mark.server
def test_an_administrator_may_use_the_administration_interface(server):
    codes = []
    for localpart, admin in (("root", True), ("guest", False)):
        token = login(server, localpart, homeserver.register(server, localpart, admin=admin))["access_token"]
        with client(server, Authorization=f"Bearer {token}") as http:
            codes.append(http.get("/_synapse/admin/v2/users").status_code)
    assert codes == [200, 403]


@pytest.mark.server
@pytest.mark.parametrize("localpart", ["", "Ada", "a b", "a:b", "ada\n", "é", "x" * 300])
def test_a_name_that_cannot_be_is_refused(server, localpart):
    with pytest.raises(Rejected, match=r"M_INVALID_USERNAME|M_UNKNOWN"):
        homeserver.register(server, localpart)


@pytest.mark.server
def test_strangers_cannot_register(server):
    with client(server) as http:
        body = {"username": "eve", "password": "eve", "auth": {"type": "m.login.dummy"}}
        assert http.post("/_matrix/client/v3/register", json=body).status_code == 403


@pytest.mark.server
def test_wide_limits_let_many_rooms_and_logins_through(server):
    password = homeserver.register(server, "busy")
    token = login(server, "busy", password)["access_token"]
    with client(server, Authorization=f"Bearer {token}") as http:
        codes = [
            http.post("/_matrix/client/v3/createRoom", json={"preset": "private_chat"}).status_code
            for _ in range(25)
        ]
    assert codes == [200] * 25
    for _ in range(10):
        login(server, "busy", password)


@pytest.mark.server
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's socket tables")
def test_talks_to_nobody_but_this_machine_even_when_asked_to(server):
    password = homeserver.register(server, "curious")
    token = login(server, "curious", password)["access_token"]
    asked = [
        ("POST", "/_matrix/client/v3/join/%23room%3Aexample.org", {}),
        ("GET", "/_matrix/client/v3/profile/%40someone%3Aexample.org", None),
        ("POST", "/_matrix/client/v3/createRoom", {"invite": ["@someone:example.org"]}),
        ("GET", "/_matrix/client/v1/media/download/example.org/abc?timeout_ms=1000", None),
        ("GET", "/_matrix/client/v1/media/preview_url?url=http%3A%2F%2Fexample.org", None),
    ]
    with client(server, Authorization=f"Bearer {token}") as http:
        answers = [http.request(method, path, json=body) for method, path, body in asked]
    assert not [answer for answer in answers if answer.is_success]
    seen = sockets_of(server.pid)
    port = f"{urlsplit(server.url).port:04X}"
    assert ("0100007F:" + port, "00000000:0000") in seen
    addresses = {side.partition(":")[0] for pair in seen for side in pair}
    assert addresses <= {"0100007F", "00000000"}, seen
    assert [pair for pair in seen if pair[0].startswith("00000000")] == [], "bound to every interface"


@pytest.mark.server
def test_the_proxies_of_the_environment_are_not_asked(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert homeserver.start(server.directory) == server
    assert homeserver.register(server, "direct")


@pytest.mark.server
def test_a_server_that_is_gone_takes_no_registrations(server):
    gone = homeserver.ServerAddress("http://127.0.0.1:1", server.name, server.directory, 1)
    with pytest.raises(NotSent, match="start it again"):
        homeserver.register(gone, "ada")


# --- lives and deaths ----------------------------------------------------------------------------------


class Squatter:
    """Somebody else on the port of a dead server, who even repeats what that server used to answer."""

    def __init__(self, port, answers):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                body = answers.get(self.path, b"{}")
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815  the name that http.server calls

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.server
def test_killed_it_comes_back_on_the_same_data_though_another_has_its_port(place):
    with starter(place, "detached") as process:
        pid = int(process.stdout.readline().split()[0])
    before = homeserver.start(place)
    assert before.pid == pid, "it outlives the process that started it"
    password = homeserver.register(before, "ada")
    paths = ("/.well-known/matrix/client", "/_matrix/client/versions")
    with client(before) as http:
        known = {path: http.get(path).content for path in paths}

    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: not homeserver.status(place).running)
    with Squatter(urlsplit(before.url).port, known) as squatter:
        after = homeserver.start(place, timeout=60)
        assert squatter.asked == [], "no word to a stranger"
        assert after.url != before.url
        assert after.name == before.name
        assert login(after, "ada", password)["user_id"] == f"@ada:{after.name}"

    # Stopped but not dead, it is neither taken for a running one nor replaced behind its back.
    os.kill(after.pid, signal.SIGSTOP)
    with pytest.raises(StoreLocked, match="does not answer") as caught:
        homeserver.start(place, timeout=0.1)
    assert caught.value.pid == after.pid
    assert homeserver.stop(place, timeout=0.2) is True
    assert homeserver.stop(place) is False
    assert homeserver.status(place) == homeserver.ServerStatus(
        running=False, answering=False, directory=place, name=after.name
    )


@pytest.mark.server
def test_processes_that_ask_at_once_get_one_server(place):
    asking = [starter(place, "detached") for _ in range(3)]
    answers = {process.communicate()[0] for process in asking}
    assert [process.returncode for process in asking] == [0, 0, 0]
    assert len(answers) == 1
    assert homeserver.stop(place) is True


@pytest.mark.server
def test_whoever_was_starting_it_may_be_killed_meanwhile(place):
    with starter(place, "detached") as first:
        wait_until(lambda: homeserver.status(place).running)
        first.kill()
    address = homeserver.start(place)
    assert not address.new
    assert homeserver.register(address, "ada")
    assert homeserver.stop(place) is True


@pytest.mark.server
def test_ending_waits_for_a_start_in_progress(place):
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(homeserver.start, place)
        wait_until(lambda: homeserver.status(place).pid)
        assert homeserver.stop(place) is True
        assert starting.result().new
    assert not homeserver.status(place).running


def has_ended(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.server
def test_it_dies_with_its_owner_even_if_that_one_is_killed(place):
    with starter(place, "owned") as owner:
        pid = int(owner.stdout.readline().split()[0])
        assert homeserver.status(place).owned
        owner.kill()
    wait_until(lambda: not homeserver.status(place).running)
    wait_until(lambda: has_ended(pid))  # its lock goes a moment before itself


@pytest.mark.server
def test_stock_limits_hold_and_a_port_lost_to_another_is_replaced(place, monkeypatch):
    taken = loopback.free_port()
    offers = [taken]
    real = loopback.free_port
    monkeypatch.setattr(loopback, "free_port", lambda *wanted: offers.pop() if offers else real(*wanted))
    with Squatter(taken, {}):  # says 200 to everything, as a real server might
        address = homeserver.start(place, limits="stock", owned=True, timeout=60)
    assert urlsplit(address.url).port != taken
    token = login(address, "ada", homeserver.register(address, "ada"))["access_token"]
    with client(address, Authorization=f"Bearer {token}") as http:
        answers = [http.post("/_matrix/client/v3/createRoom", json={}) for _ in range(12)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert answers[-1].json()["errcode"] == "M_LIMIT_EXCEEDED"


@pytest.mark.server
def test_when_it_dies_at_the_start_the_end_of_its_log_is_shown(place):
    with pytest.raises(MatrixDataError, match=r"(?s)ended while it started.*no-such-database"):
        homeserver.start(place, extra_config={"database": {"name": "no-such-database"}})
    assert not homeserver.status(place).running


@pytest.mark.server
def test_too_late_it_is_ended_and_said(place):
    with pytest.raises(MatrixDataError, match="did not answer in time"):
        homeserver.start(place, timeout=0.05)
    assert not homeserver.status(place).running


# --- without any server --------------------------------------------------------------------------------


def test_where_none_ever_was(tmp_path):
    assert homeserver.stop(tmp_path / "none") is False
    none = homeserver.status(tmp_path / "none")
    assert (none.running, none.name, none.pid, none.started) == (False, "", 0, None)
    assert not (tmp_path / "none").exists()


def test_an_innocent_process_with_the_old_pid_is_not_ended(tmp_path):
    (tmp_path / "pid").write_text(str(os.getpid()))
    (tmp_path / "alive.lock").touch()
    assert homeserver.stop(tmp_path) is False


def test_where_synapse_is_missing_nothing_is_left_locked(tmp_path, monkeypatch):
    find = partial(homeserver.find_python, find_spec=lambda _: None)
    monkeypatch.setattr("matrixdata.homeserver.server.find_python", find)
    for _ in range(2):
        with pytest.raises(MissingExtra):
            homeserver.start(tmp_path / "server")


def test_a_damaged_note_means_not_running(tmp_path):
    for damage in ("", "[]", json.dumps({"port": "x"}), json.dumps({"port": 1, "limits": "odd"})):
        (tmp_path / "running.json").write_text(damage)
        assert not homeserver.status(tmp_path).running
