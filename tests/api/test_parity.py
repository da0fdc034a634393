"""Every method of the asynchronous faces has a blocking twin with the same signature."""

from __future__ import annotations

import inspect

import pytest

import matrixdata as md
from matrixdata.collection import AsyncInvite, AsyncOutbox, AsyncTable
from matrixdata.collection.publisher import AsyncPublisher
from matrixdata.collection.sql import AsyncSqlResult
from matrixdata.connect import Invite, Outbox, Table
from matrixdata.connect.keys import Keys, Verification
from matrixdata.connect.sql import SqlResult
from matrixdata.identity.keys import AsyncKeys
from matrixdata.identity.verification import AsyncVerification
from matrixdata.publishing import AsyncReceipt
from matrixdata.receiving import AsyncSubscription

FACES = [
    (md.AsyncClient, md.Client),
    (md.AsyncCollection, md.Collection),
    (md.AsyncQuery, md.Query),
    (AsyncInvite, Invite),
    (AsyncOutbox, Outbox),
    (AsyncReceipt, md.Receipt),
    (AsyncPublisher, md.Publisher),
    (AsyncSubscription, md.Subscription),
    (AsyncTable, Table),
    (AsyncSqlResult, SqlResult),
    (AsyncKeys, Keys),
    (AsyncVerification, Verification),
]
# What one face alone has, with the reason.
ALONE = {
    (md.AsyncClient, "run"): "hosts the client in a task; a blocking client has its thread for that",
    (md.AsyncQuery, "measured"): "what the blocking property `completeness` waits for",
    (AsyncSqlResult, "measured"): "as above",
    (AsyncReceipt, "changed"): "waits for the next change; used by publish_many",
}
TWIN_OF = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
KEPT = {*TWIN_OF, *TWIN_OF.values(), "__reduce__"}


def members(face):
    """The public members of a class, its attributes set in __init__ left out; protocols by async names."""
    spelled = {blocking: name for name, blocking in TWIN_OF.items()}
    return {
        spelled.get(name, name): member
        for name, member in vars(face).items()
        if (not name.startswith("_") or name in KEPT) and name not in {"__init__", "__repr__"}
    }


def kind(member):
    return "property" if isinstance(member, property) else "method"


def shape(function):
    """Parameters by name, kind and default, as a caller meets them."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def pairs():
    for face, twin in FACES:
        theirs = members(twin)
        for name, member in members(face).items():
            if (face, name) not in ALONE:
                yield pytest.param(member, theirs.get(name), id=f"{face.__name__}.{name}")


@pytest.mark.parametrize(("member", "twin"), [*pairs()])
def test_the_twin_has_the_same_signature(member, twin):
    assert twin is not None, "it has no blocking twin"
    assert kind(member) == kind(twin)
    if kind(member) == "method":
        assert shape(member) == shape(twin)
        assert not inspect.iscoroutinefunction(twin)


@pytest.mark.parametrize(("face", "twin"), FACES)
def test_the_blocking_face_has_nothing_of_its_own(face, twin):
    # Attributes that an async face sets in __init__ are properties of the blocking one.
    set_in_init = set(face.__init__.__code__.co_names)
    assert set(members(twin)) - set(members(face)) - set_in_init == set()


def test_what_stands_alone_still_stands():
    for face, name in ALONE:
        assert callable(getattr(face, name))


def test_the_entrances_take_the_same():
    assert shape(md.connect) == shape(md.connect_async)
    assert shape(md.LocalServer.connect) == shape(md.LocalServer.connect_async)
    assert inspect.iscoroutinefunction(md.LocalServer.connect_async)


def test_every_public_method_is_documented_on_both_faces():
    bare = [
        f"{face.__name__}.{name}"
        for both in FACES
        for face in both
        for name, member in members(face).items()
        if not inspect.getdoc(member)
    ]
    assert bare == []
