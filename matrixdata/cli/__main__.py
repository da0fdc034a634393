"""`python -m matrixdata.cli`: the command line where its script is not on PATH."""

from matrixdata.cli import main

main(prog_name="matrixdata")
