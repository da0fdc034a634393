"""matrix-nio as a peer: a client without cross-signing, in a thread with a loop of its own.

It trusts every device (`ignore_unverified_devices`), so what it shares a room with needs the policy "all" on our side.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import nio

from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

T = TypeVar("T")


class NioPeer:
    """One logged-in device of matrix-nio, syncing until closed."""

    def __init__(self, url: str, user_id: str, password: str, store: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        store.mkdir(parents=True, exist_ok=True)
        self.events: dict[str, dict[str, Any]] = {}
        self.to_device: list[Any] = []
        self.client = self.run(self._open(url, user_id, password, store))
        self.user_id, self.device_id = self.client.user_id, self.client.device_id
        self._syncing = asyncio.run_coroutine_threadsafe(
            self.client.sync_forever(timeout=1000, full_state=True), self.loop
        )

    def run(self, work: Coroutine[Any, Any, T], *, seconds: float = 30) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    async def _open(self, url: str, user_id: str, password: str, store: Path) -> nio.AsyncClient:
        config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False, pickle_key="nio")
        client = nio.AsyncClient(url, user_id, store_path=str(store), config=config)
        answer = await client.login(password)
        assert isinstance(answer, nio.LoginResponse), answer
        client.add_event_callback(self._take, nio.Event)
        client.add_to_device_callback(self.to_device.append, nio.KeyVerificationEvent)
        await client.keys_upload()
        return client

    def _take(self, room: nio.MatrixRoom, event: nio.Event) -> None:
        self.events[event.event_id] = {
            "room_id": room.room_id,
            "event_id": event.event_id,
            "sender": event.sender,
            "type": event.source.get("type"),
            "content": event.source.get("content"),
            "encrypted": isinstance(event, nio.MegolmEvent) or event.decrypted,
            "failure": "no key" if isinstance(event, nio.MegolmEvent) else None,
            "event": event,
        }

    def create(self, *invite: str, encrypted: bool = True) -> str:
        algorithm = {
            "type": "m.room.encryption",
            "state_key": "",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
        }
        preset = nio.RoomPreset.private_chat
        made = self.run(
            self.client.room_create(preset=preset, invite=invite, initial_state=[algorithm] * encrypted)
        )
        wait_until(lambda: made.room_id in self.client.rooms)
        # Before it has seen that, it would send in clear.
        wait_until(lambda: self.client.rooms[made.room_id].encrypted == encrypted)
        return str(made.room_id)

    def join(self, room_id: str) -> None:
        answer = self.run(self.client.join(room_id))
        assert isinstance(answer, nio.JoinResponse), answer
        wait_until(lambda: room_id in self.client.rooms)

    def wait_for_member(self, room_id: str, user_id: str) -> None:
        wait_until(lambda: self._is_in(room_id, user_id))

    def _is_in(self, room_id: str, user_id: str) -> bool:
        room = self.client.rooms.get(room_id)
        return room is not None and user_id in room.users and user_id not in room.invited_users

    def send(self, room_id: str, content: Any, event_type: str = "io.matrixdata.record") -> str:
        answer = self.run(self.client.room_send(room_id, event_type, content, ignore_unverified_devices=True))
        assert isinstance(answer, nio.RoomSendResponse), answer
        return str(answer.event_id)

    def redact(self, room_id: str, event_id: str) -> None:
        answer = self.run(self.client.room_redact(room_id, event_id))
        assert isinstance(answer, nio.RoomRedactResponse), answer

    def event(self, event_id: str, *, seconds: float = 30) -> dict[str, Any]:
        """One event, once it is here and readable."""

        def found() -> dict[str, Any] | None:
            event = self.events.get(event_id)
            return event if event is not None and event["failure"] is None else None

        readable: dict[str, Any] = wait_until(found, seconds)
        return readable

    def again(self, event_id: str) -> dict[str, Any] | None:
        """Try once more to decrypt an event that came before its key."""
        taken = self.events.get(event_id)
        if taken is not None and isinstance(taken["event"], nio.MegolmEvent):
            try:
                clear = self.client.decrypt_event(taken["event"])
            except nio.EncryptionError:
                return None
            self._take(self.client.rooms[taken["room_id"]], clear)
        return self.events.get(event_id)

    def on_loop(self, work: Callable[[], T]) -> T:
        """Run something that is no coroutine where nio's objects live."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        self.loop.call_soon_threadsafe(lambda: done.set_result(work()))
        return done.result(30)

    def close(self) -> None:
        self._syncing.cancel()
        self.run(self.client.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
