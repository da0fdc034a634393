"""The command line: one file a command group, on the public API alone."""
