"""The flow in: from a sync response to committed rows and woken subscribers."""
