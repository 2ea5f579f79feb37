"""The systems under test: our tracker and our consumer, and how adapters in Benchmarks/peers are found."""

import contextlib
import importlib.util
import os
import pathlib
import urllib.request

from . import machine

FOLDER = pathlib.Path(__file__).resolve().parent.parent
ROOT = FOLDER.parent
BINARY = pathlib.Path(os.environ.get("TRACKER", ROOT / "bin" / "tracker"))
CONSUMER = pathlib.Path(os.environ.get("CONSUMER", ROOT / "bin" / "traffic-consumer"))
PASSKEYS = 1000
# One more than the largest row needs.
TORRENTS = 10_000


class Tracker:
    """A running tracker."""

    def __init__(self, name, process, port, metrics_port=None, host="127.0.0.1"):
        self.name, self.process, self.port, self.metrics_port, self.host = name, process, port, metrics_port, host

    @property
    def pid(self):
        return self.process.pid

    def resident(self):
        return machine.resident_bytes(self.pid)

    def metric(self, name):
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def drain_queue(self, seconds):
        """Waits until the traffic push has nothing left to send."""
        machine.wait_until(lambda: self.metric("tracker_push_queue_depth") == 0, "the queue drains", seconds)

    def stop(self):
        self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def info_hash(torrent):
    """The generator's info hashes, in hex."""
    return f"{torrent * 2654435761 & 0xffffffff:08x}{torrent:08x}{'0' * 24}"


def ours(folder, *, udp=True, http=False, approval=None, push=None, push_options=None, workers=1,
         cores=machine.TRACKER_CORE, storage=None, metrics=False, host="127.0.0.1", wait=True):
    """Starts this project's tracker. `approval` and `push` are Redis URLs, `storage` settings of the memory storage."""
    port = machine.free_port()
    metrics_port = machine.free_port() if metrics else None
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = ["chihaya:", f"  workers: {workers}"]
    if metrics_port:
        lines.append(f'  metrics_addr: "127.0.0.1:{metrics_port}"')
    if http:
        lines.append(f'  http: {{ addr: "{address}", enable_keepalive: true, idle_timeout: 300s, read_timeout: 30s, '
                     "write_timeout: 30s, max_connections_per_address: 0, max_numwant: 200 }")
    if udp:
        lines.append(f'  udp: {{ addr: "{address}", max_numwant: 200 }}')
    if storage:
        lines.append(f"  storage: {{ name: memory, config: {flow(storage)} }}")
    if approval:
        lines += ["  prehooks:", "    - name: passkey approval", f"      options: {flow({'redis_broker': approval})}"]
    if push:
        options = flow({"redis_broker": push, **(push_options or {})})
        lines += ["  posthooks:", "    - name: traffic push", f"      options: {options}"]
    config = pathlib.Path(folder) / f"ours-{port}.yaml"
    config.write_text("\n".join(lines) + "\n")
    process = machine.Process([str(BINARY), "--config", str(config)], cores, config.with_suffix(".log"))
    tracker = Tracker("ours", process, port, metrics_port, host)
    if wait:
        answers = (lambda: machine.udp_answers(port, host)) if udp else (lambda: machine.http_answers(port))
        process.wait_until(answers, "our tracker answers")
    return tracker


def flow(settings):
    """A YAML mapping on one line."""
    return "{ " + ", ".join(f'{name}: "{value}"' for name, value in settings.items()) + " }"


@contextlib.contextmanager
def consumer(folder, redis, cores=machine.BOTH_CORES):
    """Our consumer with a new database; gives its process and the database's path."""
    folder = pathlib.Path(folder)
    database, control = folder / "traffic.db", folder / "consumer.sock"
    for path in (control, *folder.glob("traffic.db*")):
        path.unlink(missing_ok=True)
    config = folder / "consumer.yaml"
    config.write_text(
        f'consumer:\n  redis: {{ url: "{redis.url}" }}\n  database: {{ path: "{database}" }}\n  admin_addr: ""\n'
        f'  control_socket: "{control}"\n')
    process = machine.Process(
        [str(CONSUMER), "run", "--config", str(config)], cores, config.with_suffix(".log"))
    try:
        # The socket comes after the database.
        process.wait_until(control.exists, "our consumer answers")
        yield process, database
    finally:
        process.stop()


def echo(folder, transport):
    """Starts the server that only makes the system calls (LoadGenerator's EchoServer)."""
    from . import load
    port = machine.free_port()
    process = machine.Process([str(load.GENERATOR), f"echo-{transport}", str(port)], machine.TRACKER_CORE,
                              pathlib.Path(folder) / "echo.log")
    answers = machine.udp_answers if transport == "udp" else machine.http_answers
    process.wait_until(lambda: answers(port), "the echo server answers")
    return Tracker("echo", process, port)


def _adapters():
    for path in sorted((FOLDER / "peers").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def peers():
    """The adapters whose tracker is installed, by name. An adapter is a module with NAME, INSTALL (how to get it), FEATURES
    (`udp`, `http`, `keep-alive`), available() and start(folder, cores), which returns a Tracker; see opentracker.py."""
    return {module.NAME: module for module in _adapters() if module.available()}


def install_hint(name):
    """How a peer is installed."""
    return next((module.INSTALL for module in _adapters() if module.NAME == name), "no adapter in Benchmarks/peers")
