"""What tests run on a real Spark whose master is ours; the first argument says which of it."""
import os
import sys
import time

from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, udf

session = SparkSession.builder.appName("gateway").getOrCreate()
context = session.sparkContext


def executors():
    return context._jsc.sc().getExecutorMemoryStatus().size() - 1


def addresses():
    """Those of executors, and the driver's."""
    return set(context._jsc.sc().getExecutorMemoryStatus().keys().mkString(",").split(","))


def until(count):
    deadline = time.time() + 90
    while executors() != count:
        assert time.time() < deadline, f"{executors()} executors, not {count}"
        time.sleep(0.1)


def sql():
    """A shuffle, a function in Python, and cached data."""
    rows = session.range(0, 10000, 1, 4).withColumn("key", col("id") % 7)
    counts = {row["key"]: row["count"] for row in rows.groupBy("key").count().collect()}
    assert len(counts) == 7 and sum(counts.values()) == 10000, counts
    successor = udf(lambda number: number + 1, "long")
    cached = rows.withColumn("next", successor(col("id"))).cache()
    for _ in range(2):
        assert cached.agg({"next": "sum"}).collect()[0][0] == 10000 * 10001 // 2


def parent(process):
    with open(f"/proc/{process}/stat") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[1])


def killed():
    """The first task ends the JVM of its executor, in the middle of a job."""
    mark = sys.argv[2]
    until(2)

    def task(number):
        if number == 0:
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                os.kill(parent(os.getppid()), 9)
            except FileExistsError:
                pass
        time.sleep(0.05)
        return number

    assert context.parallelize(range(40), 40).map(task).sum() == sum(range(40))
    until(2)
    sql()


def dynamic():
    """From none to some, to none when idle, and up again."""
    for _ in range(2):
        assert context.parallelize(range(20), 20).map(lambda number: time.sleep(0.2) or number).sum() == 190
        assert executors() > 0
        until(0)


def shuffled():
    """Executors end after the map tasks of a shuffle, and of cached data: others read what they wrote, and no map task
    runs again."""
    mark, maps, reduces = sys.argv[2], 8, 6

    def once(number):
        with open(mark, "a") as ran:
            ran.write(f"{number}\n")
        return range(number, 100000, maps)

    pairs = context.parallelize(range(maps), maps).flatMap(once).map(lambda number: (number % 1009, "x" * 100))
    partitioned = pairs.partitionBy(reduces)
    cached = context.parallelize(range(1000), 4).persist(StorageLevel.DISK_ONLY)
    until(2)
    for _ in range(2):
        assert partitioned.count() == 100000
        assert cached.sum() == sum(range(1000))
        slow = context.parallelize(range(8), 8).map(lambda _: time.sleep(0.2) or parent(os.getppid()))
        before = addresses()
        processes = set(slow.collect())
        assert len(processes) == 2, processes
        for process in processes:
            os.kill(process, 9)
        deadline = time.time() + 90
        while len(before & addresses()) > 1:
            assert time.time() < deadline, "executors that were killed stay"
            time.sleep(0.1)
        until(2)
    assert partitioned.count() == 100000
    with open(mark) as ran:
        lines = sorted(int(line) for line in ran)
    assert lines == list(range(maps)), f"map tasks ran again: {lines}"
    sql()


def outlives():
    """The master goes in the middle of a job, and another one is there later: no task runs twice, and the new one
    replaces executors."""
    ran, rounds = sys.argv[2], sys.argv[3:]
    until(2)
    for round in rounds:

        def task(number):
            with open(ran, "a") as file:
                file.write(f"{round} {number}\n")
            while not os.path.exists(round):
                time.sleep(0.1)
            return parent(os.getppid())

        processes = context.parallelize(range(2), 2).map(task).collect()
        before = addresses()
        os.kill(processes[0], 9)
        deadline = time.time() + 90
        while before <= addresses():
            assert time.time() < deadline, "an executor that was killed stays"
            time.sleep(0.1)
        until(2)
    with open(ran) as file:
        lines = sorted(file.read().splitlines())
    assert lines == sorted(f"{round} {number}" for round in rounds for number in range(2)), lines
    sql()


def waits():
    """Runs on and on, until somebody ends it."""
    context.parallelize(range(1000), 1000).map(lambda number: time.sleep(1)).count()


{"sql": sql, "killed": killed, "dynamic": dynamic, "shuffled": shuffled, "outlives": outlives, "waits": waits}[sys.argv[1]]()
print("right", executors(), flush=True)
session.stop()
