"""Addresses of files in the media repository, which strangers write."""

from __future__ import annotations

import pytest

from matrixdata.protocol import media


def test_a_file_is_asked_for_at_its_own_server_and_id() -> None:
    request = media.download("mxc://one.example:8448/aB_c-1")

    assert request is not None
    assert request.path == "/_matrix/client/v1/media/download/one.example%3A8448/aB_c-1"
    assert request.file


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://one.example/a",
        "mxc://one.example",
        "mxc://one.example/",
        "mxc:///a",
        "mxc://one.example/../../_matrix/client/v3/logout",
        "mxc://one.example/a/b",
        "mxc://one.example/a?b=c",
        "mxc://one.example/a%2Fb",
        "mxc://one.example/a\n",
        "mxc://one/../example/a",
        "mxc://one.example/" + "a" * 256,
    ],
)
def test_what_is_no_address_of_a_file_is_not_asked_for(uri: str) -> None:
    assert media.download(uri) is None
