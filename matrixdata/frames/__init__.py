"""JSON rows to Arrow, pandas and files. Pure; each library is imported when first used."""
