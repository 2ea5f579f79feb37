"""What a benchmark touches of the machine: processes pinned to a core, free ports, memory and CPU time from /proc."""

import os
import pathlib
import signal
import socket
import subprocess
import time

# The tracker under test has a core of its own; the load generator, and Redis where a row needs it, share the other.
_CORES = sorted(os.sched_getaffinity(0))
TRACKER_CORE = str(_CORES[0])
LOAD_CORE = str(_CORES[1 % len(_CORES)])
BOTH_CORES = f"{TRACKER_CORE},{LOAD_CORE}"


class BenchError(Exception):
    """A measurement went wrong or is void; the run fails."""


class NotRun(Exception):
    """Something that a row needs is not on this machine; the run goes on without the row."""


def free_port():
    """A port of 127.0.0.1 that is free for TCP and UDP."""
    for _ in range(100):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchError("no free port")


def wait_until(condition, what, seconds=15.0, interval=0.002):
    """Waits for a condition; a condition that does not come true is an error."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {seconds} s")
        time.sleep(interval)


class Process:
    """A program pinned to cores, ended by its own pid."""

    def __init__(self, arguments, cores, log, **options):
        self.log = log
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                ["taskset", "-c", cores, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)

    @property
    def pid(self):
        # taskset replaces itself by the program, so the pid is the program's.
        return self.child.pid

    def signal(self, number):
        self.child.send_signal(number)

    def check(self):
        if self.child.poll() is not None:
            with open(self.log, errors="replace") as log:
                raise BenchError(f"{self.child.args[3]} ended with {self.child.returncode}:\n{log.read()[-2000:]}")

    def wait_until(self, condition, what, **limits):
        """Waits for a condition as long as the process lives; ends the process when it does not come true."""
        try:
            wait_until(lambda: self.check() or condition(), what, **limits)
        except Exception:
            self.stop()
            raise

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.terminate()
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def resident_bytes(pid):
    """The memory a process has in RAM."""
    return _status(pid, "VmRSS")


def peak_resident_bytes(pid):
    """The most memory a process has had in RAM."""
    return _status(pid, "VmHWM")


def _status(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"no {name} in the status of process {pid}")


def cpu_seconds(pid):
    """The CPU time of all threads of a process that live now."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def move_threads(pid, prefix, core):
    """Pins the threads of a process whose names begin so."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith(prefix):
            os.sched_setaffinity(int(task.name), {int(core)})


def udp_answers(port, host="127.0.0.1"):
    """Whether a tracker answers BEP 15's connect."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.05)
        probe.connect((host, port))
        try:
            probe.send(bytes.fromhex("0000041727101980") + bytes(4) + b"prob")
            return probe.recv(64)[4:8] == b"prob"
        except OSError:
            return False


def http_answers(port):
    """Whether connections are accepted."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False


def describe():
    """The machine, in a line."""
    model = "unknown CPU"
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    release = os.uname()
    return f"{os.cpu_count()} cores {model}, {release.sysname} {release.release}"
