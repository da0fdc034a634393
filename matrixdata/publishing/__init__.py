"""The flow out: from an accepted record to an acknowledged event."""

from matrixdata.publishing.acceptance import Acceptance
from matrixdata.publishing.parts import PART_BYTES, parted
from matrixdata.publishing.readback import Readback
from matrixdata.publishing.receipt import AsyncReceipt, Milestone, Receipts
from matrixdata.publishing.review import review
from matrixdata.publishing.sealing import Sealing
from matrixdata.publishing.sender import Sender

__all__ = [
    "PART_BYTES",
    "Acceptance",
    "AsyncReceipt",
    "Milestone",
    "Readback",
    "Receipts",
    "Sealing",
    "Sender",
    "parted",
    "review",
]
