"""Runs Airflow's hook twice: with a driver that ends well, and with one that does not."""
import os
import re

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

CONF = {
    "spark.kubernetes.container.image": "registry.test/driver:1",
    "spark.kubernetes.namespace": os.environ["NAMESPACE"],
    "spark.kubernetes.driver.request.cores": "10m",
    "spark.driver.memory": "64m",
}


def run(line):
    hook = SparkSubmitHook(conf=CONF, name="from-airflow", java_class="Main", application_args=[line])
    error = None
    try:
        hook.submit("local:///app.jar")
    except Exception as failure:
        error = failure
    return hook, error


hook, error = run("exit 0")
assert error is None, error
assert re.fullmatch(r"from-airflow-[a-z0-9]+-driver", hook._kubernetes_driver_pod), hook._kubernetes_driver_pod
assert re.fullmatch(r"spark-[0-9a-f]{32}", hook._kubernetes_application_id), hook._kubernetes_application_id
assert hook._spark_exit_code == 0, hook._spark_exit_code

hook, error = run("exit 7")
assert error is not None and hook._spark_exit_code == 7, (error, hook._spark_exit_code)
print("Airflow's hook found the pod, the application and the exit codes")
