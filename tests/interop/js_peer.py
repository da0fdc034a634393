"""matrix-js-sdk, with the Rust cryptography of Element, as a peer: a Node process asked in JSON lines."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tests.servers import wait_until

NODE = Path(__file__).parent / "node"


class JsPeer:
    """One logged-in device of matrix-js-sdk. A command's arguments and answers are those of node/peer.mjs."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            ["node", "peer.mjs"],
            cwd=NODE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answers: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self.log = log
        self.user_id = self.device_id = ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._answers[answer["id"]].put(answer)
        for waiting in list(self._answers.values()):
            waiting.put({"error": f"the Node process ended; see {self.log}"})

    def begin(self, command: str, **given: Any) -> SimpleQueue[dict[str, Any]]:
        """Ask without waiting; the queue gets the answer."""
        number = next(self._numbers)
        answers = self._answers[number] = SimpleQueue()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "command": command, **given}) + "\n")
        self._process.stdin.flush()
        return answers

    def call(self, command: str, *, seconds: float = 60, **given: Any) -> Any:
        try:
            answer = self.begin(command, **given).get(timeout=seconds)
        except Empty:
            raise AssertionError(f"matrix-js-sdk did not answer {command} in time; see {self.log}") from None
        assert "error" not in answer, f"{command}: {answer['error']}"
        return answer["result"]

    def login(self, url: str, user_id: str, password: str) -> JsPeer:
        session = self.call("login", url=url, user=user_id, password=password)
        self.user_id, self.device_id = session["user_id"], session["device_id"]
        return self

    def create(self, *invite: str, encrypted: bool = True) -> str:
        room_id = str(self.call("create", invite=list(invite), encrypted=encrypted)["room_id"])
        self._wait_to_know(room_id, encrypted=encrypted)
        return room_id

    def join(self, room_id: str, *, encrypted: bool = True) -> None:
        self.call("join", room_id=room_id)
        self._wait_to_know(room_id, encrypted=encrypted)

    def _wait_to_know(self, room_id: str, *, encrypted: bool) -> None:
        """Until it has seen that the room is encrypted: before that it would send in clear."""
        there = {"joined": True, "encrypted": encrypted}
        wait_until(lambda: there.items() <= self.call("knows", room_id=room_id).items())

    def wait_for_member(self, room_id: str, user_id: str) -> None:
        wait_until(lambda: user_id in self.call("knows", room_id=room_id)["members"])

    def send(self, room_id: str, content: Any, event_type: str = "io.matrixdata.record") -> str:
        return str(self.call("send", room_id=room_id, type=event_type, content=content)["event_id"])

    def timeline(self, room_id: str, *, back: bool = False) -> list[dict[str, Any]]:
        """Its events of the room that are no state, oldest first, as far as it can read them."""
        found: list[dict[str, Any]] = self.call("timeline", room_id=room_id, back=back)["events"]
        return found

    def event(self, room_id: str, event_id: str, *, seconds: float = 30) -> dict[str, Any]:
        """One event, once it is here and readable."""

        def found() -> dict[str, Any] | None:
            for event in self.timeline(room_id):
                if event["event_id"] == event_id and event["failure"] is None:
                    return event
            return None

        readable: dict[str, Any] = wait_until(found, seconds)
        return readable

    def edit(
        self, room_id: str, event_id: str, content: Any, event_type: str = "io.matrixdata.record"
    ) -> str:
        relation = {"rel_type": "m.replace", "event_id": event_id}
        return self.send(room_id, {"m.new_content": content, "m.relates_to": relation}, event_type)

    def sas(self) -> Any:
        """The short authentication string of the verification under way, once it is there."""
        return wait_until(lambda: self.call("verification")["sas"], 30)

    def confirm(self) -> str:
        """Say that the strings are the same; how the verification ended."""
        self.call("confirm_sas")
        return str(self.call("verification_end")["end"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._process.poll() is None:
            self._process.stdin.close()  # it ends then
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._listener.join(10)
        self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()
