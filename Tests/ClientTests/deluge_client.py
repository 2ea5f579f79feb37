#!/usr/bin/python3
"""Deluge's daemon with its core behind JSON over HTTP. Arguments: home, port, peer port, address.

Debian 12's deluged 2.0.3 falls into a loop of exceptions with Debian 12's Python 3.11, whose logging gives findCaller() one
argument more, and misses a function that gettext lost. The two are put right here, and the daemon, otherwise as it is,
runs in this process.
"""

import gettext
import json
import os
import sys

HOME, PORT, PEER_PORT, ADDRESS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

gettext.bind_textdomain_codeset = lambda *_: None
import deluge.log

deluge.log.Logging.findCaller = lambda self, stack_info=False, stacklevel=1: ("", 0, "", None)

import deluge.component
import deluge.configmanager
from twisted.internet import reactor
from twisted.web import resource, server

SETTINGS = {
    # It puts the port behind the address, and so needs the brackets.
    "listen_interface": "[%s]" % ADDRESS if ":" in ADDRESS else ADDRESS, "outgoing_interface": ADDRESS,
    "listen_ports": [PEER_PORT, PEER_PORT], "random_port": False, "download_location": HOME + "/data",
    "dht": False, "upnp": False, "natpmp": False, "lsd": False, "new_release_check": False,
    # All torrents at once.
    "max_active_seeding": -1, "max_active_downloading": -1, "max_active_limit": -1,
}
deluge.configmanager.set_config_dir(HOME)
with open(HOME + "/core.conf", "w") as file:
    file.write(json.dumps({"file": 1, "format": 1}) + json.dumps(SETTINGS))

from deluge.core.daemon import Daemon

daemon = Daemon(interface="127.0.0.1", port=0)


def answer(call):
    if call["method"] == "add":
        return {"id": deluge.component.get("Core").add_torrent_file("a.torrent", call["torrent"], {})}
    torrent = deluge.component.get("TorrentManager")[call["id"]]
    if call["method"] == "stop":
        torrent.pause()
    status = torrent.handle.status()
    return {
        "state": torrent.state, "done": status.total_done, "uploaded": status.total_payload_upload,
        "received": status.total_payload_download,
        "trackers": [
            {"url": tracker["url"], "working": tracker["fails"] == 0 and bool(tracker["verified"])}
            for tracker in torrent.handle.trackers()
        ],
    }


class Calls(resource.Resource):
    isLeaf = True

    def render_GET(self, request):
        return b"ready"

    def render_POST(self, request):
        return json.dumps(answer(json.loads(request.content.read()))).encode()


reactor.listenTCP(PORT, server.Site(Calls()), interface="127.0.0.1")
daemon.start()
