"""A redis-server of the run's own, without persistence, on the load's core."""

import pathlib
import shutil
import signal
import socket

from . import machine, systems

# Counts what a stream holds, in slices, so that one script call stays short.
COUNT = """
local first, n, du, dd, entries = ARGV[1], 0, 0, 0, 0
local found = redis.call('XRANGE', KEYS[1], first, '+', 'COUNT', 20000)
for _, entry in ipairs(found) do
  first = entry[1]
  entries = entries + 1
  local fields = entry[2]
  for index = 1, #fields, 2 do
    if fields[index] == 'n' then n = n + tonumber(fields[index + 1]) end
    if fields[index] == 'du' then du = du + tonumber(fields[index + 1]) end
    if fields[index] == 'dd' then dd = dd + tonumber(fields[index + 1]) end
  end
end
return { first, entries, n, du, dd }
"""


class Redis:
    def __init__(self, folder, cores=machine.LOAD_CORE):
        if shutil.which("redis-server") is None:
            raise machine.NotRun("redis-server is not installed (apt-get install redis-server)")
        self.path = str(pathlib.Path(folder) / "redis.sock")
        self.url = f"redis+unix://{self.path}?db=0"
        self.process = machine.Process(
            ["redis-server", "--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no", "--dir",
             str(folder)], cores, pathlib.Path(folder) / "redis.log")
        self.process.wait_until(self._answers, "redis-server answers")
        self.socket = self._connect()
        self.reader = self.socket.makefile("rb")

    def _connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(self.path)
        return connection

    def _answers(self):
        try:
            with self._connect() as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def call(self, *words):
        words = [str(word).encode() for word in words]
        self.socket.sendall(
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self._reply()

    def _reply(self):
        line = self.reader.readline()
        kind, rest = line[:1], line[1:-2]
        if not kind:
            raise machine.BenchError("redis: the connection has ended")
        if kind == b"-":
            raise machine.BenchError(f"redis: {rest.decode()}")
        if kind == b"$":
            return None if rest == b"-1" else self.reader.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest.decode()

    def add_passkeys(self, count=systems.PASSKEYS):
        """The passkeys of the generator: numbers as 32 hex digits."""
        self.call("SADD", "pt:passkeys", *(f"{number:032x}" for number in range(count)))

    def info(self, section):
        """INFO's numbers."""
        pairs = (line.split(":", 1) for line in self.call("INFO", section).splitlines() if ":" in line)
        return {name: float(value) for name, value in pairs if value.replace(".", "", 1).isdigit()}

    def cpu_seconds(self):
        """CPU time of the server's main thread and its others."""
        found = self.info("cpu")
        return found["used_cpu_user"] + found["used_cpu_sys"]

    def stream(self):
        """Entries of the traffic stream, the announces they stand for, and the bytes they credit."""
        first, total = "-", [0, 0, 0, 0]
        while True:
            last, *sums = self.call("EVAL", COUNT, 1, "tracker:traffic", first)
            if sums[0] == 0:
                return dict(zip(("entries", "announces", "uploaded", "downloaded"), total))
            total = [have + more for have, more in zip(total, sums)]
            first = f"({last}"

    def clear_stream(self):
        """Forgets the entries, keeps snapshots and passkeys."""
        self.call("DEL", "tracker:traffic")

    def pause(self):
        self.process.signal(signal.SIGSTOP)

    def resume(self):
        self.process.signal(signal.SIGCONT)

    def stop(self):
        self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
