-- 1,000,000 made-up taxi trips as Parquet, the same ones each time.
COPY (
  WITH digits AS (SELECT * FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS d(d)),
       thousands AS (SELECT a.d + 10 * b.d + 100 * c.d AS n
                     FROM digits a CROSS JOIN digits b CROSS JOIN digits c),
       ids AS (SELECT x.n + 1000 * y.n AS id FROM thousands x CROSS JOIN thousands y)
  SELECT id, id % 7 AS zone, (id * 7919) % 1000 / 10.0 AS miles, 3 + (id * 104729) % 5000 / 100.0 AS fare
  FROM ids
) TO 'trips.parquet' STORED AS PARQUET;
