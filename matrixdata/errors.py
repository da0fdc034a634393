"""Every exception matrixdata raises, in one tree.

MatrixDataError
├── RecordInvalid          a record you gave cannot be published; `.problems` says where and why
├── TooLarge               it would not fit in one event; counted in bytes before anything was queued
├── SchemaError            the schema you gave is outside the published profile, or hostile
├── SqlError               SQL that DuckDB cannot run, or that may not be run here
├── NotFound               no such profile, collection, room or binding
├── NotSent                nothing left this machine; trying again cannot double
│   └── RateLimited        the server asked us to wait longer than you allow
├── Rejected               the server refused, with an errcode; trying again will not help
│   ├── LoggedOut          the session is over; your outbox and keys are kept
│   ├── PasswordNeeded     the server asks for the account's password once more
│   └── RoomLeft           you left, were kicked or banned; the replica is kept
├── Unknown                it may or may not have arrived; resolves later by itself
│   └── PaginationLoop     the server's pages of history lead nowhere
├── RoomReplaced           the room was upgraded; `.new_room_id` is the one to write to
│   └── UpgradePending     that one has no schema yet, and only `.owners` may bring it
├── ServerRolledBack       the server was restored from a backup and forgot events
├── KeyMissing             no key to decrypt with
├── WrongKey               a recovery key, passphrase or key file does not fit
├── Tampered               what was received is not what was sent
├── NotVerified            a verification failed, or keys are not the expected ones
├── DeviceUntrusted        a recipient's device needs a human's decision
├── StoreLocked            another process holds this store
│   └── CursorLocked       another subscription holds this cursor
├── StoreCorrupt           a store file is damaged
├── StoreFull              no room on the disk
├── Conflict               the same key or uid already stands for something else
├── Incomplete             a query asked for completeness and there are gaps
├── FellBehind             a subscription with overflow="error" did not keep up
├── ClientClosed           the client or subscription is closed
│   └── ForkedClient       a client was carried over a fork
└── Unsupported            the server, the platform or this installation lacks a feature
    └── MissingExtra       an optional package is not installed

Rule of the tree: a caller's mistake raises at once; what others put into a room never raises, it
becomes a row state that can be listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.model.problem import Problem


class MatrixDataError(Exception):
    """The root of every error raised by this library."""


def _listed(problems: Sequence[Problem], most: int = 20) -> str:
    lines = [f"  {problem}" for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"  … and {len(problems) - most} more")
    return "\n".join(lines)


class RecordInvalid(MatrixDataError, ValueError):
    """A record cannot be published. `problems` holds every reason, each with a JSON Pointer (RFC 6901)."""

    def __init__(self, problems: Sequence[Problem], *, subject: str = "record") -> None:
        self.problems = tuple(problems)
        super().__init__(f"this {subject} was refused; nothing was queued:\n{_listed(self.problems)}")


class TooLarge(MatrixDataError, ValueError):
    """The event would exceed what a homeserver accepts. `size` and `limit` are in bytes."""

    def __init__(self, size: int, limit: int, *, advice: str = "") -> None:
        self.size, self.limit = size, limit
        super().__init__(
            f"the event would take {size:,} bytes and at most {limit:,} fit; nothing was queued. "
            + (advice or "Split the record, or leave large blobs out of it.")
        )


class SchemaError(MatrixDataError, ValueError):
    """A schema was refused at registration. `problems` points into the schema, not into a record."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "this schema cannot be used (docs/schema-profile.md lists what can):\n" + _listed(self.problems)
        )


class SqlError(MatrixDataError, ValueError):
    """SQL that cannot be run: what DuckDB says of it, or why it is not allowed here."""


class NotFound(MatrixDataError, LookupError):
    """Nothing by that name. The message says what is there and how to make it."""


class NotSent(MatrixDataError):
    """Nothing reached the server; sending again cannot double."""


class RateLimited(NotSent):
    """The server asks for a pause of `retry_after` seconds."""

    def __init__(self, retry_after: float, message: str = "") -> None:
        self.retry_after = retry_after
        super().__init__(message or f"the server is rate limiting us; try again in {retry_after:.1f} s")


class Rejected(MatrixDataError):
    """The server refused. `errcode` is Matrix's (client-server API, "Standard error response")."""

    def __init__(self, errcode: str, message: str = "", *, status: int = 0) -> None:
        self.errcode, self.status = errcode, status
        super().__init__(f"the server refused: {errcode}" + (f": {message}" if message else ""))


class LoggedOut(Rejected):
    """The session is over. `soft`: it expired, and logging in again goes on as the same device; else a new device.

    What is queued, received and stored is kept in both cases, and is sent after the next login.
    """

    def __init__(self, *, soft: bool = False, message: str = "") -> None:
        self.soft = soft
        super().__init__(
            "M_UNKNOWN_TOKEN",
            ("the session has expired" if soft else "this device is no longer logged in")
            + (f" ({message.rstrip('.')})" if message else "")
            + "; connect again with user= and password=, or run `matrixdata login`. "
            "Nothing queued was lost.",
            status=401,
        )


class PasswordNeeded(Rejected):
    """The server asks for the account's password once more before it does this. `session` goes on where it asked."""

    def __init__(self, message: str = "", *, session: str = "") -> None:
        self.session = session
        super().__init__(
            "M_UNAUTHORIZED",
            (f"{message}; " if message else "")
            + "it asks for the account's password before it does this: pass password=",
            status=401,
        )


class RoomLeft(Rejected):
    """We are not (or no longer) in the room."""

    def __init__(self, room_id: str, *, reason: str = "", by: str = "") -> None:
        self.room_id, self.reason, self.by = room_id, reason, by
        detail = f" by {by}" if by else ""
        super().__init__(
            "M_FORBIDDEN",
            f"no longer a member of {room_id}{detail}"
            + (f": {reason}" if reason else "")
            + ". What was received is kept and can still be queried.",
            status=403,
        )


class Unknown(MatrixDataError):
    """It was sent and no answer came: it may or may not have arrived. `uid` finds it later."""

    def __init__(self, message: str = "", *, uid: str = "") -> None:
        self.uid = uid
        super().__init__(message or "the server did not answer; the outcome is not known yet")


class PaginationLoop(Unknown):
    """The server's pages of a room's history lead in a circle or on without end; the rest stays a listed gap."""

    def __init__(self, room_id: str) -> None:
        self.room_id = room_id
        super().__init__(
            f"the server pages the history of {room_id} in a loop; what is behind it is missing, and listed as a gap"
        )


class RoomReplaced(MatrixDataError):
    """The room was upgraded; write to `new_room_id`."""

    def __init__(self, room_id: str, new_room_id: str) -> None:
        self.room_id, self.new_room_id = room_id, new_room_id
        super().__init__(
            f"{room_id} was replaced by {new_room_id}; collection.follow_upgrade() goes there, with its name, its "
            "schema and what is still queued"
        )


class UpgradePending(RoomReplaced):
    """The new room is joined and not yet a collection: one of `owners` (user ids, at most five) has to follow first."""

    def __init__(self, room_id: str, new_room_id: str, *, owners: Sequence[str]) -> None:
        self.room_id, self.new_room_id, self.owners = room_id, new_room_id, tuple(owners)
        who = " or ".join(self.owners) or "somebody who is given the power for it there"
        MatrixDataError.__init__(
            self,
            f"{room_id} was replaced by {new_room_id}, which has no schema and settings yet, and you may not set them: "
            f"{who} has to follow the upgrade; then follow again. Your name and what is queued stay as they are.",
        )


class ServerRolledBack(MatrixDataError):
    """The server forgot events it had acknowledged, as after a restore from a backup. `lost` of them in `room_id`."""

    def __init__(self, room_id: str, lost: int) -> None:
        self.room_id, self.lost = room_id, lost
        super().__init__(
            f"the server was set back, as by a restore from a backup: {lost} event{'s' * (lost != 1)} of {room_id} "
            "that it had acknowledged are gone there. They are kept here and can be queried; records of your own are "
            "in client.outbox as stuck (rolled_back), and outbox.retry(uid) sends one again."
        )


class KeyMissing(MatrixDataError):
    """No key to decrypt this with; `matrixdata keys status` says what would help."""


class WrongKey(MatrixDataError, ValueError):
    """A recovery key, passphrase or key file that is mistyped, damaged, or another account's. Nothing was changed."""


class Tampered(MatrixDataError):
    """Encrypted content was changed on its way or where it was kept, or is not what its key is for; not used."""


class NotVerified(MatrixDataError):
    """A verification was refused or failed, or keys are not those that were expected. Nothing was trusted by it."""


class DeviceUntrusted(MatrixDataError):
    """The identity of those in `user_ids` changed: nothing is sent to a room with them until a human has decided."""

    def __init__(self, user_ids: Sequence[str]) -> None:
        self.user_ids = tuple(user_ids)
        whose = " and ".join(self.user_ids)
        super().__init__(
            f"the identity of {whose} is another than before: they set up encryption anew, or somebody poses as them. "
            f"Ask them; then client.keys.acknowledge({self.user_ids[0]!r}) accepts it, and what is queued goes out."
        )


class StoreLocked(MatrixDataError):
    """Another process holds this store. `pid` is that process where known, else 0."""

    def __init__(self, path: str, *, pid: int = 0, advice: str = "") -> None:
        self.path, self.pid = path, pid
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{holder} is already syncing with the store in {path}. "
            + (advice or "Close it, or connect here with another profile= or store=.")
        )


class CursorLocked(StoreLocked):
    """Another subscription goes by this cursor. `pid` is its process where known, else 0."""

    def __init__(self, path: str, cursor: str, *, pid: int = 0, here: bool = False) -> None:
        self.path, self.pid, self.cursor = path, pid, cursor
        holder = "this process" if here else f"process {pid}" if pid else "another process"
        MatrixDataError.__init__(
            self,
            f"a subscription of {holder} already uses the cursor {cursor!r} of this collection. "
            "Leave its with block first, or use another cursor name: each keeps its own place.",
        )


class StoreCorrupt(MatrixDataError):
    """A store file is damaged or is not ours. The message says what was kept, what is lost and what to do.

    Attributes:
        path: the file.
        kept: the copy of a damaged file that was put aside; "" while there is none.
    """

    def __init__(self, message: str, *, path: str = "", kept: str = "") -> None:
        self.path, self.kept = path, kept
        super().__init__(message)


class StoreFull(MatrixDataError):
    """The disk (or the store's limit) is full; nothing that was not stored was acknowledged.

    `report` is that of a `publish_many` that came so far: the `PublishReport` of what was accepted before; else None.
    """

    def __init__(self, message: str, *, report: object | None = None) -> None:
        self.report = report
        super().__init__(message)


class Conflict(MatrixDataError):
    """The same name, key or uid already stands for something else."""


class Incomplete(MatrixDataError):
    """A query with on_incomplete="raise" found rows missing. `completeness` counts them."""

    def __init__(self, message: str, completeness: object) -> None:
        self.completeness = completeness
        super().__init__(message)


class IncompleteWarning(UserWarning):
    """A result lacks rows; the message counts them and says what would mend it."""


class FellBehind(MatrixDataError):
    """A subscription with overflow="error" ended: `behind` items were waiting, and `buffer` are allowed."""

    def __init__(self, behind: int, buffer: int) -> None:
        self.behind, self.buffer = behind, buffer
        super().__init__(
            f"this subscription fell behind: {behind:,} items wait and buffer={buffer:,} are allowed. They are in "
            'the replica: subscribe again from the last position with a larger buffer, or with overflow="block".'
        )


class ClientClosed(MatrixDataError):
    """Used after close()."""


class ForkedClient(ClientClosed):
    """A client does not survive a fork: its threads and sockets stayed in the parent process."""


class Unsupported(MatrixDataError):
    """`feature` is not available; the message says what it needs."""

    def __init__(self, feature: str, needed: str = "") -> None:
        self.feature, self.needed = feature, needed
        super().__init__(f"{feature} is not available" + (f": {needed}" if needed else ""))


class MissingExtra(Unsupported, ImportError):
    """An optional package is not installed; `extra` names the extra that brings it."""

    def __init__(self, feature: str, extra: str) -> None:
        self.extra = extra
        super().__init__(feature, f"install it with: pip install 'matrixdata[{extra}]'")
