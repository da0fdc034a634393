"""Record values to a pandas DataFrame, pandas being imported when called.

Must not use `pandas.json_normalize`, which lets one of two colliding keys overwrite the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matrixdata.errors import MissingExtra
from matrixdata.frames.arrow_table import to_array
from matrixdata.frames.columns import assemble, stated
from matrixdata.frames.types import Column, Scalar

if TYPE_CHECKING:
    import pandas as pd

    from matrixdata.model.json import JSON


def to_pandas(
    values: Sequence[JSON],
    *,
    schema: object = None,
    columns: Sequence[str] | None = None,
    meta: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    structs: bool = False,
) -> pd.DataFrame:
    """A DataFrame of one row a record.

    Nested objects become columns named by their path: `a.b` is b inside a, `"a.b"` (with the quotes) is the
    key that holds a dot (`model.paths`), so no two keys share a column. Where some records have an object at
    a path and others do not, the others' values (and empty objects) stand in the path's own column.
    Arrays stay Python lists. Records that are not objects stand in a column `value` (beside objects: ``""``).

    Column types, from the schema where it says, else from the values: boolean → `boolean`, integer → `Int64`
    (beyond it `UInt64`), number → `float64`, string → `str` (pandas 2: `string`), format date-time →
    `datetime64[us, UTC]`; everything else, mixed types and columns of nothing but missing values → `object`
    with the Python values. A value is never rounded: a column that its type cannot hold exactly, such as
    integers beyond 2^53 among floats, or that does not fit the schema, is `object` (text that is no
    date-time: `str`), and `attrs` says so. With a schema, an empty result has the types of a full one.

    Missing and null are both missing in a frame. Numbers use NaN for it: `float64` is what numeric code
    takes, and no record holds a NaN that it could be confused with. In a float column 21 shows as 21.0, in an
    integer column 21.0 as 21; both are equal to what was published.

    Args:
        values: the records' values.
        schema: JSON Schema as Python holds it, for types and column order; other columns follow in order of
            first appearance.
        columns: these columns only, in this order; a path to an object gives the objects whole.
        meta: further columns by name, one item a record (str, int, float, bool, aware datetime or None), put
            last. They keep their names; a record's key of such a name is spelt in quotes (`"sender"`).
        attrs: put into `frame.attrs["matrixdata"]`; plain values, so that it survives `to_parquet`.
        structs: objects as columns of dtype `struct<…>[pyarrow]`, of the types and with the exceptions of `to_arrow`;
            ``frame["place"].struct.field("room")`` is a member. Exceptions are `object`, as everything of no one type.

    Raises:
        MissingExtra: pandas or pyarrow is not installed.
        TypeError: `columns` is not a sequence of str.
        ValueError: a name in `columns` is no path or stands there twice, or `meta` has another length.
    """
    try:
        import pandas as pd  # noqa: PLC0415  optional and slow to import
        import pyarrow  # noqa: F401, PLC0415  optional; text and time columns are built with it
    except ImportError:
        raise MissingExtra("DataFrames", "data") from None
    laid = assemble(values, schema=schema, columns=columns, meta=meta, structs=structs)
    frame = pd.DataFrame(
        dict(enumerate(map(_array, laid.columns))), index=pd.RangeIndex(laid.rows), copy=False
    )
    names = [column.name for column in laid.columns]
    frame.columns = pd.Index(_text(names) if _pandas_3() else _objects(names))
    frame.attrs["matrixdata"] = stated(laid, attrs)
    return frame


def _pandas_3() -> bool:
    import pandas as pd  # noqa: PLC0415  optional and slow to import

    return int(pd.__version__.split(".")[0]) >= 3


def _array(column: Column) -> Any:  # noqa: ANN401  whichever kind of array pandas has for the type
    cells = column.cells
    match column.type:
        case Scalar.NUMBER:
            import numpy as np  # noqa: PLC0415  comes with pandas

            return np.array(cells, dtype=np.float64)  # None becomes NaN
        case Scalar.INTEGER | Scalar.UNSIGNED | Scalar.BOOLEAN:
            return _masked(cells, column.type)
        case Scalar.TIMESTAMP:
            return cells.to_pandas().array
        case Scalar.STRING:
            return _text(cells)
        case Scalar.STRUCT:
            import pandas as pd  # noqa: PLC0415  optional and slow to import

            return pd.arrays.ArrowExtensionArray(to_array(column))
        case _:
            return _objects(cells)


def _masked(cells: list[Any], kind: Scalar) -> Any:  # noqa: ANN401  pandas' integer or boolean array
    import pandas as pd  # noqa: PLC0415  optional and slow to import
    import pyarrow as pa  # noqa: PLC0415  as above

    array = pa.array(cells, getattr(pa, "bool_" if kind is Scalar.BOOLEAN else kind.value)())
    # Both sides must be writable: pandas puts values into them.
    absent = array.is_null().to_numpy(zero_copy_only=False)
    held = array.fill_null(False if kind is Scalar.BOOLEAN else 0).to_numpy(zero_copy_only=False).copy()
    wrap = pd.arrays.BooleanArray if kind is Scalar.BOOLEAN else pd.arrays.IntegerArray
    return wrap(held, absent)


def _text(cells: list[Any]) -> Any:  # noqa: ANN401  pandas' string array
    import pandas as pd  # noqa: PLC0415  optional and slow to import
    import pyarrow as pa  # noqa: PLC0415  as above

    try:
        if _pandas_3():
            return pd.array(pa.array(cells, pa.large_string()), dtype="str")  # by itself twice as slow
        return pd.array(cells, dtype="string")  # "str" in pandas 2 means object
    except UnicodeEncodeError:  # half a surrogate pair, as a raw event may hold
        return _objects(cells)


def _objects(cells: list[Any]) -> pd.Series[Any]:
    import numpy as np  # noqa: PLC0415  comes with pandas
    import pandas as pd  # noqa: PLC0415  optional and slow to import

    array = np.empty(len(cells), dtype=object)
    array[:] = cells  # filling keeps lists as cells, where np.array would make a matrix of them
    return pd.Series(array, dtype=object, copy=False)  # said twice, or pandas would guess from the values
