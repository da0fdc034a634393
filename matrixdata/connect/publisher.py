"""The blocking face of a publisher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matrixdata.connect.reading import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from matrixdata.collection.publisher import AsyncPublisher
    from matrixdata.connect.portal import Portal


class Publisher:
    """Publishes a stream of single records in groups; see AsyncPublisher. For threads too."""

    def __init__(self, portal: Portal, publisher: AsyncPublisher) -> None:
        self._portal = portal
        self._publisher = publisher

    def __repr__(self) -> str:
        return repr(self._publisher)

    def __enter__(self) -> Publisher:
        """Begin."""
        self._portal.call(self._publisher.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Store what is held, whatever ended the block; after an orderly end also wait until it is sent."""
        self._portal.call(self._publisher.__aexit__, kind, error, trace)

    def publish(self, record: Mapping[str, object]) -> Receipt:
        """Check a record and hold it for its group; see AsyncPublisher.publish."""
        return Receipt(self._portal, self._portal.call(self._publisher.publish, record))

    def flush(self) -> None:
        """Store what is held now instead of after `linger` seconds; returns once it is durable."""
        self._portal.call(self._publisher.flush)
