"""Is this JSON valid under that schema? One verdict on every platform. Pure: no network, no clock."""

from matrixdata.validation.compiled import MAX_PROBLEMS, CompiledSchema, cached_schema, compile_schema
from matrixdata.validation.report import Rejected, ValidationReport

__all__ = [
    "MAX_PROBLEMS",
    "CompiledSchema",
    "Rejected",
    "ValidationReport",
    "cached_schema",
    "compile_schema",
]
