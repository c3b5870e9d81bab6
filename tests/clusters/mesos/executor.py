#!/usr/bin/env python3
"""An executor for the tests' Mesos: runs one command task, over the v1 executor API.

Mesos ships its own as a separate program, which is not in the package that the rest of it comes from.
"""

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid

ENVIRONMENT = os.environ
PROCESS, ADDRESS = ENVIRONMENT["MESOS_SLAVE_PID"].split("@")
PATH = f"/{PROCESS}/api/v1/executor"
IDS = {
    "framework_id": {"value": ENVIRONMENT["MESOS_FRAMEWORK_ID"]},
    "executor_id": {"value": ENVIRONMENT["MESOS_EXECUTOR_ID"]},
}
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "secs": 1, "mins": 60, "hrs": 3600, "days": 86400}
ENDED = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"}


def seconds(text, default):
    match = re.fullmatch(r"([0-9.]+)([a-z]+)", text or "")
    return float(match[1]) * UNITS[match[2]] if match else default


GRACE = seconds(ENVIRONMENT.get("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD"), 5.0)
RECOVERY = (
    seconds(ENVIRONMENT.get("MESOS_RECOVERY_TIMEOUT"), 900.0)
    if ENVIRONMENT.get("MESOS_CHECKPOINT") == "1"
    else 0.0
)


def call(body):
    connection = http.client.HTTPConnection(ADDRESS, timeout=30)
    connection.request("POST", PATH, json.dumps({**body, **IDS}), HEADERS)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    if response.status >= 300:
        raise OSError(f"{response.status} {text!r}")


class Executor:
    def __init__(self):
        self.lock = threading.RLock()
        self.task = None
        self.process = None
        self.killed = False
        self.done = threading.Event()
        self.acknowledged = False
        self.unacknowledged = {}
        self.has_told_end = False
        self.knows_killing = False

    def update(self, state, message=None, **more):
        status = {
            "task_id": self.task["task_id"],
            "state": state,
            "source": "SOURCE_EXECUTOR",
            "executor_id": IDS["executor_id"],
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode(),
            "timestamp": time.time(),
            **more,
        }
        if message:
            status["message"] = message
        with self.lock:
            self.unacknowledged[status["uuid"]] = {"status": status}
            self.has_told_end |= state in ENDED
        try:
            call({"type": "UPDATE", "update": {"status": status}})
        except OSError as error:
            # It goes with the next subscription.
            print("an update is not sent now:", error, file=sys.stderr)

    def run(self):
        command = self.task["command"]
        environment = dict(ENVIRONMENT)
        for variable in command.get("environment", {}).get("variables", []):
            environment[variable["name"]] = variable.get("value", "")
        self.update("TASK_STARTING")
        is_shell = command.get("shell", True)
        program = command.get("value")
        arguments = (
            ["/bin/sh", "-c", program] if is_shell else command.get("arguments") or [program]
        )
        try:
            self.process = subprocess.Popen(
                arguments,
                executable=None if is_shell else program,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self.done.set()
            self.update(
                "TASK_FAILED", f"Failed to launch: {error}", reason="REASON_EXECUTOR_TERMINATED"
            )
            return
        self.update("TASK_RUNNING")
        code = self.process.wait()
        self.done.set()
        if self.killed:
            state, more = "TASK_KILLED", {}
        elif code == 0:
            state, more = "TASK_FINISHED", {}
        else:
            state, more = "TASK_FAILED", {"reason": "REASON_COMMAND_EXECUTOR_FAILED"}
        words = (
            f"Command exited with status {code}"
            if code >= 0
            else f"Command terminated with signal {signal.strsignal(-code)}"
        )
        self.update(state, words, **more)

    def kill(self, policy=None):
        with self.lock:
            if self.killed or self.done.is_set():
                return
            self.killed = True
        policy = policy or self.task.get("kill_policy") or {}
        grace = policy.get("grace_period", {}).get("nanoseconds", 3_000_000_000) / 1e9
        if self.knows_killing:
            self.update("TASK_KILLING")

        def end():
            while self.process is None and not self.done.wait(0.02):
                pass
            for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5)):
                try:
                    os.killpg(self.process.pid, number)
                except ProcessLookupError:
                    pass
                if self.done.wait(patience):
                    return

        threading.Thread(target=end, daemon=True).start()

    def take_in(self, event):
        kind = event["type"]
        if kind == "SUBSCRIBED":
            info = event["subscribed"]["framework_info"]
            names = [capability.get("type") for capability in info.get("capabilities", [])]
            self.knows_killing = "TASK_KILLING_STATE" in names
        elif kind == "LAUNCH":
            self.task = event["launch"]["task"]
            threading.Thread(target=self.run, daemon=True).start()
        elif kind == "KILL":
            self.kill(event["kill"].get("kill_policy"))
        elif kind == "ACKNOWLEDGED":
            with self.lock:
                self.acknowledged = True
                self.unacknowledged.pop(event["acknowledged"]["uuid"], None)
                if self.has_told_end and not self.unacknowledged:
                    os._exit(0)
        elif kind == "SHUTDOWN":
            if self.task is None or self.done.is_set():
                os._exit(0)
            self.kill({"grace_period": {"nanoseconds": max(GRACE - 1, 0.2) * 1e9}})
            threading.Timer(GRACE, lambda: os._exit(0)).start()
            threading.Thread(target=lambda: (self.done.wait(), os._exit(0)), daemon=True).start()
        elif kind == "ERROR":
            print("the agent says:", event["error"]["message"], file=sys.stderr)
            os._exit(1)

    def subscribe(self):
        connection = http.client.HTTPConnection(ADDRESS, timeout=None)
        with self.lock:
            tasks = [self.task] if self.task and not self.acknowledged else []
            subscribe = {
                "unacknowledged_tasks": tasks,
                "unacknowledged_updates": list(self.unacknowledged.values()),
            }
        body = {**IDS, "type": "SUBSCRIBE", "subscribe": subscribe}
        connection.request("POST", PATH, json.dumps(body), HEADERS)
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"{response.status} {response.read()!r}")
        return response


def main():
    executor, gone = Executor(), None
    while True:
        try:
            response = executor.subscribe()
            gone = None
            while True:
                length = response.readline()
                if not length:
                    raise OSError("the agent hung up")
                executor.take_in(json.loads(response.read(int(length))))
        except (OSError, http.client.HTTPException, ValueError) as error:
            gone = gone or time.time()
            print("not subscribed:", error, file=sys.stderr)
            if time.time() - gone > RECOVERY:
                if executor.process and not executor.done.is_set():
                    os.killpg(executor.process.pid, signal.SIGKILL)
                os._exit(1)
            time.sleep(0.2)


main()
