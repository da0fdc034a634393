"""Matrix's and our own JSON, in and out: requests, responses, the record codec. Pure: no I/O."""
