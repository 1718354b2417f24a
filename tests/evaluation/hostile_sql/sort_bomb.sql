WITH d(x) AS (VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10))
SELECT a.x + b.x + c.x + e.x + f.x + g.x + h.x AS s, zeroblob(100000) FROM d a, d b, d c, d e, d f, d g, d h ORDER BY s DESC, 2
