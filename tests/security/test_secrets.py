"""A password and a token go through a whole session and are found nowhere but in the owner's account store."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import pickle
import re
import secrets
import socket
import stat
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

import matrixdata as md
from matrixdata import homeserver
from matrixdata.cli import main
from matrixdata.connect import sessions
from matrixdata.homeserver import identity as identities
from tests.faults.harness import Break, fault
from tests.requirements import ROOT, require
from tests.servers import Answer, RawUser

HTTP = "matrixdata/transport/http.py"


class Canary:
    """Everything that was said, and the words that must not be in it."""

    def __init__(self, *words: str) -> None:
        self.words = [word for word in words if word]
        self.heard: list[str] = []

    def hear(self, *said: object) -> None:
        for each in said:
            self.heard.append(each if isinstance(each, str) else f"{each!r}\n{each!s}")

    def hear_error(self, error: BaseException) -> None:
        """An error as notebooks show it: with every variable of every frame, and everything it came from."""
        seen: set[int] = set()
        waiting: list[BaseException | None] = [error]
        while waiting:
            one = waiting.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            told = traceback.TracebackException.from_exception(one, capture_locals=True, compact=True)
            # Our own frames, and those of libraries: the test's hold the canary, as its user's would.
            told.stack = traceback.StackSummary.from_list([f for f in told.stack if f.filename != __file__])
            self.hear("".join(told.format(chain=False)), one, vars(one))
            waiting += [one.__cause__, None if one.__suppress_context__ else one.__context__]

    def check(self) -> None:
        everything = "\n".join(self.heard)
        assert len(everything) > 1000, "nothing was heard"
        for word in self.words:
            at = everything.find(word)
            assert at < 0, f"...{everything[max(0, at - 300) : at]}<the canary>"


@pytest.fixture
def account(server):
    return server.account(server.name("canary"))


def holding(directory: Path, word: str) -> set[str]:
    return {
        file.relative_to(directory).as_posix()
        for file in directory.rglob("*")
        if file.is_file() and word.encode() in file.read_bytes()
    }


@pytest.mark.server
@fault(
    "T-E",
    broken=(
        Break(HTTP, "%d bytes\", request.method", "%d bytes\", self._authorization['authorization']"),
        Break("matrixdata/model/session.py", "access_token: str | None = field(default=None, repr=False)",
              "access_token: str | None = None"),
    ),
)  # fmt: skip
def test_a_whole_session_tells_neither_password_nor_token(server, account, caplog, tmp_path):
    for name in ("httpx", "httpcore", "matrixdata", "asyncio", ""):
        caplog.set_level(logging.DEBUG, logger=name)
    network = server.proxy()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        client = md.connect(**{**account, "homeserver": network.url})
        token = client._client._session.access_token
        canary = Canary(account["password"], token)
        collection = client.create_collection("x", schema={"type": "object"}, encrypted=False)
        receipt = collection.publish({"n": 1}, wait="synced")
        collection.publish_many([{"n": 2}, {"n": float("nan")}])
        network.fault = lambda seen: Answer(403, b'{"errcode":"M_FORBIDDEN"}') if seen.is_send else None
        for wrong in (
            lambda: collection.publish({"n": 3}),
            lambda: collection.publish({"n": float("inf")}),
            lambda: client.collection("nothing"),
            lambda: client.collection("!nowhere:example.org"),
            lambda: collection.query("no such column = 1").values(),
            lambda: client.create_collection("y", public=True),
            lambda: pickle.dumps(client),
            lambda: copy.deepcopy(client),
        ):
            with pytest.raises(Exception) as caught:  # noqa: PT011  whatever it is, it must not tell
                wrong()
            canary.hear_error(caught.value)
        network.fault = lambda _: None
        query, sub = collection.query(), collection.subscribe()
        frame = query.to_pandas()
        things = [
            client,
            collection,
            receipt,
            query,
            sub,
            client.status(),
            client.outbox,
            client.outbox.list(),
        ]
        things += [
            *query,
            collection.members(),
            collection.history(),
            collection.invalid(),
            frame,
            frame.attrs,
        ]
        things += [client._client, client._client._store, client._client._transport, client._client._session]
        for thing in things:
            canary.hear(thing, getattr(thing, "_repr_html_", str)())
            canary.hear({key: repr(value) for key, value in getattr(thing, "__dict__", {}).items()})
        canary.hear(pickle.dumps(frame).decode("latin-1"), json.dumps(frame.attrs, default=str))
        files = [
            query.to_csv(tmp_path / "a.csv"),
            query.to_jsonl(tmp_path / "a.jsonl"),
            query.to_parquet(tmp_path / "a.pq"),
        ]
        canary.hear(*(file.read_bytes().decode("latin-1") for file in files))
        client.close()
        with pytest.raises(md.ClientClosed) as caught:
            collection.publish({"n": 1})
        canary.hear_error(caught.value)
    canary.hear(*(str(each.message) for each in warned), caplog.text, *(seen.path for seen in network.seen))
    assert "send_request_headers" in caplog.text  # the HTTP library said all it says
    canary.check()
    store = account["store"]
    assert {name.split("-")[0] for name in holding(store, token)} == {"account.db"}
    assert holding(store, account["password"]) == set()


@pytest.mark.server
@fault(
    "T-E",
    broken=(
        Break(HTTP, "return HiddenBytes(body) if hidden else body", "return body"),
        Break(HTTP, "            del token  # a", "            pass  # a"),
    ),
)  # fmt: skip
def test_a_login_that_fails_in_any_way_tells_neither_password_nor_token(
    server, account, tmp_path, monkeypatch
):
    monkeypatch.setattr(sessions, "_PATIENCE", 0.1)
    word, token = account["password"], "syt_canary-" + secrets.token_hex(8)
    canary = Canary(word, token)
    network = server.proxy()
    who = json.dumps({"user_id": account["user"], "device_id": "D"}).encode()
    answers = [
        None,
        Answer(200, b'{"access_token": "%s"}' % token.encode()),
        Answer(200, b'{"access_token": "%s"' % token.encode()),
        Answer(200, b'{"access_token": "%s", "user_id": 5}' % token.encode()),
        Answer(200, b'{"access_token": "%s\\n", "user_id": "@a:b", "device_id": "D"}' % token.encode()),
        Answer(403, b'{"errcode": "M_FORBIDDEN", "error": "no"}'),
        Answer(500, b"<html>"),
    ]
    for answer in answers:
        network.fault = lambda _, answer=answer: answer
        if answer is None:
            network.down()
        with pytest.raises(md.MatrixDataError) as caught:
            md.connect(network.url, user=account["user"], password=word, store=tmp_path / "password")
        canary.hear_error(caught.value)
        if answer in answers[:3]:
            with pytest.raises(md.MatrixDataError) as caught:
                md.connect(network.url, token=token, user="@b:example.org", store=tmp_path / "token")
            canary.hear_error(caught.value)
        if answer is None:
            network.up()
    network.fault = lambda _: Answer(200, who)
    for bad in (token + "\n", token + " x", "\u00fc" + token):
        with pytest.raises(ValueError, match="no access token") as caught_value:
            md.connect(network.url, token=bad, user=account["user"], store=tmp_path / "token")
        canary.hear_error(caught_value.value)
    with pytest.raises(ValueError, match="surrogate") as caught_value:
        md.connect(server.url, user=account["user"], password=word + "\ud800", store=tmp_path / "password")
    canary.hear_error(caught_value.value)
    canary.check()


VERBOSE = """
%xmode Verbose
import matrixdata as md
client = md.connect({url!r}, user={user!r}, token=open({file!r}).read().strip(), store={store!r})
x = client.create_collection('x', encrypted=False)
x.publish({{'n': 1}}, wait='synced')
client; x; x.query()
x.query().to_pandas()
"""


@pytest.mark.server
@fault(
    "T-E",
    broken=Break(
        "matrixdata/connect/connecting.py",
        "    del password, token, recovery_key  # a traceback",
        "    pass  # a traceback",
    ),
)
def test_an_executed_notebook_with_verbose_tracebacks_holds_no_secret(server, tmp_path):
    require("kernel")
    from tests.jupyter import kernels

    name = server.name("notebook")
    raw = server.raw(name)
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(raw.token)
    canary = Canary(raw.token, homeserver.register(server.address, name))
    cells = VERBOSE.format(
        url=server.url, user=raw.user_id, file=str(file), store=str(tmp_path / "store")
    ).strip()
    with kernels.kernel(tmp_path / "home") as kernel:
        for cell in cells.split("\n"):
            ran = kernel.run(cell)
            canary.hear(ran.text, ran.html)
        for wrong in (
            "x.publish({'n': float('nan')})",
            "client.collection('nothing')",
            "x.query('no such column').values()",
            f"md.connect({server.url!r}, user='@b:example.org', token=open({str(file)!r}).read().strip())",
        ):
            ran = kernel.attempt(wrong)
            assert ran.error
            canary.hear(ran.traceback)
    canary.check()


@pytest.mark.server
@fault(
    "T-D",
    "T-E",
    broken=Break("matrixdata/cli/login.py", 'if os.name == "posix" and mode & 0o077:', "if False:"),
)
def test_the_command_line_keeps_secrets_out_of_arguments_and_output(server, tmp_path, matrixdata_home):
    name = server.name("terminal")
    word, user = homeserver.register(server.address, name), server.user_id(name)
    canary = Canary(word)
    file = tmp_path / "password"
    file.write_text(word + "\n")
    arguments = ["-vv", "login", server.url, "--user", user, "--password-file", str(file)]
    file.chmod(0o640)
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "chmod 600" in refused.stderr
    file.chmod(0o600)
    canary.hear(refused.output)
    for line in (arguments, ["create", "x", "--no-encrypt"], ["publish", "x", '{"n": 1}'], ["query", "x"],
                 ["status"], ["doctor"], ["publish", "x", '{"n": NaN}'], ["query", "nothing"]):  # fmt: skip
        done = CliRunner().invoke(main, ["-vv", *line], env={"MATRIXDATA_DEBUG": "1"})
        canary.hear(done.output, done.stderr)
    assert not [option for option in _options(main) if re.search("password$|token|secret", option)]
    canary.hear("padding" * 200)
    with md.connect() as client:
        canary.words.append(client._client._session.access_token)
    canary.check()
    kept = {file for word in canary.words for file in holding(matrixdata_home, word)}
    assert {Path(file).name.split("-")[0] for file in kept} == {"account.db"}
    for path in [matrixdata_home, *matrixdata_home.rglob("*")]:
        assert (
            stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0 or path == matrixdata_home / "default-profile"
        ), path


def _options(group):
    for command in getattr(group, "commands", {}).values():
        yield from _options(command)
        for parameter in command.params:
            yield from parameter.opts


@pytest.mark.server
@fault(
    "T-D",
    broken=Break(
        "matrixdata/homeserver/process.py",
        "str(config)]",
        "str(config), '--' + (directory / 'identity.json').read_text()]",
    ),
)
def test_no_process_of_ours_shows_a_secret_in_its_arguments_or_environment(server_address):
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this system has no /proc")
    identity = identities.load(server_address.directory)
    words = [getattr(identity, field) for field in identity.__dataclass_fields__ if field != "name"]
    words.append(homeserver.register(server_address, "canary"))
    raw = RawUser(server_address.url, f"@canary:{server_address.name}", words[-1])
    words.append(raw.token)
    raw.close()
    listed = b""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            listed += (process / "cmdline").read_bytes() + b"\n"
            if str(server_address.directory).encode() in listed.splitlines()[-1]:
                listed += (process / "environ").read_bytes() + b"\n"
        except OSError:  # it ended meanwhile, or is another user's
            continue
    assert str(server_address.directory).encode() in listed
    assert [word for word in words if word.encode() in listed] == []


@fault("T-D", broken=Break("matrixdata/replica/files.py", "if not stat.S_ISDIR(info.st_mode):", "if False:"))
def test_a_symbolic_link_where_a_store_should_be_is_refused(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    link = tmp_path / "store"
    link.symlink_to(elsewhere)
    with pytest.raises(md.MatrixDataError, match="not a directory"):
        md.connect("http://127.0.0.1:9", user="ada", password="x", store=link)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    assert list(elsewhere.iterdir()) == []


@fault("T-D", broken=Break("matrixdata/connect/paths.py", "if not _PLAIN.fullmatch(profile):", "if False:"))
def test_a_profiles_name_cannot_leave_the_profiles(matrixdata_home):
    for name in ("../x", "a/b", "/etc", "", ".", "..", "a\0b", "x" * 65, ".hidden", "a\n"):
        with pytest.raises(ValueError, match="profile="):
            md.connect("http://127.0.0.1:9", user="ada", password="x", profile=name or "\0")
    assert not matrixdata_home.exists()


@fault(
    "T-E",
    broken=Break(
        "tests/protocol/test_cassettes.py",
        'SECRET_KEYS = ("password", "access_token",',
        'SECRET_KEYS = ("nothing",',
    ),
)
def test_cassettes_and_notebooks_in_the_project_hold_nothing_that_looks_like_a_secret():
    from tests.protocol.test_cassettes import scrubbed

    files = [*(ROOT / "tests" / "cassettes").rglob("*.yaml"), *(ROOT / "notebooks").rglob("*.ipynb")]
    assert len(files) > 5
    secret = re.compile(r"syt_[A-Za-z0-9]+_|Bearer [A-Za-z0-9]|mda_|\"password\": \"(?!scrubbed)")
    assert [file.name for file in files if secret.search(file.read_text(encoding="utf-8"))] == []
    body = scrubbed(b'{"password": "canary", "access_token": "canary"}')
    assert b"canary" not in body


CHILD = """
import matrixdata as md, os, sys
client = md.connect(sys.argv[1], user=sys.argv[2], password=sys.stdin.readline().strip(), store=sys.argv[3])
print(open("/proc/self/cmdline").read(), open("/proc/self/environ").read(), flush=True)
client.close()
"""


@pytest.mark.server
def test_a_program_that_connects_changes_neither_its_arguments_nor_its_environment(account, tmp_path):
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this system has no /proc")
    command = [sys.executable, "-c", CHILD, account["homeserver"], account["user"], str(tmp_path / "child")]
    done = subprocess.run(
        command,
        input=account["password"] + "\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
        check=True,
    )
    canary = Canary(account["password"])
    canary.hear(done.stdout, done.stderr, " " * 1000)
    canary.check()


@fault(
    "T-E",
    broken=Break(
        "matrixdata/transport/http.py",
        "headers = httpx.Headers(self._authorization if request.authenticated else {})",
        "headers = dict(self._authorization if request.authenticated else {})",
    ),
)
def test_a_call_cut_off_inside_the_http_library_tells_neither_password_nor_token(tmp_path):
    canary = Canary("canary-word", "canary-token")

    async def cut_off(url, **secret):
        async with asyncio.timeout(0.3), md.connect_async(url, user="@ada:x", store=tmp_path / "s", **secret):
            pass

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for secret in ({"password": "canary-word"}, {"token": "canary-token"}):
            with pytest.raises(TimeoutError) as caught:
                asyncio.run(cut_off(url, **secret))
            canary.hear_error(caught.value)
    assert "httpcore" in "".join(canary.heard)  # whose variables were shown too
    canary.check()
