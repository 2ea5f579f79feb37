"""opentracker as Debian ships it (package opentracker): UDP and HTTP with a connection for each announce.

Debian builds it with a whitelist: torrents that are not listed are refused. It reads the list after it has changed its
root directory and its user, so the list lies in that directory, named without a path, readable for all users.
"""

import os
import pathlib
import shutil

from runner import machine, systems

NAME = "opentracker"
INSTALL = "apt-get install opentracker"
FEATURES = {"udp", "http"}


def available():
    return shutil.which("opentracker") is not None


def start(folder, cores=machine.TRACKER_CORE):
    root = pathlib.Path(folder) / "opentracker"
    root.mkdir(exist_ok=True)
    # The folder is made for the owner only; the tracker's user must get through.
    os.chmod(folder, 0o755)
    os.chmod(root, 0o755)
    whitelist = root / "whitelist.txt"
    whitelist.write_text("".join(systems.info_hash(torrent) + "\n" for torrent in range(systems.TORRENTS)))
    os.chmod(whitelist, 0o644)
    port = machine.free_port()
    config = root / f"{port}.conf"
    config.write_text(
        f"listen.tcp_udp 127.0.0.1:{port}\naccess.whitelist {whitelist.name}\n"
        f"tracker.rootdir {root}\ntracker.user _opentracker\n")
    process = machine.Process(["opentracker", "-f", str(config)], cores, root / "log")
    process.wait_until(lambda: machine.udp_answers(port), "opentracker answers")
    return systems.Tracker(NAME, process, port)
