SELECT CASE WHEN random() > 0 THEN n * n ELSE n * n END FROM numbers
