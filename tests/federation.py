"""Two homeservers that federate with each other on loopback, either of which can be frozen and thawed.

Frozen (SIGSTOP), a server answers nobody, and the other goes on without it: a partition. Thawed, it finds out what
it missed, as after any outage.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from matrixdata import homeserver
from matrixdata.homeserver import identity, loopback
from matrixdata.homeserver.files import OURS, make_private, read_json, write_private_json
from tests.requirements import require
from tests.servers import TestServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOST = "127.0.0.1"


def _write_certificate(directory: Path) -> None:
    """A key and a certificate that nobody vouches for; the servers are told not to check."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(_HOST))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "tls.crt").write_bytes(certificate.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "tls.key").write_bytes(secret)


def start_federating(directory: Path) -> homeserver.ServerAddress:
    """A homeserver whose name is the loopback address at which others reach it."""
    port = loopback.free_port()
    make_private(directory)
    identity.load_or_create(directory)
    content = read_json(directory / OURS) or {}
    write_private_json(directory / OURS, {**content, "name": f"{_HOST}:{port}"})
    _write_certificate(directory)
    return homeserver.start(
        directory,
        owned=True,
        extra_config={
            "listeners": [
                {
                    "type": "http",
                    "port": port,
                    "bind_addresses": [_HOST],
                    "tls": True,
                    "resources": [{"names": ["federation"], "compress": False}],
                }
            ],
            "tls_certificate_path": str(directory / "tls.crt"),
            "tls_private_key_path": str(directory / "tls.key"),
            "federation_verify_certificates": False,
            "federation_domain_whitelist": None,
            "ip_range_blacklist": [],
            "federation_ip_range_blacklist": [],
            # What waits for a server that was away must not wait ten minutes more.
            "federation": {
                "client_timeout": "3s",
                "max_short_retries": 1,
                "max_long_retries": 1,
                "max_long_retry_delay": "1s",
                "destination_min_retry_interval": "1s",
                "destination_retry_multiplier": 1,
                "destination_max_retry_interval": "1s",
            },
        },
    )


@dataclass
class Federation:
    """Two homeservers, `here` and `there`, with users that no other test has."""

    here: TestServer
    there: TestServer

    @contextmanager
    def without(self, server: TestServer) -> Iterator[None]:
        """One of them frozen: it answers neither its users nor the other."""
        os.kill(server.address.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(server.address.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def federating(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[homeserver.ServerAddress, homeserver.ServerAddress]]:
    require("server")
    place = tmp_path_factory.mktemp("federation")
    here, there = start_federating(place / "here"), start_federating(place / "there")
    yield here, there
    for directory in (here.directory, there.directory):
        homeserver.stop(directory)


@pytest.fixture
def federation(
    federating: tuple[homeserver.ServerAddress, homeserver.ServerAddress], tmp_path: Path
) -> Iterator[Federation]:
    """Two homeservers that federate, shared by all tests that ask."""
    here, there = (
        TestServer(replace(address), tmp_path / stores)
        for address, stores in zip(federating, ("here", "there"), strict=True)
    )
    yield Federation(here, there)
    for each in reversed([*here.open, *there.open]):
        each.close()
