"""HTTP behind a port; the one place for retries and rate limits."""
