"""The public entrance: connect(), LocalServer, profiles and the blocking faces."""
