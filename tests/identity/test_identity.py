"""Identity, recovery, backup and verification against the real Synapse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from vodozemac import GroupSession

from matrixdata import homeserver
from matrixdata.encryption import identities, inbound, key_file, stored_secrets
from matrixdata.encryption.device_keys import identity_keys
from matrixdata.encryption.inbound import InboundKey
from matrixdata.errors import Conflict, KeyMissing, NotFound, NotVerified, PasswordNeeded, WrongKey
from matrixdata.identity import own
from matrixdata.identity.situation import OF_IDENTITY, situation
from matrixdata.model.hidden import HiddenBytes
from matrixdata.model.unlock import Unlock
from tests.identity.rig import RigDevice, device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matrixdata.identity.verification import AsyncVerification
    from tests.servers import TestServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough here: nothing in it depends on which."""
    return "asyncio"


def give_keys(one: RigDevice, number: int, room_id: str = "!room:here") -> set[str]:
    """Room keys that this device made."""
    tx = one.tx()
    curve25519, ed25519 = identity_keys(tx)
    made = set()
    for _ in range(number):
        session = GroupSession()
        key = InboundKey(
            room_id,
            session.session_id,
            curve25519,
            ed25519,
            "own",
            session.session_key.to_base64(),
            one.user_id,
        )
        assert inbound.add(tx, key) is not None
        made.add(session.session_id)
    tx.connection.commit()
    return made


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  nothing tells when another device has done its part
        await anyio.sleep(0.05)


async def requests_of(one: RigDevice) -> list[AsyncVerification]:
    """The requests that wait for this device, once there is one."""
    while not (waiting := await one.keys.requests()):  # noqa: ASYNC110  as above
        await anyio.sleep(0.05)
    return waiting


def sessions_of(one: RigDevice) -> set[str]:
    return {
        session_id for (session_id,) in one.transactions.c.execute("SELECT session_id FROM megolm_inbound")
    }


async def test_the_first_device_of_an_account_makes_its_identity_and_others_see_it_signed(
    server: TestServer,
) -> None:
    ada, bob = server.name("ada"), server.name("bob")
    async with device(server, ada) as one, device(server, bob) as other:
        now = await own.ensure(one.desk)
        assert now.settled
        assert now.trusted
        assert now.held == OF_IDENTITY
        assert await own.ensure(one.desk) == now
        (seen,) = await other.keys.devices(one.user_id)
        assert (seen.device_id, seen.standing) == (one.device_id, "cross-signed")
        assert seen.fingerprint == (await one.keys.status()).fingerprint


async def test_a_second_device_waits_to_be_recovered_and_then_reads_everything(server: TestServer) -> None:
    ada = server.name("ada")
    async with device(server, ada) as one, device(server, ada) as two:
        with pytest.raises(NotFound, match="set_up_recovery"):
            await one.keys.recover("EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d")
        made = give_keys(one, 205)
        shown = await one.keys.set_up_recovery()
        assert await one.keys.backup() == 205
        assert await one.keys.backup() == 0
        with pytest.raises(Conflict, match="replace=True"):
            await one.keys.set_up_recovery()

        assert not (await own.ensure(two.desk)).signed
        status = await two.keys.status()
        assert (status.identity, status.recovery) == ("unsigned", True)
        assert "recover" in status.advice
        with pytest.raises(KeyMissing):
            await two.keys.set_up_recovery(replace=True)
        with pytest.raises(WrongKey):
            await two.keys.recover("EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d")

        looked_at = []
        recovered = await two.keys.recover(shown, progress=lambda n, of: looked_at.append((n, of)))
        assert recovered.signed
        assert recovered.restored == 205
        assert looked_at == [(200, 205), (205, 205)]
        assert sessions_of(two) == made
        now = two.tx()
        assert situation(now).held == OF_IDENTITY | {stored_secrets.BACKUP}
        assert situation(now).trusted
        assert await two.keys.backup() == 0
        assert two.transactions.told[-1].sessions
        status = await two.keys.status()
        assert (status.identity, status.advice, status.backed_up) == ("held", "", 205)
        assert shown not in repr(status) + repr(recovered)


async def test_a_replaced_recovery_key_opens_nothing_any_more(server: TestServer) -> None:
    ada = server.name("ada")
    async with device(server, ada) as one, device(server, ada) as two:
        first = await one.keys.set_up_recovery()
        second = await one.keys.set_up_recovery(replace=True)
        with pytest.raises(WrongKey):
            await two.keys.recover(first)
        assert (await two.keys.recover(second)).signed


async def test_of_two_new_devices_at_once_one_makes_the_identity(server: TestServer) -> None:
    ada = server.name("ada")
    async with device(server, ada) as one, device(server, ada) as two:
        results = []

        async def settle(it: RigDevice) -> None:
            results.append(await own.ensure(it.desk))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, one)
            tasks.start_soon(settle, two)
        assert sorted(now.signed for now in results) == [False, True]
        assert len({now.master for now in results}) == 1
        assert {now.held for now in results} == {OF_IDENTITY, frozenset()}


async def test_keys_that_were_made_and_not_uploaded_are_the_ones_uploaded_later(server: TestServer) -> None:
    async with device(server, server.name("ada")) as one:
        body = await one.desk.write(own._made)
        now = await own.ensure(one.desk)
        assert {f"ed25519:{now.master}"} == set(body["master_key"]["keys"])  # type: ignore[index,call-overload,arg-type]  # JSON


async def test_without_a_person_a_script_is_recovered_by_what_it_was_given(server: TestServer) -> None:
    class Given:
        text = ""

    ada = server.name("ada")
    async with device(server, ada) as one:
        Given.text = await one.keys.set_up_recovery()
        made = give_keys(one, 3)
        await one.upkeep.round()
        async with device(server, ada, Unlock(recovery_key=Given())) as two:
            await two.upkeep.round()
            assert (await two.keys.status()).identity == "held"
            assert sessions_of(two) == made


async def test_accounts_of_an_embedded_server_recover_by_themselves(server: TestServer) -> None:
    ada = server.name("ada")
    unlock = Unlock(own_recovery=lambda: HiddenBytes(b"k" * 32))
    async with device(server, ada, unlock) as one, device(server, ada, unlock) as two:
        await one.upkeep.round()
        made = give_keys(one, 2)
        await one.upkeep.round()
        await two.upkeep.round()
        assert (await two.keys.status()).identity == "held"
        assert sessions_of(two) == made


async def test_a_backup_that_another_device_replaced_is_noticed(server: TestServer) -> None:
    ada = server.name("ada")
    async with device(server, ada) as one, device(server, ada) as two:
        shown = await one.keys.set_up_recovery()
        give_keys(one, 1)
        await one.keys.backup()
        await two.keys.recover(shown)
        two.transactions.c.execute("DELETE FROM secret WHERE name = 'm.megolm_backup.v1'")
        await two.keys.set_up_recovery(replace=True)  # makes a new backup, as its key is not at hand
        give_keys(one, 1)
        # One does not have the new one's key; it trusts the signature of its own identity.
        assert await one.keys.backup() == 2
        assert (await one.keys.status()).backed_up == 2
        await two.keys.restore()
        assert sessions_of(two) == sessions_of(one)


async def test_a_backup_whose_key_is_not_ours_gets_nothing(server: TestServer) -> None:
    """Threat A13: the server (here: somebody with the access token) puts its own backup in place."""
    ada = server.name("ada")
    async with device(server, ada) as one:
        await own.ensure(one.desk)
        body = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "A" * 43}}
        raw = server.raw(ada)
        raw.call("POST", "room_keys/version", body)
        give_keys(one, 1)
        await one.upkeep.round()
        count = raw.call("GET", "room_keys/version")["count"]
        assert count == 0
        assert (await one.keys.status()).backup is None


async def test_room_keys_go_to_a_file_and_back(
    server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "ROUNDS", 1000)
    async with device(server, server.name("ada")) as one, device(server, server.name("bob")) as two:
        made = give_keys(one, 3)
        target = tmp_path / "keys.txt"
        assert await one.keys.export_file(target, "some words") == 3
        assert target.stat().st_mode & 0o077 == 0
        with pytest.raises(WrongKey):
            await two.keys.import_file(target, "other words")
        assert await two.keys.import_file(target, "some words") == 3
        assert await two.keys.import_file(target, "some words") == 0
        assert sessions_of(two) == made


async def test_who_lost_all_keys_makes_a_new_identity_with_the_password_and_others_see_it(
    server: TestServer,
) -> None:
    ada = server.name("ada")
    async with device(server, ada) as lost, device(server, server.name("bob")) as bob:
        before = await own.ensure(lost.desk)
        await bob.keys.devices(lost.user_id)
        async with device(server, ada) as new:
            assert not (await own.ensure(new.desk)).signed
            with pytest.raises(PasswordNeeded):
                await new.keys.reset_identity("wrong")
            assert (await new.keys.status()).identity == "unsigned"
            await new.keys.reset_identity(homeserver.register(server.address, ada))
            now = new.tx()
            assert situation(now).settled
            assert situation(now).held == OF_IDENTITY
            assert situation(now).master != before.master
            await bob.keys.devices(lost.user_id)
            seen = identities.identity(bob.tx(), lost.user_id)
            assert seen is not None
            assert seen.changed
            await bob.keys.acknowledge(lost.user_id)
            standings = {it.device_id: it.standing for it in await bob.keys.devices(lost.user_id)}
            assert standings == {lost.device_id: "unsigned", new.device_id: "cross-signed"}


# -- fleets ------------------------------------------------------------------------------------------------
async def test_a_fleets_device_is_signed_by_who_has_the_keys_and_revoked_by_name(server: TestServer) -> None:
    ada, bob = server.name("ada"), server.name("bob")
    async with (
        device(server, ada) as owner,
        device(server, ada) as sensor,
        device(server, bob) as reader,
    ):
        await own.ensure(owner.desk)
        await own.ensure(sensor.desk)
        mark = (await sensor.keys.status()).fingerprint
        with pytest.raises(NotVerified, match="fingerprint"):
            await owner.keys.sign_device(sensor.device_id, fingerprint="A" * 43)
        with pytest.raises(NotFound, match=owner.device_id):
            await owner.keys.sign_device("NOSUCH")
        with pytest.raises(KeyMissing):
            await sensor.keys.sign_device(owner.device_id)
        await owner.keys.sign_device(sensor.device_id, fingerprint=mark)
        seen = {it.device_id: it.standing for it in await reader.keys.devices(sensor.user_id)}
        assert seen[sensor.device_id] == "cross-signed"
        await own.refresh(sensor.desk)
        assert (await sensor.keys.status()).identity == "signed"

        assert await owner.keys.revoke(sensor.device_id) == "blocked"
        blocked = {it.device_id: it.blocked for it in await owner.keys.devices()}
        assert blocked == {owner.device_id: False, sensor.device_id: True}
        with pytest.raises(PasswordNeeded):
            await owner.keys.revoke(sensor.device_id, password="wrong")
        password = homeserver.register(server.address, ada)
        assert await owner.keys.revoke(sensor.device_id, password=password) == "removed"
        seen = {it.device_id: it.standing for it in await reader.keys.devices(sensor.user_id)}
        assert sensor.device_id not in seen


# -- verification ------------------------------------------------------------------------------------------
async def test_a_new_device_is_verified_from_an_old_one_and_gets_the_private_keys(server: TestServer) -> None:
    ada = server.name("ada")
    async with device(server, ada) as old, device(server, ada) as new:
        await own.ensure(old.desk)
        await old.keys.backup()
        made = give_keys(old, 2)
        await own.ensure(new.desk)
        await old.sync()
        await new.sync()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(old.run)
            tasks.start_soon(new.run)
            ours = await new.keys.verify()
            with anyio.fail_after(20):
                (theirs,) = await requests_of(old)
                assert theirs.device_id == new.device_id
                strings = []

                async def compare(one: object) -> None:
                    strings.append(await one.compare())  # type: ignore[attr-defined]  # AsyncVerification

                async with anyio.create_task_group() as both:
                    both.start_soon(compare, theirs)
                    both.start_soon(compare, ours)
                assert strings[0] == strings[1]
                assert len(strings[0].emoji) == 7
                async with anyio.create_task_group() as both:
                    both.start_soon(theirs.confirm)
                    both.start_soon(ours.confirm)
                assert ours.state == theirs.state == "done"
                await until(lambda: situation(new.tx()).held >= OF_IDENTITY | {stored_secrets.BACKUP})
                await until(lambda: sessions_of(new) == made)
            tasks.cancel_scope.cancel()
        assert situation(new.tx()).trusted
        assert situation(new.tx()).signed


async def test_two_users_verify_each_other(server: TestServer) -> None:
    async with device(server, server.name("ada")) as ada, device(server, server.name("bob")) as bob:
        for each in (ada, bob):
            await own.ensure(each.desk)
            await each.sync()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ada.run)
            tasks.start_soon(bob.run)
            with anyio.fail_after(20):
                ours = await ada.keys.verify(bob.user_id)
                waiting = await requests_of(bob)
                assert await waiting[0].compare() == await ours.compare()
                async with anyio.create_task_group() as both:
                    both.start_soon(waiting[0].confirm)
                    both.start_soon(ours.confirm)
            tasks.cancel_scope.cancel()
        (seen,) = await ada.keys.devices(bob.user_id)
        assert seen.standing == "verified"
        (seen,) = await bob.keys.devices(ada.user_id)
        assert seen.standing == "verified"


async def test_who_says_no_verifies_nothing(server: TestServer) -> None:
    async with device(server, server.name("ada")) as ada, device(server, server.name("bob")) as bob:
        for each in (ada, bob):
            await own.ensure(each.desk)
            await each.sync()
        ours = await ada.keys.verify(bob.user_id)
        await bob.sync()
        (theirs,) = await bob.keys.requests()
        assert "Verification with" in repr(theirs)
        await theirs.refuse()
        await ada.sync()
        with pytest.raises(NotVerified, match="refused"):
            await ours.compare(timeout=5)
        assert ours.state == theirs.state == "cancelled"
        assert await bob.keys.requests() == []
        identity = identities.identity(ada.tx(), bob.user_id)
        assert identity is not None
        assert not identity.verified


async def test_who_does_not_answer_is_not_waited_for_for_ever(server: TestServer) -> None:
    async with device(server, server.name("ada")) as ada, device(server, server.name("bob")) as bob:
        for each in (ada, bob):
            await own.ensure(each.desk)
            await each.sync()
        ours = await ada.keys.verify(bob.user_id)
        with pytest.raises(NotVerified, match="did not answer"):
            await ours.compare(timeout=0.2)
        await bob.sync()
        assert await bob.keys.requests() == []


async def test_secrets_go_to_verified_devices_of_the_account_only(server: TestServer) -> None:
    ada = server.name("ada")
    async with (
        device(server, ada) as old,
        device(server, ada) as thief,
        device(server, server.name("eve")) as eve,
    ):
        await own.ensure(old.desk)
        await own.ensure(thief.desk)
        await old.sync()
        content = {
            "action": "request",
            "name": stored_secrets.MASTER,
            "request_id": "r1",
            "requesting_device_id": thief.device_id,
        }
        for asker in (thief, eve):
            message = {"messages": {old.user_id: {old.device_id: content}}}
            raw = server.raw(asker.user_id[1:].partition(":")[0])
            raw.call("PUT", f"sendToDevice/m.secret.request/{asker.device_id}", message)
        await old.sync()
        assert not await old.gossip.attend()
        await thief.sync()
        sent = thief.transactions.c.execute("SELECT count(*) FROM inbox").fetchone()
        assert sent == (0,)
        waiting = old.transactions.c.execute("SELECT kind FROM outgoing").fetchall()
        assert waiting == []
