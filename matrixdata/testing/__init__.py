"""pytest fixtures for users' own tests, on a real embedded homeserver."""
