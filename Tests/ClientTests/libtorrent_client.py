#!/usr/bin/python3
"""A client that is nothing but libtorrent (rasterbar), behind JSON over HTTP. Arguments: home, port, peer port, address."""

import base64
import http.server
import json
import sys

import libtorrent

HOME, PORT, PEER_PORT, ADDRESS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
host = "[%s]" % ADDRESS if ":" in ADDRESS else ADDRESS
session = libtorrent.session({
    "listen_interfaces": "%s:%d" % (host, PEER_PORT), "outgoing_interfaces": ADDRESS,
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    # All torrents at once.
    "active_downloads": -1, "active_seeds": -1, "active_limit": -1, "active_checking": -1,
})
torrents = {}


def state(status):
    if status.state in (status.checking_files, status.checking_resume_data):
        return "Checking"
    if status.flags & libtorrent.torrent_flags.paused:
        return "Paused"
    return "Seeding" if status.is_seeding else "Downloading"


def answer(call):
    if call["method"] == "add":
        info = libtorrent.torrent_info(libtorrent.bdecode(base64.b64decode(call["torrent"])))
        handle = session.add_torrent({"ti": info, "save_path": HOME + "/data"})
        torrents[str(handle.info_hash())] = handle
        return {"id": str(handle.info_hash())}
    handle = torrents[call["id"]]
    if call["method"] == "stop":
        handle.unset_flags(libtorrent.torrent_flags.auto_managed)
        handle.pause()
    status = handle.status()
    return {
        "state": state(status), "done": status.total_done, "uploaded": status.total_payload_upload,
        "received": status.total_payload_download,
        "trackers": [
            {"url": tracker["url"], "working": tracker["fails"] == 0 and bool(tracker["verified"])}
            for tracker in handle.trackers()
        ],
    }


class Calls(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(b"ready")

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(json.dumps(answer(call)).encode())

    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


http.server.HTTPServer(("127.0.0.1", PORT), Calls).serve_forever()
