"""The flow out: from an accepted record to an acknowledged event."""

from matrixdata.publishing.acceptance import Acceptance, checked
from matrixdata.publishing.filling import Filled, Filling
from matrixdata.publishing.parts import parted
from matrixdata.publishing.readback import Readback
from matrixdata.publishing.receipt import AsyncReceipt, Milestone, Receipts
from matrixdata.publishing.review import review
from matrixdata.publishing.sealing import Sealing
from matrixdata.publishing.sender import Sender

__all__ = [
    "Acceptance",
    "AsyncReceipt",
    "Filled",
    "Filling",
    "Milestone",
    "Readback",
    "Receipts",
    "Sealing",
    "Sender",
    "checked",
    "parted",
    "review",
]
