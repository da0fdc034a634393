"""The demo's publisher, a process of its own: `python -m matrixdata.cli.demo.publisher ROOM SECONDS`.

Reads records from standard input as JSON Lines, the last of them bad, and publishes each as one event.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from itertools import islice

import matrixdata as md
from matrixdata.cli.demo.processes import SENDER, SENT, part
from matrixdata.cli.output import json_line

_EVERY = 60
_UNDER_WAY = 8
"""Records accepted while the one before them is on its way; enough to keep the sender busy."""


def run(room_id: str, seconds: float) -> int:
    """Publish; at most for some seconds. The exit code is 0 if the bad record was refused."""
    *records, bad = [json.loads(line) for line in sys.stdin]
    with md.connect("local", user=SENDER) as client:
        collection = client.collection(room_id)
        print(f"{client.user_id} is connected and sends {len(records)} readings, one event each")
        began = time.monotonic()
        sent = 0
        under_way: deque[md.Receipt] = deque()
        for record in records:
            under_way.append(collection.publish(record, wait="queued"))
            if len(under_way) > _UNDER_WAY:
                under_way.popleft().wait()
                sent += 1
            elapsed = time.monotonic() - began
            if sent and sent % _EVERY == 0:
                print(f"{sent} sent, {sent / elapsed:.0f} a second")
            if elapsed > seconds:
                print(f"stops early, after {elapsed:.0f} s: this machine is slow or busy today")
                break
        for receipt in under_way:
            receipt.wait()
            sent += 1
        print(f"{SENT} {sent}")
        print(f"and now a bad one: {json_line(bad)}")
        try:
            collection.publish(bad)
        except md.RecordInvalid as error:
            for line in islice(str(error).splitlines(), 5):
                print(f"  {line}")
            return 0
    print("it was accepted, which it should not have been")
    return 1


if __name__ == "__main__":
    part(lambda: run(sys.argv[1], float(sys.argv[2])))
