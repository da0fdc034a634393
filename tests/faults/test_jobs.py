"""An import that is killed again and again: run until it ends, each row is there once."""

from __future__ import annotations

import pytest

from tests.faults.harness import Break, fault, run, was_killed
from tests.servers import SCHEMA, uids, wait_until

IMPORT = """
import matrixdata as md
from matrixdata.collection import bulk
bulk._GROUP = 8
client = md.connect(sys.argv[1], user=sys.argv[2], store=sys.argv[3])
rows = [{"device": "d1", "temp": number / 2, "n": number} for number in range(24)]
report = client.collection("readings").publish_many(rows, job="import-7", timeout=30)
print(report.accepted, report.skipped, flush=True)
"""
NOT_NOTED = Break("matrixdata/replica/outbox.py", "if job is not None:", "if False:")
# Noted before the rows are queued, in a commit of its own: what a kill in between takes away is never published.
NOTED_ALONE = Break(
    "matrixdata/publishing/acceptance.py",
    'reached("publish.1 checked")',
    'await self._outbox.accept([], job=job)\n        job = None\n        reached("publish.1 checked")',
)


@fault("F2", broken=(NOT_NOTED, NOTED_ALONE))
@pytest.mark.parametrize(
    ("step", "nth"), [("publish.1 checked", 2), ("publish.2 stored", 1), ("publish.3 answered", 9)]
)
def test_an_import_killed_until_it_ends_has_each_row_once(server, step, nth):
    name = server.name("importer")
    with server.connect(name) as client:
        room_id = client.create_collection("readings", schema=SCHEMA, encrypted=False).room_id
    account = server.account(name)
    place = account["homeserver"], account["user"], str(account["store"])
    kills = 0
    while was_killed(done := run(IMPORT, *place, kill_at=step, nth=nth)):
        kills += 1
        assert kills <= 8, "no run gets any further"
    assert done.returncode == 0, done.stderr
    assert kills >= 1
    accepted, skipped = map(int, done.stdout.split())
    assert accepted + skipped == 24
    found = server.raw(name).records(room_id)
    assert [event["content"]["value"]["n"] for event in found] == [*range(24)]
    assert len(set(uids(found))) == 24
    again = server.connect(name)
    wait_until(lambda: again.status().queued == 0)
    assert again.collection("readings").query().count() == 24
