"""Runs Airflow's hook twice on a standalone cluster: with a driver that ends well, and with one that does not."""
import re

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook


def run(program):
    hook = SparkSubmitHook(conf={"spark.driver.memory": "16m"}, name="from-airflow")
    error = None
    try:
        hook.submit(program)
    except Exception as failure:
        error = failure
    assert re.fullmatch(r"driver-\d{14}-\d+", hook._driver_id or ""), (hook._driver_id, error)
    return hook._driver_status, error


state, error = run("/bin/true")
assert (state, error) == ("FINISHED", None), (state, error)
state, error = run("/bin/false")
assert state == "FAILED" and error is not None, (state, error)
