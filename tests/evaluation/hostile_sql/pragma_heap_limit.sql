PRAGMA hard_heap_limit = 0; SELECT n * n FROM numbers
