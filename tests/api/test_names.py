"""Making, naming, finding and joining collections, and the roles of those inside."""

from __future__ import annotations

import pytest

import matrixdata as md
from tests.servers import LOSE, SCHEMA, Answer, encoded, wait_until

pytestmark = pytest.mark.server


def raw_of(server, client):
    return server.raw(client.user_id[1:].split(":")[0])


# --- creating ----------------------------------------------------------------------------------------


def test_a_name_is_taken_once_and_exist_ok_opens_what_it_means(server):
    client = server.connect(server.name())
    made = client.create_collection("greenhouse", schema=SCHEMA, encrypted=False)
    with pytest.raises(md.Conflict, match=r"exist_ok=True"):
        client.create_collection("greenhouse", schema=SCHEMA, encrypted=False)
    for options in ({"schema": SCHEMA}, {}):
        again = client.create_collection("greenhouse", encrypted=False, exist_ok=True, **options)
        assert again.room_id == made.room_id
        assert again.schema == SCHEMA
    with pytest.raises(md.Conflict, match="another schema"):
        client.create_collection("greenhouse", schema={"type": "object"}, encrypted=False, exist_ok=True)
    assert client.collection("greenhouse").room_id == made.room_id
    assert [info.name for info in client.collections()] == ["greenhouse"]


BAD_NAMES = ["", " x", "x ", "a\nb", "!x", "#x", "@x", "-x", "x" * 201, "é" * 101, "\u202egnp.exe"]
ODD_NAMES = ["é" * 100, "a/b", "..", ".", "%2e", "x y", "🌱"]
MISTAKES = [
    ({"encrypted": True, "public": True}, ValueError, "encrypted=False"),
    ({"encrypted": True, "trust": "everybody"}, ValueError, "cross-signed"),
    ({"encrypted": True, "members": "@ada:example.org"}, TypeError, "list"),
    ({"invite": "@ada:example.org"}, TypeError, "list"),
    ({"invite": ["ada"]}, ValueError, "@ada:example.org"),
    ({"time_unit": "minutes"}, ValueError, "iso"),
    ({"time": "a..b"}, ValueError, "path"),
    ({"schema": {"type": "strange"}}, md.SchemaError, "/type"),
    ({"schema": "{"}, md.SchemaError, "JSON"),
    *(({"name": name}, ValueError, "name") for name in BAD_NAMES),
]


def test_a_mistake_in_creating_raises_and_makes_no_room(server):
    client = server.connect(server.name())
    for options, error, says in MISTAKES:
        with pytest.raises(error, match=says):
            client.create_collection(**{"name": "x", "encrypted": False, **options})
    assert raw_of(server, client).call("GET", "joined_rooms")["joined_rooms"] == []


def test_any_printable_name_serves_and_is_found_by_another_device(server):
    user = server.name()
    one, two = server.connect(user, store="one"), server.connect(user, store="two")
    made = {name: one.create_collection(name, encrypted=False).room_id for name in ODD_NAMES}
    assert len({*made.values()}) == len(ODD_NAMES)
    assert {name: two.collection(name).room_id for name in ODD_NAMES} == made


def test_the_room_is_private_and_only_owners_may_change_its_schema(pair):
    raw = pair.raw(pair.writer)
    assert raw.state(pair.room_id, "m.room.join_rules")["join_rule"] == "invite"
    assert raw.state(pair.room_id, "io.matrixdata.collection")["name"] == "greenhouse"
    answer = pair.raw(pair.reader).put_state(pair.room_id, "io.matrixdata.schema", "2", {})
    assert answer.status_code == 403


# --- interrupted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["createRoom", "account_data"])
def test_a_creation_whose_answer_was_lost_is_finished_by_the_next_attempt_with_the_same_room(server, lost):
    proxy, user = server.proxy(), server.name()
    client = server.connect(user, url=proxy.url)

    def fault(seen):
        if seen.method == "GET" or lost not in seen.path:
            return None
        # Storing the binding is safe to repeat and would be, for longer than a test should take.
        return LOSE if lost == "createRoom" else Answer(403, b'{"errcode": "M_FORBIDDEN"}')

    proxy.fault = fault
    with pytest.raises(md.MatrixDataError):
        client.create_collection("greenhouse", schema=SCHEMA, encrypted=False)
    client.close()  # as after a crash: the next attempt may be another process
    proxy.fault = lambda _: None
    client = server.connect(user, url=proxy.url)
    made = client.create_collection("greenhouse", schema=SCHEMA, encrypted=False)
    assert raw_of(server, client).call("GET", "joined_rooms")["joined_rooms"] == [made.room_id]
    assert made.schema == SCHEMA
    assert server.connect(user, store="another device").collection("greenhouse").room_id == made.room_id


def test_a_creation_that_the_server_refused_leaves_nothing_to_find(server):
    proxy = server.proxy()
    client = server.connect(server.name(), url=proxy.url)
    refusal = Answer(403, b'{"errcode": "M_FORBIDDEN", "error": "no rooms for you"}')
    proxy.fault = lambda seen: refusal if "createRoom" in seen.path else None
    with pytest.raises(md.Rejected, match="no rooms for you"):
        client.create_collection("x", encrypted=False)
    with pytest.raises(md.NotFound):
        client.collection("x")
    proxy.fault = lambda _: None
    assert client.create_collection("x", encrypted=False).query().count() == 0


# --- finding -----------------------------------------------------------------------------------------


def test_an_unknown_name_says_what_is_near_or_there(server):
    client = server.connect(server.name())
    with pytest.raises(md.NotFound, match="none yet"):
        client.collection("greenhouse")
    client.create_collection("greenhouse", encrypted=False)
    with pytest.raises(md.NotFound, match="did you mean 'greenhouse'"):
        client.collection("grenhouse")
    with pytest.raises(md.NotFound, match="you have 'greenhouse'"):
        client.collection("zzz")


def test_a_name_means_what_this_user_bound_and_never_what_a_room_claims(pair):
    with pytest.raises(md.NotFound):
        pair.reader.collection("greenhouse")
    (info,) = pair.reader.collections()
    assert (info.room_id, info.name, info.claimed_name) == (pair.room_id, None, "greenhouse")
    mine = pair.reader.create_collection("greenhouse", encrypted=False)
    assert mine.room_id != pair.room_id
    assert pair.reader.collection("greenhouse").room_id == mine.room_id
    assert pair.theirs.name == pair.mine.name == "greenhouse"


def test_a_collection_opens_by_room_id_and_alias(server):
    owner, guest = server.connect(server.name()), server.connect(server.name())
    made = owner.create_collection("x", public=True, encrypted=False)
    alias = f"#{server.name('alias')}:{server.address.name}"
    raw_of(server, owner).call("PUT", encoded("directory", "room", alias), {"room_id": made.room_id})
    assert guest.collection(alias).room_id == made.room_id
    assert guest.collection(made.room_id).room_id == made.room_id
    assert owner.collection(made.room_id).name == "x"
    with pytest.raises(md.NotFound, match="#nowhere"):
        guest.collection(f"#nowhere:{server.address.name}")


def test_a_private_room_cannot_be_joined_uninvited_nor_one_that_is_none(server):
    owner, stranger = server.connect(server.name()), server.connect(server.name())
    made = owner.create_collection("x", encrypted=False)
    with pytest.raises(md.Rejected) as caught:
        stranger.collection(made.room_id)
    assert caught.value.errcode == "M_FORBIDDEN"
    with pytest.raises(md.MatrixDataError):
        stranger.collection("!nowhere:" + server.address.name)


def test_known_names_and_rooms_open_without_the_server(server):
    proxy, user = server.proxy(), server.name()
    with md.connect(**server.account(user, url=proxy.url)) as client:
        made = client.create_collection("x", encrypted=False)
        made.publish({"n": 1}, wait="synced")
    account = server.account(user, url=proxy.url)
    proxy.down()
    with md.connect(**account) as client:
        for name in ("x", made.room_id):
            assert client.collection(name).query(timeout=0).values() == [{"n": 1}]


# --- leaving -----------------------------------------------------------------------------------------


def test_leaving_frees_the_name_everywhere_and_keeps_what_was_received(server):
    user = server.name()
    client, other = server.connect(user, store="one"), server.connect(user, store="two")
    old = client.create_collection("x", encrypted=False)
    old.publish({"n": 1}, wait="synced")
    old.leave()
    with pytest.warns(md.IncompleteWarning, match="no longer a member"):
        assert old.query(timeout=0).values() == [{"n": 1}]
    with pytest.raises(md.NotFound):
        client.collection("x")
    with pytest.raises(md.NotFound):
        other.collection("x")
    assert client.create_collection("x", encrypted=False).room_id != old.room_id


# --- joining -----------------------------------------------------------------------------------------


def test_an_invite_shows_what_it_claims_and_is_accepted_under_a_name_of_ones_own(server):
    owner, guest = server.connect(server.name()), server.connect(server.name())
    made = owner.create_collection("greenhouse", schema=SCHEMA, encrypted=False, invite=[guest.user_id])
    made.publish({"device": "d", "temp": 1})
    (invite,) = guest.invites()
    assert (invite.room_id, invite.claimed_name) == (made.room_id, "greenhouse")
    assert invite.inviter == owner.user_id
    joined = invite.accept(name="theirs")
    assert joined.room_id == guest.collection("theirs").room_id == made.room_id
    assert joined.schema == SCHEMA
    assert joined.query().count() == 1
    assert guest.invites() == []
    with pytest.raises(md.NotFound):
        guest.collection("greenhouse")


def test_an_invite_can_be_rejected(server):
    owner, guest = server.connect(server.name()), server.connect(server.name())
    made = owner.create_collection("x", encrypted=False, invite=[guest.user_id])
    guest.invites()[0].reject()
    assert guest.invites() == []
    assert {m.user_id: m.membership for m in made.members()}[guest.user_id] == "leave"


def test_an_invite_cannot_take_a_name_that_means_something_else_or_is_none(server):
    owner, guest = server.connect(server.name()), server.connect(server.name())
    mine = guest.create_collection("x", encrypted=False)
    owner.create_collection("x", encrypted=False, invite=[guest.user_id])
    (invite,) = guest.invites()
    with pytest.raises(md.Conflict, match="another name"):
        invite.accept(name="x")
    with pytest.raises(ValueError, match="name"):
        invite.accept(name="!x")
    assert [i.room_id for i in guest.invites()] == [invite.room_id], "a mistake must not join"
    assert guest.collection("x").room_id == mine.room_id


def test_invites_are_listed_by_a_server_without_sliding_sync_too(server):
    owner, proxy, user = server.connect(server.name()), server.proxy(), server.name()
    guest = server.connect(user, url=proxy.url)
    made = owner.create_collection("x", encrypted=False, invite=[guest.user_id])
    unknown = Answer(404, b'{"errcode": "M_UNRECOGNIZED"}')
    proxy.fault = lambda seen: unknown if "simplified_msc3575" in seen.path else None
    assert [(i.room_id, i.claimed_name) for i in guest.invites()] == [(made.room_id, "x")]


def test_one_who_was_removed_and_asked_back_can_open_the_collection_again(pair):
    raw = pair.raw(pair.writer)
    pair.mine.publish({"device": "d", "temp": 1})
    assert pair.theirs.query().count() == 1
    pair.reader.close()
    raw.kick(pair.room_id, pair.reader.user_id)
    user = pair.reader.user_id[1:].split(":")[0]
    back = pair.server.connect(user)
    kept = back.collection(pair.room_id).query(timeout=0, on_incomplete="ignore")
    assert [value["temp"] for value in kept.values()] == [1]
    raw.invite(pair.room_id, pair.reader.user_id)
    pair.mine.publish({"device": "d", "temp": 2})
    again = back.collection(pair.room_id)
    assert [value["temp"] for value in again.query().values()] == [1, 2]
    assert again.publish({"device": "d", "temp": 3}).event_id


# --- roles -------------------------------------------------------------------------------------------


def roles(collection):
    return {member.user_id: member.role for member in collection.members()}


@pytest.mark.parametrize("public", [False, True])
def test_readers_read_writers_write_and_owners_own(server, public):
    owner = server.connect(server.name())
    users = {role: server.connect(server.name(role)) for role in ("reader", "writer", "owner")}
    invited = server.connect(server.name("invited"))
    made = owner.create_collection("x", public=public, encrypted=False, invite=[invited.user_id])
    for role, user in users.items():
        made.invite(user.user_id, role=role)
    theirs = {role: user.collection(made.room_id) for role, user in users.items()}
    theirs["invited"] = invited.collection(made.room_id)
    expected = {user.user_id: role for role, user in users.items()}
    assert roles(made) == {owner.user_id: "owner", invited.user_id: "writer", **expected}
    assert roles(theirs["reader"]) == roles(made)
    for role in ("writer", "owner", "invited"):
        assert theirs[role].publish({"by": role}).event_id
    with pytest.raises(md.Rejected) as caught:
        theirs["reader"].publish({"by": "reader"})
    assert caught.value.errcode == "M_FORBIDDEN"
    assert sorted(value["by"] for value in made.query().values()) == ["invited", "owner", "writer"]
    allowed = {
        role: raw_of(server, user).put_state(made.room_id, "io.matrixdata.schema", "2", {}).status_code == 200
        for role, user in users.items()
    }
    assert allowed == {"reader": False, "writer": False, "owner": True}


def test_anyone_may_join_and_read_a_public_collection_and_write_once_asked_to(server):
    owner, visitor = server.connect(server.name()), server.connect(server.name())
    made = owner.create_collection("x", public=True, encrypted=False)
    made.publish({"n": 1})
    seen = visitor.collection(made.room_id)
    assert seen.query().values() == [{"n": 1}]
    assert roles(made)[visitor.user_id] == "reader"
    with pytest.raises(md.Rejected):
        seen.publish({"n": 2}, uid="early")
    assert [(entry.uid, entry.state) for entry in visitor.outbox.list()] == [("early", "stuck")]
    made.invite(visitor.user_id, role="writer")
    assert seen.publish({"n": 3}).event_id
    visitor.outbox.retry("early")
    wait_until(lambda: made.query().count() == 3)


def test_a_role_can_be_changed_and_mistakes_in_it_are_refused(pair):
    assert roles(pair.mine)[pair.reader.user_id] == "writer"
    pair.mine.invite(pair.reader.user_id, role="reader")
    assert roles(pair.mine)[pair.reader.user_id] == "reader"
    pair.mine.invite(pair.reader.user_id, role="writer")
    assert roles(pair.mine)[pair.reader.user_id] == "writer"
    with pytest.raises(ValueError, match="role"):
        pair.mine.invite(pair.reader.user_id, role="boss")
    with pytest.raises(ValueError, match="user id"):
        pair.mine.invite("ben")
    with pytest.raises(md.Rejected):
        pair.theirs.invite("@ben:" + pair.server.address.name, role="owner")
