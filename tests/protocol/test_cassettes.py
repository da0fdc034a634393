"""Recorded exchanges with a real server, replayed without one."""
