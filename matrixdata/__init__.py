"""matrixdata: Matrix rooms as synced, schema-validated JSON collections."""
