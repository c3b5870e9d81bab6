CREATE EXTERNAL TABLE trips STORED AS PARQUET LOCATION 'trips.parquet';

SELECT zone, count(*) AS trips, round(sum(miles)) AS miles, round(avg(fare), 2) AS fare
FROM trips GROUP BY zone ORDER BY zone;
