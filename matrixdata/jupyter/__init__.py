"""What only notebooks need: the nested-loop opt-in. Everything shows itself without it."""

from matrixdata.jupyter.nested import allow_nested_loops

__all__ = ["allow_nested_loops"]
