"""What a room's state says of its records: the schemas that stand, the time field. Pure: state rows in.

A record's validity is a function of the record, the schema whose hash it names, and that schema's standing
in the room; never of when it was read. So a verdict can be computed again at any time, and is, whenever
the room's state changes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from matrixdata.errors import SchemaError
from matrixdata.model import JSON, Problem
from matrixdata.protocol.content import (
    COLLECTION,
    SCHEMA,
    CollectionState,
    SchemaState,
    parse_collection,
    parse_schema,
)
from matrixdata.protocol.numbers import WireError
from matrixdata.protocol.sync import MalformedResponse, decode
from matrixdata.protocol.time import read_time
from matrixdata.validation import CompiledSchema, cached_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matrixdata.replica.rows import StateRow

_ENCRYPTION = "m.room.encryption"
RULE_TYPES = (COLLECTION, SCHEMA, _ENCRYPTION)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one room.

    Attributes:
        collection: what the room's owner said of it; None in a room that is no collection.
        schemas: the schemas that stand, by content hash.
        unusable: schemas that stand but are outside the profile, by content hash, with the first reason.
        fingerprint: equal for equal rules; stored beside the verdicts they led to.
        encrypted: the room is.
        requires_encryption: what came in clear is no record: there is no telling who wrote it.
    """

    collection: CollectionState | None = None
    schemas: Mapping[str, CompiledSchema] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = "none"
    encrypted: bool = False
    requires_encryption: bool = False

    def strict(self) -> Rules:
        """The same rules, and what came in clear is no record."""
        return replace(self, requires_encryption=True, fingerprint=f"{self.fingerprint} strict")

    @property
    def known(self) -> frozenset[str]:
        """The content hashes of all schemas that stand, usable or not."""
        return frozenset((*self.schemas, *self.unusable))

    @property
    def schema(self) -> CompiledSchema | None:
        """The schema in force: the one that new records are checked against."""
        if self.collection is None or self.collection.schema is None:
            return None
        return self.schemas.get(self.collection.schema.hash)

    def accepts(self, value: JSON, schema: CompiledSchema | None) -> bool:
        """Whether a plain value (`protocol.rules.is_plain`) of that schema is a valid record; False says nothing."""
        collection = self.collection
        if schema is None:
            if collection is not None and collection.require_schema:
                return False
        elif not schema.takes(value):
            return False
        return collection is None or collection.time is None or self.time_of(value) is not None

    def problems(self, value: JSON, schema_hash: str | None) -> list[Problem]:
        """Every reason why `value`, naming that schema, is no valid record here; empty when it is."""
        if schema_hash is None:
            if self.collection is not None and self.collection.require_schema:
                return [Problem("", "schema", "it names no schema, and this collection requires one")]
            found: list[Problem] = []
        elif schema_hash in self.schemas:
            found = list(self.schemas[schema_hash].problems(value))
        elif schema_hash in self.unusable:
            found = [Problem("", "schema", f"its schema cannot be used: {self.unusable[schema_hash]}")]
        else:
            found = [Problem("", "schema", "it names a schema that does not stand in this room", schema_hash)]
        if self.collection is not None and self.collection.time is not None and self.time_of(value) is None:
            found.append(Problem(self.collection.time.pointer, "time", self._time_message()))
        return found

    def time_of(self, value: JSON) -> int | None:
        """The record's own time in microseconds since 1970 UTC; None without a time field or a readable time."""
        if self.collection is None or self.collection.time is None:
            return None
        return read_time(value, self.collection.time.pointer, self.collection.time.unit)

    def _time_message(self) -> str:
        unit = self.collection.time.unit if self.collection and self.collection.time else "iso"
        wanted = (
            'a date-time with an offset, such as "2026-01-01T00:00:00Z"'
            if unit == "iso"
            else f"a number of {unit} since 1970-01-01T00:00:00Z"
        )
        return f"this is the collection's time field: {wanted} is needed"


def read_rules(state: Iterable[StateRow]) -> Rules:
    """The rules that a room's current state makes. Malformed state events make none; they never raise."""
    collection: CollectionState | None = None
    schemas: dict[str, CompiledSchema] = {}
    unusable: dict[str, str] = {}
    encrypted = False
    seen = hashlib.sha256()
    for row in sorted(state, key=lambda row: (row.type, row.state_key)):
        if row.type not in RULE_TYPES:
            continue
        seen.update(b"\0".join((row.type.encode(), row.state_key.encode(), row.content)) + b"\0")
        try:
            content = decode(row.content)
            if row.type == COLLECTION and row.state_key == "":
                collection = parse_collection(content)
            elif row.type == SCHEMA:
                _add(parse_schema(row.state_key, content), schemas, unusable)
            elif row.type == _ENCRYPTION and row.state_key == "":
                encrypted = True
        except (MalformedResponse, WireError):
            continue
    return Rules(collection, schemas, unusable, seen.hexdigest()[:16], encrypted)


def _add(found: SchemaState, schemas: dict[str, CompiledSchema], unusable: dict[str, str]) -> None:
    compiled = cached_schema(found.schema)
    if isinstance(compiled, SchemaError):
        unusable[found.hash] = str(compiled.problems[0]) if compiled.problems else str(compiled)
    else:
        schemas[found.hash] = compiled
