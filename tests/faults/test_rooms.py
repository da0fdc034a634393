"""A room we are put out of, leave or forget: what was received stays, what was accepted is kept, and it is said."""

from __future__ import annotations

import pytest

import matrixdata as md
from tests.faults.harness import Break, fault
from tests.servers import SCHEMA, encoded, hidden_sliding, uids, wait_until

pytestmark = pytest.mark.server
STANDING = "matrixdata/receiving/standing.py"
NEVER_LEFT = Break(STANDING, "    if standing.left:", "    if not standing:")


def reading(number):
    return {"device": "d1", "temp": number}


class Member:
    """A collection of `owner`, who speaks the plain API, and a member of it behind a network of ours."""

    def __init__(self, server, kind):
        self.server, self.name = server, server.name("member")
        self.network = server.proxy()
        self.network.fault = self.usual = hidden_sliding if kind == "v2" else self.network.fault
        owner = server.name("owner")
        self.room_id = (
            server.connect(owner).create_collection("readings", schema=SCHEMA, encrypted=False).room_id
        )
        self.owner, self.user_id = server.raw(owner), server.user_id(self.name)
        self.raw = server.raw(self.name)
        self.owner.invite(self.room_id, self.user_id)
        self.come()

    def come(self):
        self.client = self.server.connect(self.name, url=self.network.url)
        self.collection = self.client.collection(self.room_id)

    def put_out(self, how):
        body = {"user_id": self.user_id, "reason": "tidying"}
        if how == "leave":
            self.raw.call("POST", f"{encoded('rooms', self.room_id)}/leave", {})
        else:
            self.owner.call("POST", f"{encoded('rooms', self.room_id)}/{how}", body)

    def take_back(self, how):
        if how == "ban":
            self.owner.call("POST", f"{encoded('rooms', self.room_id)}/unban", {"user_id": self.user_id})
        self.owner.invite(self.room_id, self.user_id)
        self.raw.join(self.room_id)

    def send(self, number):
        """A record of the owner's, without a hash of the schema: the owner's other tool."""
        content = {"v": 1, "uid": f"o{number}", "value": reading(number), "schema": self.schema_hash}
        return self.owner.send(self.room_id, content)

    @property
    def schema_hash(self):
        return self.owner.state(self.room_id, "io.matrixdata.collection")["schema"]["hash"]


@pytest.fixture(params=["sliding", "v2"])
def member(request, server):
    return Member(server, request.param)


@fault(
    "F20",
    broken=(
        NEVER_LEFT,
        Break("matrixdata/collection/query.py", "left=since if standing.left else None", "left=None"),
    ),
)
@pytest.mark.parametrize(
    ("member", "how"),
    [("sliding", "kick"), ("sliding", "ban"), ("sliding", "leave"), ("v2", "kick")],
    indirect=["member"],
)
def test_put_out_of_a_room_what_was_received_stays_and_going_on_is_refused_with_the_reason(member, how):
    member.send(1)
    by, reason = ("", "") if how == "leave" else (member.owner.user_id, "tidying")
    with member.collection.subscribe(start="all") as subscription:
        assert subscription.get(timeout=20).value == reading(1)
        member.put_out(how)
        with pytest.raises(md.RoomLeft) as left:
            subscription.get(timeout=20)
    assert (left.value.reason, left.value.by, left.value.room_id) == (reason, by, member.room_id)
    member.send(2)
    readings = member.collection
    for refused in (
        lambda: readings.publish(reading(3)),
        lambda: readings.publish_many([reading(3)]),
        readings.sync,
        lambda: readings.invite(member.owner.user_id),
    ):
        with pytest.raises(md.RoomLeft) as left:
            refused()
        assert (left.value.reason, left.value.by) == (reason, by)
    assert member.client.outbox.list() == []
    query = readings.query()
    with pytest.warns(md.IncompleteWarning, match="no longer a member of the room since 20"):
        assert query.values() == [reading(1)]
    assert not query.completeness.complete
    member.client.close()
    member.come()  # after a restart it is there still, to be read
    assert member.collection.query(on_incomplete="ignore").values() == [reading(1)]
    assert uids(member.owner.records(member.room_id)) == ["o1", "o2"]


@fault(
    "F20",
    broken=Break(
        "matrixdata/publishing/drain.py",
        "await self._means.outbox.stuck(item, reason, refused=attempted)",
        "pass",
    ),
)
def test_what_was_queued_for_a_room_we_were_put_out_of_is_kept_and_can_be_sent_after_a_return(member):
    member.network.down()
    receipt = member.collection.publish(reading(1), wait="queued")
    member.put_out("kick")
    member.network.up()
    wait_until(lambda: receipt.state == "stuck")
    assert [(each.uid, each.reason) for each in member.client.outbox.list()] == [(receipt.uid, "M_FORBIDDEN")]
    with pytest.raises(md.RoomLeft, match="tidying"):
        member.collection.publish(reading(2))
    member.send(3)
    member.take_back("kick")
    member.client.outbox.retry(receipt.uid)
    assert receipt.wait("synced", timeout=20) == "synced" if member.collection.query().count() else False
    member.collection.publish(reading(4))
    query = member.collection.query(on_incomplete="raise")
    assert [value["temp"] for value in query.values()] == [3, 1, 4]
    with member.collection.subscribe() as subscription:
        member.send(5)
        assert subscription.get(timeout=20).value == reading(5)
    assert len(member.owner.records(member.room_id)) == 4


@fault(
    "F20",
    broken=(
        Break("matrixdata/receiving/rollback.py", "if room_id not in joined:", "if False:"),
        Break("matrixdata/receiving/leading.py", "self._doubts == _DOUBTED", "False"),
    ),
)
def test_a_room_forgotten_while_we_were_away_is_known_to_be_left(member):
    member.send(1)
    assert member.collection.query().count() == 1
    mine = member.client.create_collection("mine", encrypted=False)
    assert mine.query().count() == 0
    member.network.down()
    member.put_out("kick")
    member.raw.call("POST", f"{encoded('rooms', member.room_id)}/forget", {})
    member.network.up()
    query = member.collection.query(timeout=0.5, on_incomplete="ignore")
    wait_until(lambda: query.count() == 1 and query.completeness.left is not None)
    # Synapse fails on a sliding sync token from before that for as long as we are out: other rooms go on all the same.
    member.raw.send(mine.room_id, {"v": 1, "uid": "m1", "value": {"n": 1}})
    wait_until(lambda: mine.query(timeout=0.5, on_incomplete="ignore").count() == 1, 30)
    member.client.close()
    member.come()
    readings = member.collection
    with pytest.warns(md.IncompleteWarning, match="no longer a member"):
        assert readings.query().count() == 1
    with pytest.raises(md.RoomLeft):
        readings.publish(reading(2))
    member.take_back("kick")
    readings.publish(reading(3))
    assert [value["temp"] for value in readings.query(on_incomplete="raise").values()] == [1, 3]
