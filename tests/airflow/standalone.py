"""What Airflow's SparkSubmitOperator does on a standalone cluster, with a driver that ends well and one that does not."""
import re

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook


def run(program):
    hook = SparkSubmitHook(conf={"spark.driver.memory": "16m"}, name="from-airflow")
    driver = hook.submit(program)
    assert re.fullmatch(r"driver-\d{14}-\d+", driver or ""), driver
    hook._start_driver_status_tracking()
    return hook._driver_status


assert run("/bin/true") == "FINISHED"
assert run("/bin/false") == "FAILED"
