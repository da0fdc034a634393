"""The blocking faces of what a user does about keys.

One line a method; a test compares every signature with the async one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.model.hidden import HiddenText
from matrixdata.model.listing import Listing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from matrixdata.connect.portal import Portal
    from matrixdata.encryption.sas import ShortString
    from matrixdata.encryption.verification import State
    from matrixdata.identity.fleet import DeviceInfo, Revoked
    from matrixdata.identity.keys import AsyncKeys
    from matrixdata.identity.recovery import Recovered
    from matrixdata.identity.status import KeysStatus
    from matrixdata.identity.verification import AsyncVerification


class Verification:
    """A verification with another device; see AsyncVerification."""

    def __init__(self, portal: Portal, verification: AsyncVerification) -> None:
        self._portal = portal
        self._verification = verification

    def __repr__(self) -> str:
        return repr(self._verification)

    @property
    def user_id(self) -> str:
        """Whose device it is with."""
        return self._verification.user_id

    @property
    def device_id(self) -> str | None:
        """Which device; None while none of those asked has taken it up."""
        return self._verification.device_id

    @property
    def state(self) -> State:
        """Where it is: "asked", "ready", "agreeing", "comparing", "waiting", "done" or "cancelled"."""
        return self._verification.state

    @property
    def why(self) -> str:
        """Why it was cancelled; "" while it was not."""
        return self._verification.why

    def compare(self, *, timeout: float = 300.0) -> ShortString:
        """What to compare: `.emoji`, `.numbers`, or print it. Says yes to a request of theirs, and waits for them."""
        return self._portal.call(self._verification.compare, timeout=timeout)

    def confirm(self, *, timeout: float = 300.0) -> None:
        """The strings are the same on both sides. Returns once the other side has said so too."""
        self._portal.call(self._verification.confirm, timeout=timeout)

    def refuse(self) -> None:
        """The strings differ, or this should not go on: end it. The other side is told."""
        self._portal.call(self._verification.refuse)


class Keys:
    """The keys of one account on this device; see AsyncKeys."""

    def __init__(self, portal: Portal, keys: AsyncKeys) -> None:
        self._portal = portal
        self._keys = keys

    def status(self) -> KeysStatus:
        """What is there, what is missing, and what would mend it."""
        return self._portal.call(self._keys.status)

    def set_up_recovery(self, *, replace: bool = False) -> str:
        """Make a recovery key, shown once: whoever has it can read everything of this account on a new device."""
        return self._portal.call(self._keys.set_up_recovery, replace=replace)

    def recover(self, recovery_key: str, *, progress: Callable[[int, int], None] | None = None) -> Recovered:
        """Unlock the account on this device with its recovery key; see AsyncKeys.recover."""
        recovery_key = HiddenText(recovery_key)  # a traceback that shows variables must not show it
        return self._portal.call(self._keys.recover, recovery_key, progress=progress)

    def reset_identity(self, password: str) -> None:
        """Make a new identity, where the old one's private keys are lost; see AsyncKeys.reset_identity."""
        password = HiddenText(password)
        self._portal.call(self._keys.reset_identity, password)

    def backup(self) -> int:
        """Back up now what is not in the backup yet; how many room keys those were. See AsyncKeys.backup."""
        return self._portal.call(self._keys.backup)

    def restore(self, *, progress: Callable[[int, int], None] | None = None) -> int:
        """Take the room keys of the backup; how many are new here."""
        return self._portal.call(self._keys.restore, progress=progress)

    def export_file(self, path: str | os.PathLike[str], passphrase: str) -> int:
        """Write every room key to a file under a passphrase; how many they were."""
        passphrase = HiddenText(passphrase)
        return self._portal.call(self._keys.export_file, path, passphrase)

    def import_file(self, path: str | os.PathLike[str], passphrase: str) -> int:
        """Take the room keys of such a file; how many are new here."""
        passphrase = HiddenText(passphrase)
        return self._portal.call(self._keys.import_file, path, passphrase)

    def verify(
        self, who: str | None = None, *, device_id: str | None = None, ask: bool = True
    ) -> Verification:
        """Begin to verify: a user, or one of your own devices; see AsyncKeys.verify."""
        begun = self._portal.call(self._keys.verify, who, device_id=device_id, ask=ask)
        return Verification(self._portal, begun)

    def requests(self) -> list[Verification]:
        """Verifications that others ask for: `compare()` says yes, `refuse()` says no."""
        found = self._portal.call(self._keys.requests)
        columns = ("user_id", "device_id", "state")
        return Listing(
            (Verification(self._portal, each) for each in found), title="verification", columns=columns
        )

    def devices(self, user_id: str | None = None) -> list[DeviceInfo]:
        """The devices of a user, None for your own, with their fingerprints and what is known of each."""
        return self._portal.call(self._keys.devices, user_id)

    def acknowledge(self, user_id: str) -> None:
        """Go on with a user whose identity changed, as after a reset; better, verify them again."""
        self._portal.call(self._keys.acknowledge, user_id)

    def sign_device(self, device_id: str, *, fingerprint: str | None = None) -> None:
        """Sign a device of your account from here, so that everybody takes it for yours."""
        self._portal.call(self._keys.sign_device, device_id, fingerprint=fingerprint)

    def revoke(self, device_id: str, *, password: str | None = None) -> Revoked:
        """End a device of your account: "removed" with the password, else "blocked"; see AsyncKeys.revoke."""
        password = HiddenText(password) if password is not None else None
        return self._portal.call(self._keys.revoke, device_id, password=password)

    def unblock(self, user_id: str, device_id: str) -> None:
        """Give a device keys again that `revoke` blocked."""
        self._portal.call(self._keys.unblock, user_id, device_id)
