"""Fills batches with records that are checked, for many rows at once. What a batch cannot carry goes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matrixdata.errors import TooLarge
from matrixdata.protocol.batch import MAX_RECORDS, Packer
from matrixdata.publishing.parts import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matrixdata.model import JSONObject
    from matrixdata.publishing.acceptance import Acceptance
    from matrixdata.replica.outbox_item import OutboxItem
    from matrixdata.replica.rules import Rules

_SINGLES = 250


class Filled(msgspec.Struct, frozen=True):
    """What is to be stored for some rows.

    Attributes:
        uids: of each row, where they were given; empty where they were not.
    """

    item: OutboxItem
    uids: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of what is sent."""
        return self.item.size


class Filling:
    """The rows of one room that wait for a batch to be full; all have their uid given, or none has.

    Args:
        few: so few rows at once are not worth a batch.
        refuse: told of a row, by its number, that no event has room for.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        room_id: str,
        rules: Rules,
        *,
        few: int,
        refuse: Callable[[int, TooLarge], None],
    ) -> None:
        self._acceptance = acceptance
        self._room_id = room_id
        self._rules = rules
        self._few = few
        self._refuse = refuse
        self._packer = Packer(acceptance.packing.limit(room_id))
        self._numbers: list[int] = []
        self._texts: list[bytes] = []
        self._uids: list[str] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, number: int, record: JSONObject, uid: str | None) -> None:
        """Take a row that is checked."""
        text = msgspec.json.encode(record)
        self._numbers.append(number)
        self._texts.append(text)
        if uid is not None:
            self._uids.append(uid)
        self._size += len(text) + 1

    @property
    def full(self) -> bool:
        """Whether enough rows are here to store what there is."""
        if self._few > MAX_RECORDS:
            return len(self._texts) >= _SINGLES or self._size >= PART_BYTES
        return self._size >= self._packer.wants or len(self._texts) >= MAX_RECORDS

    def take(self, *, rest: bool) -> Iterator[Filled]:
        """Full batches, and with `rest` what is left too."""
        alone = len(self._texts) <= self._few
        while self._texts and (rest or self.full or alone):
            found = self._single() if alone else self._batch()
            if found is not None:
                yield found

    def _batch(self) -> Filled | None:
        self._few = min(self._few, 0)  # there are many, and the last few of them are no exception
        uid, schema = self._acceptance.packing.new_id(), self._rules.schema
        packed = self._packer.pack(
            self._texts, uid=uid, uids=self._uids or None, schema_hash=schema.hash if schema else None
        )
        if packed is None:
            return self._single()
        item = self._acceptance.batch(packed.content, packed.count, room_id=self._room_id, uid=uid)
        return self._single(item) if packed.count == 1 else self._filled(item, packed.count)

    def _single(self, otherwise: OutboxItem | None = None) -> Filled | None:
        """The first row by itself; `otherwise` is a batch of it, for one that only fits compressed."""
        value, uid = msgspec.json.decode(self._texts[0]), self._uids[0] if self._uids else None
        try:
            item = self._acceptance.prepare(
                value, room_id=self._room_id, rules=self._rules, uid=uid, alone=self._few > MAX_RECORDS
            )
        except TooLarge as error:
            if otherwise is None:
                self._refuse(self._numbers[0], error)
                self._forget(1)
                return None
            item = otherwise
        return self._filled(item, 1)

    def _filled(self, item: OutboxItem, count: int) -> Filled:
        filled = Filled(item, tuple(self._uids[:count]))
        self._forget(count)
        return filled

    def _forget(self, count: int) -> None:
        self._size -= sum(map(len, self._texts[:count])) + count
        del self._numbers[:count], self._texts[:count], self._uids[:count]
