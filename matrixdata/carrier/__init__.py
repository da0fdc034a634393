"""What carries the encryption engine: its transactions on account.db, and its requests to the server and back."""

from matrixdata.carrier.courier import Courier
from matrixdata.carrier.keys import Keys

__all__ = ["Courier", "Keys"]
