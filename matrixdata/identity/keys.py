"""AsyncKeys: `client.keys`, what a user does about keys. It checks and delegates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matrixdata.encryption import device_lists, identities
from matrixdata.encryption.port import Received
from matrixdata.identity import backups, fleet, key_files, own, recovery
from matrixdata.identity import status as statuses
from matrixdata.identity.verification import AsyncVerification
from matrixdata.model.hidden import HiddenText
from matrixdata.model.listing import Listing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from matrixdata.identity.desk import Desk
    from matrixdata.identity.fleet import DeviceInfo, Revoked
    from matrixdata.identity.recovery import Recovered
    from matrixdata.identity.status import KeysStatus
    from matrixdata.identity.upkeep import Upkeep
    from matrixdata.identity.verifying import Verifications

DEVICE_COLUMNS = ("user_id", "device_id", "fingerprint", "standing", "blocked")
REQUEST_COLUMNS = ("user_id", "device_id", "state")


class AsyncKeys:
    """The keys of one account on this device; see docs/encryption.md."""

    def __init__(
        self,
        desk: Desk,
        verifications: Verifications,
        upkeep: Upkeep,
        *,
        listen: Callable[[], None],
        check: Callable[[], None],
    ) -> None:
        self._desk = desk
        self._verifications = verifications
        self._upkeep = upkeep
        self._listen = listen
        self._check = check

    async def status(self) -> KeysStatus:
        """What is there, what is missing, and what would mend it."""
        self._check()
        return await statuses.status(self._desk, problem=self._desk.keys.problem or self._upkeep.problem)

    # -- recovery and backup ----------------------------------------------------------------------------
    async def set_up_recovery(self, *, replace: bool = False) -> str:
        """Make a recovery key: whoever has it can read everything of this account on a new device.

        The private keys go to the server sealed with it, room keys go to a backup there from now on.

        Args:
            replace: also where there is one, which then opens nothing any more.

        Returns:
            The key: 48 letters and digits. It is shown once and stored nowhere; keep it like a house key.

        Raises:
            Conflict: there is one already.
            KeyMissing: the private keys are on another device.
        """
        self._check()
        async with self._upkeep.turn:
            made = await recovery.set_up(self._desk, replace=replace)
        self._upkeep.wake()
        return made

    async def recover(
        self, recovery_key: str, *, progress: Callable[[int, int], None] | None = None
    ) -> Recovered:
        """Unlock the account on this device: it is signed as yours, and the backed-up room keys are restored.

        Args:
            recovery_key: the recovery key, or the passphrase it was made from in another client.
            progress: told how many room keys of how many were looked at.

        Raises:
            WrongKey: it is not the one of this account; nothing was changed.
            NotFound: the account has no recovery key.
        """
        self._check()
        recovery_key = HiddenText(recovery_key)  # a traceback that shows variables must not show it
        async with self._upkeep.turn:
            recovered = await recovery.recover(self._desk, recovery_key, progress=progress)
        self._upkeep.wake()
        return recovered

    async def reset_identity(self, password: str) -> None:
        """Make a new identity, where no device and no recovery key has the old one's private keys any more.

        Everybody sees that yours changed and has to acknowledge or verify it. Your other devices are unsigned after it,
        and the old backup stays closed; then `set_up_recovery(replace=True)`.

        Args:
            password: of the account.

        Raises:
            PasswordNeeded: it is wrong; the old identity stays.
        """
        self._check()
        password = HiddenText(password)
        async with self._upkeep.turn:
            await own.reset(self._desk, password=password)
        await self._desk.keys.tell(Received(users=frozenset({self._desk.user_id})))

    async def backup(self) -> int:
        """Back up now what is not in the backup yet, which the background does anyway; how many room keys those were.

        Where there is no backup, one is made; `set_up_recovery` stores its key.

        Raises:
            KeyMissing: there is none, and the private keys to make one are on another device.
        """
        self._check()
        found = await backups.adopt(self._desk)
        if found is None or not found.trusted:
            await backups.ensure(self._desk)
        return await backups.fill(self._desk)

    async def restore(self, *, progress: Callable[[int, int], None] | None = None) -> int:
        """Take the room keys of the backup; how many are new here. `recover` does it, too.

        Raises:
            NotFound: there is no backup.
            KeyMissing: its key is not on this device.
        """
        self._check()
        return await backups.restore(self._desk, progress=progress)

    async def export_file(self, path: str | os.PathLike[str], passphrase: str) -> int:
        """Write every room key to a file under a passphrase, as every Matrix client reads it; how many they were."""
        self._check()
        passphrase = HiddenText(passphrase)
        return await key_files.export_file(self._desk, Path(path), passphrase)

    async def import_file(self, path: str | os.PathLike[str], passphrase: str) -> int:
        """Take the room keys of such a file; how many are new here. Nothing proves whose they are.

        Raises:
            WrongKey: it is no key file, is damaged, or the passphrase is another one.
        """
        self._check()
        passphrase = HiddenText(passphrase)
        return await key_files.import_file(self._desk, Path(path), passphrase)

    # -- people and devices -----------------------------------------------------------------------------
    async def verify(
        self, who: str | None = None, *, device_id: str | None = None, ask: bool = True
    ) -> AsyncVerification:
        """Begin to verify: a user, or one of your own devices. Then `compare()`, and `confirm()` or `refuse()`.

        Args:
            who: a user id, or the id of another device of yours; None: whichever of your devices answers.
            device_id: only this device of that user.
            ask: False begins without asking first, for old clients (such as matrix-nio); it needs the device.

        Raises:
            NotFound: there is no such device.
        """
        self._check()
        if who is not None and not who.startswith("@"):
            who, device_id = None, who
        if not ask and device_id is None:
            raise TypeError("ask=False begins with one device at once: say which, with device_id=")
        user_id = who or self._desk.user_id
        self._listen()
        asked = await self._verifications.ask(user_id, device_id, direct=not ask)
        return AsyncVerification(self._verifications, asked)

    async def requests(self) -> list[AsyncVerification]:
        """Verifications that others ask for, each for ten minutes: `compare()` says yes, `refuse()` says no."""
        self._check()
        self._listen()
        found = [AsyncVerification(self._verifications, it) for it in await self._verifications.requests()]
        return Listing(found, title="verification", columns=REQUEST_COLUMNS)

    async def devices(self, user_id: str | None = None) -> list[DeviceInfo]:
        """The devices of a user, None for your own, with their fingerprints and what is known of each."""
        self._check()
        found = await fleet.devices(self._desk, user_id or self._desk.user_id)
        return Listing(found, title="device", columns=DEVICE_COLUMNS)

    async def acknowledge(self, user_id: str) -> None:
        """Go on with a user whose identity changed, as after a reset; better, verify them again.

        What waited for that is sent.
        """
        self._check()
        await own.refresh(self._desk, user_id)
        await self._desk.write(lambda tx: identities.acknowledge(tx, user_id))
        await self._desk.keys.tell(Received(users=frozenset({user_id})))
        self._upkeep.wake()

    async def sign_device(self, device_id: str, *, fingerprint: str | None = None) -> None:
        """Sign a device of your account from here, so that everybody takes it for yours. It needs no recovery key.

        Args:
            device_id: which; `client.keys.status()` on that device names it.
            fingerprint: as that device shows it. Without it the server is believed.

        Raises:
            NotVerified: the server lists another fingerprint.
            KeyMissing: the private keys are not on this device.
        """
        self._check()
        await fleet.sign_device(self._desk, device_id, fingerprint=fingerprint)

    async def revoke(self, device_id: str, *, password: str | None = None) -> Revoked:
        """End a device of your account: lost, stolen, or retired. It gets no more keys from here at once.

        Args:
            device_id: which.
            password: of the account: the device is removed, and everybody else leaves it out too.

        Returns:
            "removed", or without a password "blocked": only this device refuses it.

        Raises:
            PasswordNeeded: the password is wrong.
        """
        self._check()
        password = HiddenText(password) if password is not None else None
        done = await fleet.revoke(self._desk, device_id, password=password)
        await self._desk.keys.tell(Received(users=frozenset({self._desk.user_id})))
        return done

    async def unblock(self, user_id: str, device_id: str) -> None:
        """Give a device keys again that `revoke` blocked."""
        self._check()
        await self._desk.write(lambda tx: device_lists.block(tx, user_id, device_id, False))
