# Marked announces for bench-latency: each of 100 users of its own moves a number of bytes nobody else moves, and its row is
# read until it shows them. Arguments: UDP port, database, seconds.
import os, random, socket, sqlite3, struct, sys, time

port, path, seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", port))
client.settimeout(2)


def ask(message, action):
    for _ in range(5):
        client.send(message)
        try:
            reply = client.recv(4096)
        except TimeoutError:
            continue
        if struct.unpack(">I", reply[:4])[0] == action:
            return reply
        raise SystemExit("tracker: " + reply[8:].decode(errors="replace"))
    raise SystemExit("the tracker does not answer")


connection = ask(struct.pack(">QII", 0x41727101980, 0, 1), 0)[8:16]


def announce(user, uploaded):
    data = b"/announce/%032x" % (1000 + user)
    ask(
        connection + struct.pack(">II", 1, user) + b"\xee" * 20 + b"-XX0001-%012d" % user
        + struct.pack(">QQQIIIIH", 0, 0, uploaded, 0, 0, user, 0, 6881) + bytes([2, len(data)]) + data, 1)


total = [1] * 100
for user in range(100):
    announce(user, 1)
database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
latencies, waiting = [], {}
end = time.monotonic() + seconds
user = 0
while time.monotonic() < end or waiting:
    if time.monotonic() > end + 10:
        raise SystemExit(f"{len(waiting)} announces are not there after ten seconds")
    if time.monotonic() < end and user not in waiting:
        total[user] += random.randrange(1, 1 << 30)
        start = time.monotonic()
        announce(user, total[user])
        waiting[user] = (start, total[user] - 1)
    user = (user + 1) % 100
    rows = dict(database.execute(
        "SELECT passkey, uploaded FROM users WHERE passkey IN (%s)" % ",".join("'%032x'" % (1000 + u) for u in waiting)))
    now = time.monotonic()
    for one, (start, bytes_) in list(waiting.items()):
        if rows.get("%032x" % (1000 + one)) == bytes_:
            latencies.append(now - start)
            del waiting[one]
    time.sleep(0.005)
latencies.sort()
count = len(latencies)
print(
    f"announce to queryable: {count} marked announces, median {latencies[count // 2] * 1000:.0f} ms, "
    f"p99 {latencies[count * 99 // 100] * 1000:.0f} ms, max {latencies[-1] * 1000:.0f} ms")
