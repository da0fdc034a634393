"""The two SQLite stores: what the server can give back (replica) and what it cannot (account)."""
