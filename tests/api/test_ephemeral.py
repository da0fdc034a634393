"""connect(ephemeral=True): nothing stays on the machine, the session ends, and what is lost is said."""

from __future__ import annotations

import tempfile

import pytest

import matrixdata as md
from matrixdata.connect import ephemeral
from tests.servers import CUT, uids

pytestmark = pytest.mark.server


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where temporary directories are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def account(server):
    account = server.account(server.name())
    del account["store"]
    return account


def devices(raw):
    return {device["device_id"] for device in raw.call("GET", "devices")["devices"]}


def test_closing_sends_what_is_queued_ends_the_session_and_leaves_no_file(server, account, place):
    raw = server.raw(account["user"][1:].split(":")[0])
    with md.connect(**account, ephemeral=True) as client:
        device = client.status().device_id
        assert device in devices(raw)
        assert list(place.iterdir())
        collection = client.create_collection("x", encrypted=False)
        for n in range(5):
            collection.publish({"n": n}, uid=f"u{n}", wait="queued")
    assert devices(raw) == {raw.device_id}
    assert list(place.iterdir()) == []
    assert uids(raw.records(collection.room_id)) == [f"u{n}" for n in range(5)]
    assert md.default_profile() is None


@pytest.mark.anyio
async def test_what_could_not_be_sent_is_listed_as_it_goes(server, account, place, monkeypatch):
    monkeypatch.setattr(ephemeral, "_PATIENCE", 0.3)
    proxy = server.proxy()

    async def work():
        async with md.connect_async(**{**account, "homeserver": proxy.url}, ephemeral=True) as client:
            collection = await client.create_collection("x", encrypted=False)
            proxy.fault = lambda seen: CUT if seen.is_send else None
            for n in range(2):
                await collection.publish({"n": n}, uid=f"lost-{n}", wait="queued")

    with pytest.warns(UserWarning, match=r"2 accepted records were never sent(.|\n)*lost-0(.|\n)*lost-1"):
        await work()
    assert list(place.iterdir()) == []


def test_a_token_that_was_brought_is_not_ended(server, account, place):
    raw = server.raw(account["user"][1:].split(":")[0])
    with md.connect(server.url, token=raw.token, ephemeral=True) as client:
        client.create_collection("x", encrypted=False)
    raw.call("GET", "account/whoami")
    assert list(place.iterdir()) == []


def test_a_login_that_fails_leaves_nothing_either(account, place):
    with pytest.raises(md.Rejected):
        md.connect(**{**account, "password": "swordfish"}, ephemeral=True)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("kept", [{"profile": "lab"}, {"store": "here"}, {"homeserver": None}])
def test_it_keeps_nothing_so_it_takes_no_place_to_keep_it(kept):
    with pytest.raises(TypeError, match="ephemeral"):
        md.connect(
            **{"homeserver": "http://127.0.0.1:1", "user": "a", "password": "b", **kept}, ephemeral=True
        )


def test_logging_out_of_it_is_closing_it(account, place):
    md.connect(**account, ephemeral=True).logout()
    assert list(place.iterdir()) == []
