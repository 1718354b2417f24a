SELECT CAST(n * n AS TEXT) FROM numbers
