"""Whatever we ask a server for has a name for people, and an endpoint that tells nobody's ids."""

from __future__ import annotations

import inspect

import pytest

from matrixdata.protocol import identity_requests, key_requests, requests
from matrixdata.protocol.features import endpoint_of, feature_of
from matrixdata.protocol.requests import Request

ARGUMENTS = {"str": "!secret:example.org", "bytes": b"{}", "int": 1, "Sequence[str]": ("a",)}
BUILDERS = [
    builder
    for module in (requests, key_requests, identity_requests)
    for _, builder in inspect.getmembers(module, inspect.isfunction)
    if inspect.signature(builder).return_annotation == "Request" and builder.__module__ == module.__name__
]


def built(builder) -> Request:
    parameters = inspect.signature(builder).parameters.values()
    values = {
        each.name: ARGUMENTS.get(str(each.annotation).removesuffix(" | None"), {})
        for each in parameters
        if each.default is inspect.Parameter.empty
    }
    return builder(**values)


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
def test_every_endpoint_we_use_has_a_name(builder):
    request = built(builder)
    assert "something" not in feature_of(request.path)
    assert "secret" not in endpoint_of(request.path)
    assert endpoint_of(request.path).startswith("/_matrix/client/")


def test_what_is_no_endpoint_of_ours_is_named_all_the_same():
    for path in ("/", "/elsewhere", "/_matrix/client/v3", "/_matrix/client/unstable/org.example/x?y=z"):
        assert feature_of(path)
        assert endpoint_of(path) == path.partition("?")[0]
