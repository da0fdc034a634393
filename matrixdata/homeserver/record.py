"""The note beside a running homeserver: which port, which start, which settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, get_args

from matrixdata.homeserver.files import read_json, write_private_json
from matrixdata.homeserver.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matrixdata.model.json import JSON

_FILE = "running.json"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One start of the server.

    Attributes:
        port: TCP port on 127.0.0.1.
        nonce: random value of this start, by which the server shows that it is this one.
        limits: which rate limits it runs with.
        extra: digest of the extra configuration; the configuration itself may hold secrets.
        owned: it ends with the process that started it.
        started: when it was launched; aware, UTC.
    """

    port: int
    nonce: str = field(repr=False)
    limits: Limits
    extra: str
    owned: bool
    started: datetime


def write(directory: Path, record: RunRecord) -> None:
    """Keep the record in `directory`."""
    write_private_json(directory / _FILE, {**asdict(record), "started": record.started.isoformat()})


def read(directory: Path) -> RunRecord | None:
    """The record of the last start in `directory`; None if there is none or it is damaged."""
    content = read_json(directory / _FILE) or {}
    match content:
        case {
            "port": int(port),
            "nonce": str(nonce),
            "limits": str(limits),
            "extra": str(extra),
            "owned": bool(owned),
            "started": str(started),
        } if limits in get_args(Limits):
            known: Limits = "stock" if limits == "stock" else "wide"
            return RunRecord(port, nonce, known, extra, owned, datetime.fromisoformat(started))
    return None


def digest(extra: Mapping[str, JSON]) -> str:
    """A digest by which two extra configurations are told apart."""
    return hashlib.sha256(json.dumps(extra, sort_keys=True).encode()).hexdigest()
