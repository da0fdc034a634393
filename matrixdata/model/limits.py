"""Limits that several layers share. A number stands here once, so that no two layers disagree."""

from __future__ import annotations

MAX_DEPTH = 64
"""Deepest nesting of objects and arrays in any document, ours or a stranger's: `[]` has depth 1.

Synapse refuses events somewhere between 100 and 200 levels, recursive code in Python ends near 500, and a
validator written in C or Rust may end the whole process; 64 is safe for all of them.
"""
