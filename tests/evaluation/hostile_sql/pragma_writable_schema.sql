PRAGMA writable_schema = ON; SELECT n * n FROM numbers
