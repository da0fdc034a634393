"""The flow out: from an accepted record to an acknowledged event."""
