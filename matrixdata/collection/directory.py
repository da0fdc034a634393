"""Which rooms are collections, under which names: creating, opening, listing, invites.

A bare name means what this user bound it to, kept in account data and so on all of the user's devices. A
name that a room or an invite claims binds nothing.
"""

from __future__ import annotations

import difflib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from matrixdata.carrier.audience import ENCRYPTION
from matrixdata.collection.bindings import bind, meaning
from matrixdata.collection.core import AsyncCollection
from matrixdata.collection.creation import Creation, checked_name
from matrixdata.collection.tables import state_event
from matrixdata.collection.trust import trust_of
from matrixdata.errors import Conflict, NotFound, NotSent, Rejected, RoomLeft, Unknown, Unsupported
from matrixdata.model import html
from matrixdata.model.listing import Listing, readable
from matrixdata.model.problem import safe_text
from matrixdata.protocol import requests
from matrixdata.protocol.content import COLLECTION
from matrixdata.protocol.sync import decode, parse_state
from matrixdata.receiving.pipeline import membership_of, state_rows
from matrixdata.receiving.standing import GONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrixdata.collection.ports import Services
    from matrixdata.encryption.port import Policy
    from matrixdata.replica.rows import StateRow

# A room that we know to be in opens without the server, which is asked for no more than so many seconds.
_PATIENCE = 10.0
_INFO_COLUMNS = ("name", "claimed_name", "members", "encrypted", "room_id")
INVITE_COLUMNS = ("claimed_name", "inviter", "room_id")


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection this user has a name for, or a room that says it is one.

    Attributes:
        name: the name this user bound; None if none was.
        claimed_name: what the room's owner calls it; hostile until shown otherwise.
    """

    room_id: str
    name: str | None
    claimed_name: str | None
    encrypted: bool
    members: int

    def _repr_html_(self) -> str:
        """The facts, for notebooks; everything is escaped."""
        return html.panel(
            f"Collection {self.name or self.claimed_name or self.room_id}",
            html.facts((name.replace("_", " "), readable(getattr(self, name))) for name in _INFO_COLUMNS),
        )


class AsyncInvite:
    """An invite to a room. Its name is claimed by whoever sent it."""

    def __init__(self, directory: Directory, room_id: str, claimed_name: str | None, inviter: str) -> None:
        self._directory = directory
        self.room_id = room_id
        self.claimed_name = claimed_name
        self.inviter = inviter

    def __repr__(self) -> str:
        return f"<Invite to {self.claimed_name!r} from {safe_text(self.inviter)} {safe_text(self.room_id)}>"

    def _repr_html_(self) -> str:
        """Who invites to what, for notebooks; everything is escaped."""
        return html.panel(
            "Invite",
            html.facts((name.replace("_", " "), getattr(self, name)) for name in INVITE_COLUMNS),
            note="its name is claimed by whoever sent it; .accept(name=…) binds one of your own, .reject() declines",
        )

    async def accept(self, *, name: str | None = None) -> AsyncCollection:
        """Join; with `name`, also bind that name to the room. The claimed name binds nothing by itself."""
        self._directory.check()
        return await self._directory.join(self.room_id, name=name, inviter=self.inviter)

    async def reject(self) -> None:
        """Decline the invite."""
        self._directory.check()
        await self._directory.leave(self.room_id)


class Directory:
    """Names, rooms and invites of one account."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._creating = anyio.Lock()
        self.check = services.check

    # -- creating ---------------------------------------------------------------------------------------
    async def create(self, creation: Creation, *, exist_ok: bool) -> AsyncCollection:
        """Make a collection and bind its name; an attempt that was cut short is finished, not repeated."""
        async with self._creating:  # two attempts at once would both find the name free
            return await self._create(creation, exist_ok=exist_ok)

    async def _create(self, creation: Creation, *, exist_ok: bool) -> AsyncCollection:
        room_id = await meaning(self._services, creation.name)
        if room_id is not None:
            return await self._existing(creation, room_id, exist_ok=exist_ok)
        uid, resumed = await self._services.account.intend(creation.name, self._services.new_id())
        room_id = await self._find_created(uid) if resumed else None
        if room_id is None:
            try:
                body = await self._services.caller.call(requests.create_room(creation.body(uid)), patience=60)
            except Rejected:
                await self._services.account.give_up(creation.name)
                raise
            made = _members(body).get("room_id")
            if not isinstance(made, str):
                raise Unknown(
                    "the server's answer names no room; calling again finds the room if it was made"
                )
            room_id = made
        if creation.encrypted:
            await self._services.keys.write(
                lambda engine, c: engine.set_policy(c, room_id, creation.trust, creation.members)
            )
        collection = await self.open_room(room_id, name=creation.name)
        for user_id in creation.invite_later:
            await collection.invite(user_id)
        await bind(self._services, creation.name, room_id)
        return collection

    async def _existing(self, creation: Creation, room_id: str, *, exist_ok: bool) -> AsyncCollection:
        if not exist_ok:
            raise Conflict(
                f"you already have a collection named {creation.name!r} ({room_id}); "
                f"open it with client.collection({creation.name!r}), or pass exist_ok=True"
            )
        collection = await self.open_room(room_id, name=creation.name)
        stands = (await self._services.intake.rules(room_id)).schema
        if creation.schema is not None and (stands is None or stands.hash != creation.schema.hash):
            raise Conflict(
                f"{creation.name!r} exists with another schema; open it with client.collection({creation.name!r}), "
                "or choose another name"
            )
        return collection

    async def _find_created(self, uid: str) -> str | None:
        """The room that an earlier attempt made, by the creation uid in its state."""
        joined = _members(await self._services.caller.call(requests.joined_rooms())).get("joined_rooms")
        for room_id in joined if isinstance(joined, list) else []:
            try:
                body = await self._services.caller.call(requests.state_event(str(room_id), COLLECTION))
            except (Rejected, Unsupported):
                continue  # no collection
            if _members(body).get("uid") == uid:
                return str(room_id)
        return None

    # -- opening ----------------------------------------------------------------------------------------
    async def open(self, name: str) -> AsyncCollection:
        """A collection by bound name, #alias:server or !room_id; the last two join if invited or public."""
        if name.startswith("!"):
            try:
                return await self.join(name)
            except Rejected:
                # To join again what one is in is never refused. What was received is kept.
                if not await self._services.standing.is_out(name):
                    raise
                return await self.open_room(name)
        if name.startswith("#"):
            return await self._open_alias(name)
        return await self.named(name)

    async def named(self, name: str) -> AsyncCollection:
        """A collection by a name this user bound; never joins anything."""
        room_id = await meaning(self._services, name)
        if room_id is None:
            raise NotFound(await self._unknown(name))
        return await self.open_room(room_id, name=name)

    async def _open_alias(self, alias: str) -> AsyncCollection:
        try:
            found = _members(await self._services.caller.call(requests.resolve_alias(alias)))
        except Rejected as error:
            if error.errcode == "M_NOT_FOUND":
                raise NotFound(f"no room has the alias {alias!r}") from error
            raise
        servers = found.get("servers")
        via = tuple(str(server) for server in servers[:3]) if isinstance(servers, list) else ()
        return await self.join(str(found.get("room_id")), via=via)

    async def _unknown(self, name: str) -> str:
        names = list(await self._services.account.bindings())
        close = difflib.get_close_matches(name, names, n=1)
        have = f"you have {', '.join(map(repr, names[:10]))}" if names else "you have none yet"
        return (
            f"no collection is named {name!r}"
            + (f"; did you mean {close[0]!r}?" if close else f"; {have}.")
            + " Make one with client.create_collection(name), open somebody else's by room id or alias, "
            "or accept an invite from client.invites()"
        )

    async def join(
        self, room_id: str, *, name: str | None = None, via: Sequence[str] = (), inviter: str | None = None
    ) -> AsyncCollection:
        """Join a room (harmless when joined), bind `name` if given, and open it.

        Whoever invited us may have offered the keys of its past, so it matters who that is: `inviter` saves asking.
        """
        if name is not None:
            other = await meaning(self._services, checked_name(name))
            if other is not None and other != room_id:
                raise Conflict(f"{name!r} already means {other}; choose another name")
        inviter = inviter or await self._inviter(room_id)
        if inviter:
            await self._services.past.accept(room_id, inviter)
        await self._joined(room_id, via)
        if name is not None:
            await bind(self._services, name, room_id)
        return await self.open_room(room_id, name=name)

    async def _inviter(self, room_id: str) -> str | None:
        if await self._services.rooms.membership(room_id) == "join":
            return None
        # Joining may be possible all the same, and says better what is wrong when it is not.
        with anyio.move_on_after(_PATIENCE), suppress(NotSent, Unknown, Rejected):
            return next((it.inviter for it in await self.invites() if it.room_id == room_id), None)
        return None

    async def _joined(self, room_id: str, via: Sequence[str]) -> None:
        """Be in a room. What we know of our membership may be old, so the server is asked if it can be."""
        request = requests.join(room_id, via=tuple(via))
        if await self._services.rooms.membership(room_id) != "join":
            await self._services.caller.call(request, patience=90)
            return
        with anyio.move_on_after(_PATIENCE), suppress(NotSent, Unknown):
            await self._services.caller.call(request, patience=0)

    async def open_room(self, room_id: str, *, name: str | None = None) -> AsyncCollection:
        """A room that we are or were in, as a collection; its state is fetched once, without a sync.

        One that we left, were removed from or forgot opens with what was received of it.
        """
        membership = await self._services.rooms.membership(room_id)
        if membership in GONE:
            with suppress(RoomLeft):
                await self._services.standing.check_member(room_id)  # another device may have joined again
        elif membership != "join":
            state = state_rows(parse_state(await self._services.caller.call(requests.room_state(room_id))))
            await self._services.intake.state(room_id, state)
            if membership_of(self._services.user_id, state) != "join":
                raise NotFound(f"you are not a member of {room_id}; open it by its id or alias to join it")
        if name is None:
            bindings = await self._services.account.bindings()
            name = next((bound for bound, room in bindings.items() if room == room_id), None)
        rules = await self._services.intake.rules(room_id)
        trust = await self._encryption(room_id)
        return AsyncCollection(self._services, room_id, name=name, rules=rules, trust=trust)

    async def _encryption(self, room_id: str) -> Policy | None:
        """By which policy keys are given, None where the room is not encrypted."""
        keys = self._services.keys
        stated = [row.content for row in await self._services.rooms.state(room_id, (ENCRYPTION,))]
        if stated:
            await keys.write(lambda engine, c: engine.note_room(c, room_id, stated[0]))
        if await keys.read(lambda engine, c: engine.is_encrypted(c, room_id)):
            return await trust_of(self._services, room_id)
        return None

    async def leave(self, room_id: str) -> None:
        """Leave a room or decline an invite."""
        await self._services.caller.call(requests.leave(room_id))

    # -- lists ------------------------------------------------------------------------------------------
    async def invites(self) -> list[AsyncInvite]:
        """Rooms we are invited to."""
        body: dict[str, Any] = {
            "conn_id": "matrixdata-invites",
            "lists": {
                "invites": {
                    "ranges": [[0, 999]],
                    "timeline_limit": 0,
                    "required_state": [],
                    "filters": {"is_invite": True},
                }
            },
        }
        try:
            request = requests.sliding_sync(body, pos=None, timeout_ms=0)
            rooms = _members(await self._services.caller.call(request)).get("rooms")
            found = {
                room_id: room.get("invite_state")
                for room_id, room in (rooms.items() if isinstance(rooms, dict) else ())
                if isinstance(room, dict)
            }
        except Unsupported:
            found = await self._invites_v2()
        invites = (
            AsyncInvite(self, room_id, *_invite_facts(events, self._services.user_id))
            for room_id, events in found.items()
            if isinstance(events, list)
        )
        return Listing(invites, title="invite", columns=INVITE_COLUMNS)

    async def _invites_v2(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"types": []}
        # A filter on rooms would leave out those that we are only invited to.
        room = {
            "timeline": {"limit": 1, **nothing},
            "state": nothing,
            "ephemeral": nothing,
            "account_data": nothing,
        }
        only = {"room": room, "presence": nothing, "account_data": nothing}
        request = requests.sync_v2(since=None, filter_json=msgspec.json.encode(only).decode(), timeout_ms=0)
        rooms = _members(await self._services.caller.call(request)).get("rooms")
        invited = rooms.get("invite") if isinstance(rooms, dict) else None
        found = {}
        for room_id, room in invited.items() if isinstance(invited, dict) else ():
            state = room.get("invite_state") if isinstance(room, dict) else None
            found[room_id] = state.get("events") if isinstance(state, dict) else None
        return found

    async def collections(self) -> list[CollectionInfo]:
        """Every room that we bound a name to, and every room we are in that says it is a collection."""
        names = {room: name for name, room in (await self._services.account.bindings()).items()}
        try:
            joined = _members(await self._services.caller.call(requests.joined_rooms(), patience=10)).get(
                "joined_rooms"
            )
        except (NotSent, Unknown):
            joined = await self._services.rooms.joined()
        infos = Listing[CollectionInfo](title="collection", columns=_INFO_COLUMNS)
        for room_id in dict.fromkeys([*names, *(joined if isinstance(joined, list) else [])]):
            info = await self._info(room_id, names.get(room_id))
            if info is not None:
                infos.append(info)
        return infos

    async def _info(self, room_id: str, name: str | None) -> CollectionInfo | None:
        state: Sequence[StateRow] = await self._services.rooms.state(room_id) if self._services.reads else ()
        if not state:
            try:
                body = await self._services.caller.call(requests.room_state(room_id), patience=10)
                state = state_rows(parse_state(body))
            except (NotSent, Unknown, Rejected):
                state = ()
        claims = {row.type: state_event(row).content for row in state if row.state_key == ""}
        collection = claims.get(COLLECTION)
        if name is None and not isinstance(collection, dict):
            return None
        claimed = collection.get("name") if isinstance(collection, dict) else None
        here = sum(
            row.type == "m.room.member" and membership_of(row.state_key, [row]) == "join" for row in state
        )
        return CollectionInfo(
            room_id=room_id,
            name=name,
            claimed_name=claimed if isinstance(claimed, str) else None,
            encrypted="m.room.encryption" in claims,
            members=here,
        )


def _members(body: bytes) -> dict[str, Any]:
    content = decode(body)
    return content if isinstance(content, dict) else {}


def _invite_facts(events: list[Any], user_id: str) -> tuple[str | None, str]:
    """The name that an invite claims, and who sent it."""
    name, inviter = None, ""
    for event in events:
        content = event.get("content") if isinstance(event, dict) else None
        if not isinstance(content, dict):
            continue
        if event.get("type") == "m.room.name" and isinstance(content.get("name"), str):
            name = content["name"]
        if event.get("type") == "m.room.member" and event.get("state_key") == user_id:
            inviter = str(event.get("sender", ""))
    return name, inviter
