"""Each goal with a number as a command that prints our figure, the peer's and the ratio, from one run."""
