"""The trackers under test: ours, and how adapters in Benchmarks/peers are found."""

import importlib.util
import os
import pathlib

from . import machine

FOLDER = pathlib.Path(__file__).resolve().parent.parent
ROOT = FOLDER.parent
BINARY = pathlib.Path(os.environ.get("TRACKER", ROOT / "bin" / "tracker"))
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

    def stop(self):
        self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def info_hash(torrent):
    """The generator's info hashes (and udpload's), in hex."""
    return f"{torrent * 2654435761 & 0xffffffff:08x}{torrent:08x}{'0' * 24}"


def ours(folder, *, udp=True, http=False, approval=None, push=None, workers=1, cores=machine.TRACKER_CORE, storage=None,
         metrics=False, host="127.0.0.1", wait=True):
    """Starts this project's tracker. `approval` and `push` are Redis URLs, `storage` settings of the memory storage."""
    port = machine.free_port()
    metrics_port = machine.free_port() if metrics else None
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = ["chihaya:", f"  workers: {workers}"]
    if metrics_port:
        lines.append(f'  metrics_addr: "127.0.0.1:{metrics_port}"')
    if http:
        lines.append(f'  http: {{ addr: "{address}", enable_keepalive: true, idle_timeout: 300s, read_timeout: 30s, '
                     "write_timeout: 30s, max_numwant: 200 }")
    if udp:
        lines.append(f'  udp: {{ addr: "{address}", max_numwant: 200 }}')
    if storage:
        settings = ", ".join(f"{name}: {value}" for name, value in storage.items())
        lines.append(f"  storage: {{ name: memory, config: {{ {settings} }} }}")
    if approval:
        lines += ["  prehooks:", "    - name: passkey approval", f'      options: {{ redis_broker: "{approval}" }}']
    if push:
        lines += ["  posthooks:", "    - name: traffic push", f'      options: {{ redis_broker: "{push}" }}']
    config = pathlib.Path(folder) / f"ours-{port}.yaml"
    config.write_text("\n".join(lines) + "\n")
    process = machine.Process([str(BINARY), "--config", str(config)], cores, config.with_suffix(".log"))
    tracker = Tracker("ours", process, port, metrics_port, host)
    if wait:
        answers = (lambda: machine.udp_answers(port, host)) if udp else (lambda: machine.http_answers(port))
        try:
            machine.wait_until(lambda: process.check() or answers(), "our tracker answers")
        except Exception:
            process.stop()
            raise
    return tracker


def echo(folder, transport):
    """Starts the server that only makes the system calls (LoadGenerator's EchoServer)."""
    from . import load
    port = machine.free_port()
    process = machine.Process([str(load.GENERATOR), f"echo-{transport}", str(port)], machine.TRACKER_CORE,
                              pathlib.Path(folder) / "echo.log")
    answers = machine.udp_answers if transport == "udp" else machine.http_answers
    machine.wait_until(lambda: process.check() or answers(port), "the echo server answers")
    return Tracker("echo", process, port)


def peers():
    """The adapters whose tracker is installed, by name. An adapter is a module with NAME, FEATURES (`udp`, `http`,
    `keep-alive`), available() and start(folder, cores), which returns a Tracker; see opentracker.py."""
    found = {}
    for path in sorted((FOLDER / "peers").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if module.available():
            found[module.NAME] = module
    return found
