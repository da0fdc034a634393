"""One verification by short strings, in either role (spec "Key verification framework"): messages in, messages out.

It is kept in memory by whoever leads it, sends nothing itself, and has no clock: times are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from vodozemac import Curve25519PublicKey, Sas

from matrixdata.encryption.sas import (
    METHOD,
    Authentication,
    Party,
    ShortString,
    commitment,
    is_committed,
    short_string,
)
from matrixdata.encryption.verification_messages import (
    PREFIX,
    REASONS,
    Message,
    accept_content,
    accepts,
    has,
    offers,
    start_content,
)
from matrixdata.errors import RecordInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from matrixdata.model.json import JSON, JSONObject

TIMEOUT: Final = 600_000_000
"""Microseconds that a verification may take altogether (spec: ten minutes)."""

State = Literal["asked", "ready", "agreeing", "comparing", "waiting", "done", "cancelled"]
"""`asked`: a request was sent or came. `ready`: both sides want to. `agreeing`: keys are being exchanged. `comparing`:
both people compare. `waiting`: ours said that it fits, theirs did not yet. `done` and `cancelled` are final."""


@dataclass(slots=True)
class Verification:
    """One verification with one device.

    Attributes:
        me: our side; its keys are as they were at the beginning.
        other: theirs; likewise.
        transaction: its id.
        began_at: microseconds since 1970 UTC.
        asked_by_us: whether we asked first.
        string: what to compare, while `comparing`.
        verified: the other side's public keys that were verified; filled when `done`.
        cancel_code: why it ended, when `cancelled`; `REASONS` tells it in words.
        cancelled_by_us: who ended it.
    """

    me: Party
    other: Party
    transaction: str
    began_at: int
    asked_by_us: bool
    state: State = "asked"
    string: ShortString | None = None
    verified: tuple[str, ...] = ()
    cancel_code: str | None = None
    cancelled_by_us: bool = False
    _sas: Sas | None = field(default=None, repr=False)
    _start: Mapping[str, JSON] | None = field(default=None, repr=False)
    _starter: bool = False
    _start_held: Mapping[str, JSON] | None = field(default=None, repr=False)
    _seen: set[str] = field(default_factory=set, repr=False)
    _accepted: JSONObject | None = field(default=None, repr=False)
    _authentication: Authentication | None = field(default=None, repr=False)
    _their_macs: tuple[Mapping[str, JSON], JSON] | None = field(default=None, repr=False)
    _confirmed: bool = False

    # -- what people decide -----------------------------------------------------------------------------
    def ready(self) -> list[Message]:
        """Say yes to their request."""
        if self.state != "asked" or self.asked_by_us:
            return []
        self.state = "ready"
        if self._start_held is not None:
            return self._on_start(self._start_held)
        return [self._message("ready", {"from_device": self.me.device_id, "methods": [METHOD]})]

    def start(self) -> list[Message]:
        """Begin with the strings; the other side said that it is ready, or is asked without a request."""
        if self.state not in {"asked", "ready"} or self._start is not None:
            return []
        message = Message(f"{PREFIX}start", start_content(self.transaction, self.me.device_id))
        self._start, self._starter, self.state = message.content, True, "agreeing"
        return [message]

    def confirm(self) -> list[Message]:
        """The person says that both strings are the same."""
        if self.state != "comparing" or self._authentication is None:
            return []
        self._confirmed, self.state = True, "waiting"
        theirs = self._their_macs
        as_of_old = theirs is not None and self._authentication.writes_as_of_old(self.other, self.me, *theirs)
        macs, keys = self._authentication.macs(self.me, self.other, as_of_old=as_of_old)
        return [self._message("mac", {"mac": dict(macs), "keys": keys}), *self._finished()]

    def differ(self) -> list[Message]:
        """The person says that the strings differ."""
        return self.cancel("m.mismatched_sas")

    def cancel(self, code: str = "m.user") -> list[Message]:
        """End it, with a code of the spec."""
        if self.over:
            return []
        self._end(code, by_us=True)
        return [self._message("cancel", {"code": code, "reason": REASONS.get(code, code)})]

    # -- what happens -----------------------------------------------------------------------------------
    @property
    def over(self) -> bool:
        """Whether it is done or cancelled."""
        return self.state in {"done", "cancelled"}

    @property
    def why(self) -> str:
        """Why it was cancelled, in words; "" while it was not."""
        if self.cancel_code is None:
            return ""
        who = "here" if self.cancelled_by_us else "by the other side"
        return f"cancelled {who}: {REASONS.get(self.cancel_code, 'for a reason that is not known here')}"

    def tick(self, now: int) -> list[Message]:
        """End it when it took too long.

        Args:
            now: microseconds since 1970 UTC.
        """
        return self.cancel("m.timeout") if now - self.began_at > TIMEOUT else []

    def receive(self, event_type: str, content: Mapping[str, JSON]) -> list[Message]:
        """Take a message of the other side; who it is from was checked before. Nothing in it raises."""
        name = event_type.removeprefix(PREFIX)
        steps: dict[str, Callable[[Mapping[str, JSON]], list[Message]]] = {
            "ready": self._on_ready,
            "start": self._on_start,
            "accept": self._on_accept,
            "key": self._on_key,
            "mac": self._on_mac,
            "done": self._on_done,
            "cancel": self._on_cancel,
        }
        step = steps.get(name)
        # Servers may deliver a message again (measured).
        again = f"{name} {sorted(content.items(), key=str)}"
        if self.over or step is None or again in self._seen:
            return []
        self._seen.add(again)
        return step(content)

    def _on_ready(self, content: Mapping[str, JSON]) -> list[Message]:
        if self.state != "asked" or not self.asked_by_us:
            return self.cancel("m.unexpected_message")
        methods = content.get("methods")
        if not isinstance(methods, list) or METHOD not in methods:
            return self.cancel("m.unknown_method")
        self.state = "ready"
        return self.start()

    def _on_start(self, content: Mapping[str, JSON]) -> list[Message]:
        if self.state == "asked" and not self.asked_by_us:
            self._start_held = content  # until a person says yes
            return []
        if self._start is not None:
            # Both began: the one with the smaller id counts.
            ours_counts = (self.me.user_id, self.me.device_id) < (self.other.user_id, self.other.device_id)
            if self._starter and ours_counts:
                return []
            if not self._starter or self._accepted is not None:
                return self.cancel("m.unexpected_message")
        if not offers(content):
            return self.cancel("m.unknown_method")
        self._sas = Sas()
        try:
            bound = commitment(self._sas.public_key.to_base64(), content)
        except RecordInvalid:
            return self.cancel("m.invalid_message")
        self._start, self._starter, self.state = content, False, "agreeing"
        self._accepted = accept_content(content, bound)
        return [self._message("accept", self._accepted)]

    def _on_accept(self, content: Mapping[str, JSON]) -> list[Message]:
        if not self._starter or self._accepted is not None:
            return self.cancel("m.unexpected_message")
        if not accepts(content):
            return self.cancel("m.unknown_method")
        if not isinstance(content.get("commitment"), str):
            return self.cancel("m.invalid_message")
        self._accepted, self._sas = dict(content), Sas()
        return [self._own_key()]

    def _on_key(self, content: Mapping[str, JSON]) -> list[Message]:
        if self._sas is None or self._accepted is None or self._start is None or self._authentication:
            return self.cancel("m.unexpected_message")
        key, ours = content.get("key"), self._sas.public_key.to_base64()
        try:
            theirs = Curve25519PublicKey.from_base64(key if isinstance(key, str) else "")
            bound = self._accepted.get("commitment")
            if self._starter and not is_committed(bound, str(key), self._start):
                return self.cancel("m.mismatched_commitment")
            secret = self._sas.diffie_hellman(theirs)
        except ValueError:  # every exception of vodozemac is one; so is one for a key that is no key
            return self.cancel("m.invalid_message")
        replies = [] if self._starter else [self._own_key()]
        mine, other = (self.me, ours), (self.other, str(key))
        starter, accepter = (mine, other) if self._starter else (other, mine)
        string = short_string(secret, starter, accepter, self.transaction)
        with_emoji = has(self._accepted.get("short_authentication_string"), "emoji")
        self.string = string if with_emoji else ShortString((), string.numbers)
        method = str(self._accepted["message_authentication_code"])
        self._authentication = Authentication(secret, self.transaction, method)
        self.state = "comparing"
        return replies

    def _on_mac(self, content: Mapping[str, JSON]) -> list[Message]:
        macs = content.get("mac")
        if self._authentication is None or self._their_macs is not None:
            return self.cancel("m.unexpected_message")
        if not isinstance(macs, Mapping):
            return self.cancel("m.invalid_message")
        keys = self._authentication.verified(self.other, self.me, macs, content.get("keys"))
        if keys is None:
            return self.cancel("m.key_mismatch")
        self._their_macs = (macs, content.get("keys"))
        return self._finished()

    def _finished(self) -> list[Message]:
        if not self._confirmed or self._their_macs is None or self._authentication is None:
            return []
        self.verified = self._authentication.verified(self.other, self.me, *self._their_macs) or ()
        self.state = "done"
        return [self._message("done", {})]

    def _on_done(self, _content: Mapping[str, JSON]) -> list[Message]:
        # Theirs can only be done after our MACs, and their MACs came before it.
        return [] if self._confirmed else self.cancel("m.unexpected_message")

    def _on_cancel(self, content: Mapping[str, JSON]) -> list[Message]:
        code = content.get("code")
        self._end(code if isinstance(code, str) else "m.user", by_us=False)
        return []

    def _end(self, code: str, *, by_us: bool) -> None:
        self.state, self.cancel_code, self.cancelled_by_us, self.verified = "cancelled", code, by_us, ()

    def _own_key(self) -> Message:
        assert self._sas is not None  # noqa: S101  both callers have just seen or made it
        return self._message("key", {"key": self._sas.public_key.to_base64()})

    def _message(self, name: str, content: JSONObject) -> Message:
        return Message(PREFIX + name, {"transaction_id": self.transaction, **content})
