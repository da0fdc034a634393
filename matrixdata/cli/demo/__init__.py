"""`matrixdata demo`: the product shown on this machine alone, in real processes, within a minute."""

from matrixdata.cli.demo.command import demo

__all__ = ["demo"]
