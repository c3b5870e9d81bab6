#!/usr/bin/env python3
"""An executor for the tests' Mesos: runs one command task, over the v1 executor API.

Mesos ships its own as separate programs, which are not in the package that the rest of it comes from: one that
starts processes (mesos-executor), and one that starts containers of Docker's (mesos-docker-executor). The name
that this is called by decides. What happens in a container, and in an image, is the library's own.
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


FLAGS = dict(word[2:].split("=", 1) for word in sys.argv[1:] if re.match("--[a-z_]+=", word))


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


class Command:
    """A process of this machine; with an image of Mesos' own containerizer, one that sees the image's files."""

    def __init__(self, task):
        self.command, self.rootfs = task["command"], FLAGS.get("rootfs")
        self.process, self.status = None, {}
        self.environment = dict(ENVIRONMENT)
        # What the agent knows of: secrets, and what an image says.
        self.environment.update(variables(json.loads(FLAGS.get("task_environment", "{}"))))
        self.environment.update(variables(self.command.get("environment", {})))

    def start(self, _task):
        if self.rootfs or "user" in FLAGS or "working_directory" in FLAGS:
            return self.start_inside()
        is_shell = self.command.get("shell", True)
        program = self.command.get("value")
        arguments = (
            ["/bin/sh", "-c", program]
            if is_shell
            else self.command.get("arguments") or [program]
        )
        self.process = subprocess.Popen(
            arguments,
            executable=None if is_shell else program,
            env=self.environment,
            start_new_session=True,
        )
        return self.process

    def start_inside(self):
        """Mesos' launcher changes the root, the user and the directory, and becomes the program."""
        launch = json.loads(FLAGS.get("task_launch_information", "{}"))
        entries = [{"name": name, "value": value} for name, value in self.environment.items()]
        launch["environment"] = {"variables": entries}
        launch["command"] = {**launch.get("command", {}), **self.command}
        launch["command"].pop("uris", None)
        launch["command"].pop("environment", None)
        for flag, field in (("rootfs", "rootfs"), ("user", "user")):
            if flag in FLAGS:
                launch[field] = FLAGS[flag]
        launch["working_directory"] = FLAGS.get("working_directory") or FLAGS.get("sandbox_directory")
        environment = {**ENVIRONMENT, "MESOS_CONTAINERIZER_LAUNCH_INFO": json.dumps(launch)}
        launcher = os.path.join(ENVIRONMENT_LAUNCHER, "mesos-containerizer")
        self.process = subprocess.Popen(
            [launcher, "launch"], env=environment, start_new_session=True
        )
        return self.process

    def end(self, grace, done):
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                pass
            if done.wait(patience):
                return

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)

    @staticmethod
    def words(code):
        if code >= 0:
            return f"Command exited with status {code}"
        return f"Command terminated with signal {signal.strsignal(-code)}"


class Container:
    """A container of Docker's: mesos-docker-run has the library's own way to say so to `docker run`."""

    def __init__(self, task):
        self.process, self.status = None, {}
        self.name = FLAGS["container"]
        self.docker = [FLAGS["docker"], "-H", "unix://" + FLAGS["docker_socket"]]
        resources, ports = {}, []
        for one in task.get("resources", []):
            if "scalar" in one:
                amount = resources.get(one["name"], 0) + one["scalar"]["value"]
                resources[one["name"]] = amount
            elif one["name"] == "ports":
                ports += [f"{each['begin']}-{each['end']}" for each in one["ranges"]["range"]]
        if ports:
            resources["ports"] = f"[{','.join(ports)}]"
        self.resources = ";".join(f"{name}:{amount}" for name, amount in resources.items())

    def start(self, task):
        command = dict(task["command"])
        environment = command.pop("environment", {}).get("variables", [])
        extra = json.loads(FLAGS.get("task_environment", "{}"))
        known = variables(extra)
        environment = [one for one in environment if one["name"] not in known and "value" in one]
        environment += [{"name": name, "value": value} for name, value in known.items()]
        command["environment"] = {"variables": environment}
        run = os.path.join(FLAGS["launcher_dir"], "mesos-docker-run")
        words = [FLAGS["docker"], FLAGS["docker_socket"], self.name, FLAGS["sandbox_directory"]]
        words += [FLAGS["mapped_directory"], self.resources, FLAGS.get("cgroups_enable_cfs", "false")]
        self.process = subprocess.Popen(
            [run, *words], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        self.process.stdin.write(json.dumps(task["container"]) + "\n" + json.dumps(command) + "\n")
        self.process.stdin.close()
        while self.process.poll() is None and not self.is_running(task):
            time.sleep(0.05)
        return self.process

    def is_running(self, task):
        words = "{{.State.Running}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        inspect = ["inspect", "--format", words, self.name]
        asked = subprocess.run(self.docker + inspect, capture_output=True, text=True, check=False)
        state, *addresses = asked.stdout.split() or [""]
        networks = task["container"].get("network_infos", [{}])
        addresses = [{"ip_address": one} for one in addresses[:1]]
        networks = [{**networks[0], "ip_addresses": addresses}] if addresses else []
        self.status = {"container_status": {"network_infos": networks}}
        return state == "true"

    def end(self, grace, done):
        stop = ["stop", "--time", str(max(round(grace), 0)), self.name]
        subprocess.run(self.docker + stop, stdout=subprocess.DEVNULL, check=False)
        done.wait(5)

    def kill(self):
        subprocess.run([*self.docker, "kill", self.name], stdout=subprocess.DEVNULL, check=False)

    @staticmethod
    def words(code):
        return f"Container exited with status {code}"


def variables(environment):
    """By name; secrets are known to the agent only, which tells them as flags."""
    if "variables" not in environment:
        return environment
    return {one["name"]: one["value"] for one in environment["variables"] if "value" in one}


KIND = Container if os.path.basename(sys.argv[0]) == "mesos-docker-executor" else Command
ENVIRONMENT_LAUNCHER = FLAGS.get("launcher_dir") or os.path.dirname(os.path.abspath(sys.argv[0]))


class Executor:
    def __init__(self):
        self.lock = threading.RLock()
        self.task = None
        self.runs = None
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
        self.update("TASK_STARTING")
        try:
            runs = KIND(self.task)
            process = runs.start(self.task)
            self.runs = runs
        except OSError as error:
            self.done.set()
            self.update(
                "TASK_FAILED", f"Failed to launch: {error}", reason="REASON_EXECUTOR_TERMINATED"
            )
            return
        self.update("TASK_RUNNING", **runs.status)
        code = process.wait()
        self.done.set()
        if self.killed:
            state, more = "TASK_KILLED", {}
        elif code == 0:
            state, more = "TASK_FINISHED", {}
        elif KIND is Container:
            state, more = "TASK_FAILED", {}
        else:
            state, more = "TASK_FAILED", {"reason": "REASON_COMMAND_EXECUTOR_FAILED"}
        self.update(state, runs.words(code), **more)

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
            while self.runs is None and not self.done.wait(0.02):
                pass
            if self.runs:
                self.runs.end(grace, self.done)

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
                if executor.runs and not executor.done.is_set():
                    executor.runs.kill()
                os._exit(1)
            time.sleep(0.2)


main()
