"""Plays the release host for UpdateTests: FOLDER/<tag>/<file> at /releases/download/<tag>/<file>, and the redirect of
/releases/latest to the tag that FOLDER/latest names. A file FOLDER/<tag>/<file>.cut is sent in half, with the length of the
whole. Prints its port."""

import http.server
import os
import sys

folder = sys.argv[1]


class Host(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        parts = self.path.strip("/").split("/")
        if parts == ["releases", "latest"] and os.path.exists(folder + "/latest"):
            self.send_response(302)
            self.send_header("Location", "/releases/tag/" + open(folder + "/latest").read().strip())
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif parts[:2] == ["releases", "tag"]:
            self.body(b"a page", with_body)
        elif parts[:2] == ["releases", "download"] and os.path.exists("/".join([folder] + parts[2:])):
            data = open("/".join([folder] + parts[2:]), "rb").read()
            self.body(data, with_body, os.path.exists("/".join([folder] + parts[2:]) + ".cut"))
        else:
            self.send_error(404)

    def body(self, data, with_body, is_cut=False):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data[: len(data) // 2] if is_cut else data)

    def log_message(self, format, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
print(server.server_address[1], flush=True)
server.serve_forever()
