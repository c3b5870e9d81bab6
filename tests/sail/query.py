from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
zones = spark.range(0, 1_000_000, numPartitions=4).selectExpr("id % 7 AS zone").groupBy("zone").count()
for zone, trips in sorted(map(tuple, zones.collect())):
    print(zone, trips)
