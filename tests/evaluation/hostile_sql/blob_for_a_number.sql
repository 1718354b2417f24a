SELECT CAST(n * n AS BLOB) FROM numbers
