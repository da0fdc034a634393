"""The embedded homeserver: a private Synapse on loopback, as a process of its own."""
