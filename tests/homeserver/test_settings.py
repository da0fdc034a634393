from __future__ import annotations

import json
from pathlib import Path

import pytest

from matrixdata.homeserver import settings
from matrixdata.homeserver.identity import Identity

IDENTITY = Identity("a.localhost", "ed25519 a_1 c2VlZA", "registration", "macaroon", "form", "password")


def config(limits="wide", **extra):
    return settings.homeserver_config(
        IDENTITY, Path("/data/hs"), port=4711, nonce="abc", limits=limits, extra=extra
    )


def test_listens_on_loopback_only_and_to_clients_only():
    [listener] = config()["listeners"]
    assert listener["bind_addresses"] == ["127.0.0.1"]
    assert listener["port"] == 4711
    assert listener["resources"] == [{"names": ["client"], "compress": False}]


def test_reports_nothing_and_asks_nobody():
    made = config()
    assert made["report_stats"] is False
    assert made["trusted_key_servers"] == []
    assert made["federation_domain_whitelist"] == []
    assert made["push"] == {"enabled": False}
    assert made["ip_range_blacklist"] == ["0.0.0.0/0", "::/0"]


def test_strangers_cannot_register():
    assert config()["enable_registration"] is False


def test_stock_limits_say_nothing_of_limits():
    assert not [key for key in config("stock") if key.startswith("rc_") or key == "max_upload_size"]


@pytest.mark.parametrize("name", ["rc_message", "rc_room_creation", "rc_key_requests"])
def test_wide_limits_are_wide(name):
    assert config()[name]["per_second"] >= 100_000


def test_extra_settings_replace_ours_but_listeners_are_added():
    more = {"type": "http", "port": 1, "resources": []}
    made = config(report_stats=None, max_event_delay_duration="1d", listeners=[more])
    assert made["report_stats"] is None
    assert made["max_event_delay_duration"] == "1d"
    assert [listener["port"] for listener in made["listeners"]] == [4711, 1]


def test_every_setting_is_json_so_that_it_is_yaml_too():
    json.dumps([config(), settings.log_config(Path("/data/hs"))], allow_nan=False)
