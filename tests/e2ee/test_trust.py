"""Identity, recovery, backup and verification as users meet them: clients on the real Synapse."""

from __future__ import annotations

import shutil
import threading
import traceback

import pytest

import matrixdata as md
from tests.faults.harness import Break, fault
from tests.servers import SCHEMA, wait_until

NOT_THE_KEY = "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d"


def temps(collection):
    return sorted(record.value["temp"] for record in collection.query(timeout=20).records())


def test_two_users_need_to_do_nothing_about_keys(server):
    writer, reader = server.connect(server.name("writer")), server.connect(server.name("reader"))
    mine = writer.create_collection("greenhouse", schema=SCHEMA, invite=[reader.user_id])
    theirs = reader.collection(mine.room_id)
    assert mine.encrypted
    assert (mine.trust, theirs.trust) == ("cross-signed", "cross-signed")
    mine.publish({"device": "d1", "temp": 1.5})
    wait_until(lambda: temps(theirs) == [1.5])
    theirs.publish({"device": "d2", "temp": 2.5})
    wait_until(lambda: temps(mine) == [1.5, 2.5])
    assert reader.keys.status().identity == "held"
    assert {it.standing for it in reader.keys.devices(writer.user_id)} == {"cross-signed"}


def test_a_fresh_device_with_user_password_and_recovery_key_reads_the_whole_history(server):
    name = server.name("ada")
    first = server.connect(name)
    mine = first.create_collection("greenhouse", schema=SCHEMA)
    for n in range(5):
        mine.publish({"device": "d1", "temp": n + 0.5})
    key = first.keys.set_up_recovery()
    mine.publish({"device": "d1", "temp": 5.5})
    wait_until(lambda: first.keys.status().backed_up == first.keys.status().sessions > 0)
    room_id = mine.room_id
    first.close()

    account = server.account(name, store="fresh")
    second = md.connect(**account, recovery_key=key)
    server.open.append(second)
    assert temps(second.collection(room_id)) == [n + 0.5 for n in range(6)]
    status = second.keys.status()
    assert (status.identity, status.advice) == ("held", "")
    assert key not in repr(status) + repr(second)


@fault("F29", broken=Break("matrixdata/carrier/keys.py", "            self.problem = received.problem\n", ""))
def test_a_client_whose_store_runs_on_two_machines_says_so(server):
    account = server.account(server.name("ada"))
    original = md.connect(**account)
    user_id, device_id = original.user_id, original.status().device_id
    original.create_collection("greenhouse").publish({"n": 1})
    original.close()
    shutil.copytree(account["store"], account["store"].with_name("copy"))
    here, there = (
        md.connect(**{**account, "store": account["store"].with_name(name)})
        for name in (account["store"].name, "copy")
    )
    server.open += [here, there]
    for client in (here, there):
        client.collection("greenhouse").sync()
    other = server.raw(server.name("bob"))

    def noticed():
        for client in (here, there):
            other.call("POST", "keys/claim", {"one_time_keys": {user_id: {device_id: "signed_curve25519"}}})
            client.collection("greenhouse").publish({"n": 2}, wait="synced", timeout=20)
        return [client for client in (here, there) if client.status().keys_problem]

    wait_until(noticed)
    client, *_ = noticed()
    assert "Log in again" in client.status().keys_problem
    assert client.keys.status().advice == client.status().keys_problem


def test_a_recovery_key_that_does_not_fit_is_said_at_once_and_shown_nowhere(server):
    name = server.name("ada")
    server.connect(name).keys.set_up_recovery()
    account = server.account(name, store="fresh")
    with pytest.raises(md.WrongKey) as caught:
        md.connect(**account, recovery_key=NOT_THE_KEY)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    # The test's own frame knows the key, of course.
    assert shown.count(NOT_THE_KEY) <= 2
    assert NOT_THE_KEY.replace(" ", "") not in shown

    again = md.connect(**account)  # the store is none the worse
    server.open.append(again)
    assert again.keys.status().identity == "unsigned"
    assert "recover" in again.keys.status().advice


def test_a_recovery_key_in_the_environment_serves_where_it_fits(server, monkeypatch):
    name = server.name("ada")
    key = server.connect(name).keys.set_up_recovery()
    monkeypatch.setenv("MATRIXDATA_RECOVERY_KEY", key)
    assert server.connect(name, store="fresh").keys.status().identity == "held"
    assert server.connect(server.name("bob")).keys.status().identity == "held"  # an account without recovery


def test_every_device_of_an_embedded_servers_account_is_verified_without_a_person(server, tmp_path):
    from functools import partial

    from matrixdata.connect.connecting import open_blocking
    from matrixdata.connect.login import server_client

    name = server.name("me")
    one = open_blocking(partial(server_client, server.address, name, tmp_path / "one"))
    server.open.append(one)
    mine = one.create_collection("here", schema=SCHEMA)
    mine.publish({"device": "d1", "temp": 1.5})
    wait_until(lambda: one.keys.status().recovery)
    wait_until(lambda: one.keys.status().backed_up == one.keys.status().sessions > 0)
    two = open_blocking(partial(server_client, server.address, name, tmp_path / "two"))
    server.open.append(two)
    assert two.keys.status().identity == "held"
    assert temps(two.collection(mine.room_id)) == [1.5]


def test_a_client_without_a_network_still_opens(server):
    name = server.name("ada")
    proxy = server.proxy()
    account = server.account(name, url=proxy.url)
    with md.connect(**account) as client:
        assert client.keys.status().identity == "held"
    proxy.down()
    with md.connect(**account) as client:
        status = client.keys.status()
        assert (status.identity, status.recovery) == ("held", None)


def test_two_people_verify_each_other_and_a_third_party_policy_follows(server):
    ada, bob = server.connect(server.name("ada")), server.connect(server.name("bob"))
    mine = ada.create_collection("secret", schema=SCHEMA, trust="verified", invite=[bob.user_id])
    theirs = bob.collection(mine.room_id, trust="verified")
    ours = ada.keys.verify(bob.user_id)
    (asked,) = wait_until(bob.keys.requests)
    strings = []
    both = [
        threading.Thread(target=lambda it=it: strings.append(it.compare(timeout=30))) for it in (ours, asked)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert strings[0] == strings[1]
    assert len(str(strings[0]).split()) > 3
    both = [threading.Thread(target=it.confirm) for it in (ours, asked)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert ours.state == asked.state == "done"
    mine.publish({"device": "d1", "temp": 1.5})
    wait_until(lambda: temps(theirs) == [1.5])


def test_a_fleets_device_needs_no_recovery_key_and_ends_when_it_is_revoked(server):
    name = server.name("fleet")
    owner, sensor = server.connect(name), server.connect(name, store="sensor")
    reader = server.connect(server.name("reader"))
    status = sensor.keys.status()
    assert status.identity == "unsigned"
    owner.keys.sign_device(status.device_id, fingerprint=status.fingerprint)
    mine = owner.create_collection("field", schema=SCHEMA, invite=[reader.user_id])
    seen = reader.collection(mine.room_id)
    wait_until(lambda: sensor.keys.status().identity == "signed")
    sensor.collection(mine.room_id).publish({"device": "s1", "temp": 1.5})
    wait_until(lambda: temps(seen) == [1.5])

    password = server.account(name)["password"]
    assert owner.keys.revoke(status.device_id, password=password) == "removed"
    assert status.device_id not in {it.device_id for it in reader.keys.devices(owner.user_id)}
    mine.publish({"device": "o1", "temp": 2.5})
    wait_until(lambda: temps(seen) == [1.5, 2.5])
