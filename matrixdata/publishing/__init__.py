"""The flow out: from an accepted record to an acknowledged event."""

from matrixdata.publishing.acceptance import Acceptance
from matrixdata.publishing.readback import Readback
from matrixdata.publishing.receipt import AsyncReceipt, Milestone, Receipts
from matrixdata.publishing.review import review
from matrixdata.publishing.sender import Sender

__all__ = ["Acceptance", "AsyncReceipt", "Milestone", "Readback", "Receipts", "Sender", "review"]
