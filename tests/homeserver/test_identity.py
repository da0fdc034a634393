from __future__ import annotations

from dataclasses import asdict

import pytest

from matrixdata.errors import StoreCorrupt
from matrixdata.homeserver import identity as identities


def test_made_once_and_the_same_ever_after(tmp_path):
    assert identities.load(tmp_path) is None
    made = identities.load_or_create(tmp_path)
    assert identities.load(tmp_path) == identities.load_or_create(tmp_path) == made


def test_no_two_servers_share_a_name_or_a_secret(tmp_path):
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    one, other = (asdict(identities.load_or_create(place)) for place in places)
    assert all(one[name] != other[name] for name in one)


def test_the_name_can_never_be_another_machines(tmp_path):
    assert identities.load_or_create(tmp_path).name.endswith(".localhost")


def test_secrets_are_in_no_repr(tmp_path):
    made = identities.load_or_create(tmp_path)
    secrets = [value for name, value in asdict(made).items() if name != "name"]
    assert not [secret for secret in secrets if secret in repr(made) or secret in str(made)]


def test_passwords_are_stable_and_differ(tmp_path):
    made = identities.load_or_create(tmp_path)
    assert made.password("ada") == made.password("ada")
    assert len({made.password(name) for name in ("ada", "bob", "adb")}) == 3
    assert len(made.password("ada")) >= 40


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"name": "x.localhost", "signing_key": 1}'])
def test_a_damaged_file_is_never_replaced(tmp_path, damage):
    identities.load_or_create(tmp_path)
    path = tmp_path / "identity.json"
    path.write_text(damage)
    with pytest.raises(StoreCorrupt, match=r"identity\.json"):
        identities.load_or_create(tmp_path)
    assert path.read_text() == damage
