#!/usr/bin/env python3
"""tests/s3server.py PORTFILE [KEY=VALUE]... - the part of S3 that vmbackup uses, in memory, on loopback, with faults to order

Buckets: "bucket". Keys: AKFAKE / SKFAKE. Signatures are checked by code of its own (hmac), independent of ours.

Control, unsigned:
    POST /_control  {"faults": [{"method": "PUT", "path": "packs/", "kind": "reset", "count": 3, "skip": 1}, ...],
                     "ignore_precondition": false, "page": 1000, "clock": 0, "forget": false, "versions": false,
                     "old_requests": false}
    GET  /_log      one JSON line a request: method, path, status
    GET  /_keys     the names of all objects
    GET  /_hidden   those that a DELETE without a version has hidden
save, restore: all objects; damage: some bytes of this object are inverted; lose: it is gone; make: it is there, empty; dump: its bytes in base64; unlock: its lock goes
versions: objects get version ids, and locks count; old_requests: dates of requests are not looked at
With tls="FILE" (certificate and key) it speaks https. Kinds: reset (connection torn before an answer), lost (done, but torn before the answer), stall (no answer for a
minute), truncate (half of a body), flip (one bit of a body), garbage (a body that is no XML), whole (a range is ignored),
noloop (a listing whose token stays the same), or a status with a code: "503 SlowDown", "409
ConditionalRequestConflict".
"""
import base64
import hashlib
import hmac
import http.server
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

SECRET = {"AKFAKE": "SKFAKE"}
lock = threading.Lock()
objects = {}  # name in the bucket -> (bytes, headers)
modified = {}
saved = {}
hidden = []  # names of what a marker hides
state = {"faults": [], "ignore_precondition": False, "page": 1000, "clock": 0, "versions": False, "made": 0,
         "old_requests": False}
log = []


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


def sign(secret, day, region, text):
    key = ("AWS4" + secret).encode()
    for part in (day, region, "s3", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


class Refused(Exception):
    def __init__(self, status, code):
        self.status, self.code = status, code


class Torn(Exception):
    pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def tear(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        raise Torn

    def fault(self):
        for f in state["faults"]:
            if f.get("method", self.command) == self.command and f.get("path", "") in self.path:
                if f.get("skip", 0) > 0:
                    f["skip"] -= 1
                elif f["count"] > 0:
                    f["count"] -= 1
                    return f["kind"]
        return None

    def authorize(self, path, query, body):
        auth = self.headers.get("Authorization", "")
        if not auth.startswith("AWS4-HMAC-SHA256 "):
            raise Refused(403, "AccessDenied")
        fields = dict(p.strip().split("=", 1) for p in auth[17:].split(","))
        access, day, region, _, _ = fields["Credential"].split("/")
        if access not in SECRET:
            raise Refused(403, "InvalidAccessKeyId")
        date = self.headers["x-amz-date"]
        now = time.time() + state["clock"]
        if abs(time.mktime(time.strptime(date + " UTC", "%Y%m%dT%H%M%SZ %Z")) - time.timezone - now) > 900 and not state["old_requests"]:
            raise Refused(403, "RequestTimeTooSkewed")
        if region != "us-east-1":
            raise Refused(400, "AuthorizationHeaderMalformed")
        names = fields["SignedHeaders"].split(";")
        if names != sorted(names) or "host" not in names:
            raise Refused(403, "AccessDenied")
        lines = [self.command, quote(path, "/"),
                 "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query)),
                 *(f"{n}:{' '.join(self.headers[n].split())}" for n in names), "", ";".join(names),
                 self.headers["x-amz-content-sha256"]]
        text = "\n".join(["AWS4-HMAC-SHA256", date, f"{day}/{region}/s3/aws4_request",
                          hashlib.sha256("\n".join(lines).encode()).hexdigest()])
        if not hmac.compare_digest(sign(SECRET[access], day, region, text), fields["Signature"]):
            raise Refused(403, "SignatureDoesNotMatch")
        if hashlib.sha256(body).hexdigest() != self.headers["x-amz-content-sha256"]:
            raise Refused(400, "XAmzContentSHA256Mismatch")

    def answer(self, status, body=b"", headers=(), declared=None):
        with lock:
            log.append({"method": self.command, "path": self.path, "status": status})
        self.send_response(status)
        for k, v in headers:
            self.send_header(k, v)
        if status != 204 and status != 304:
            self.send_header("Content-Length", str(len(body) if declared is None else declared))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if url.path.startswith("/_"):
            return self.control(url.path, body)
        with lock:
            kind = self.fault()
        if kind in ("reset", "stall"):
            with lock:
                log.append({"method": self.command, "path": self.path, "status": kind})
            if kind == "stall":
                time.sleep(60)
            self.tear()
        try:
            if kind and kind[0].isdigit():
                raise Refused(int(kind.split()[0]), kind.split()[1])
            path = urllib.parse.unquote(url.path)
            query = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
            self.authorize(path, query, body)
            self.operate(path, dict(query), body, kind)
        except Refused as r:
            self.answer(r.status, f"<?xml version='1.0'?><Error><Code>{r.code}</Code><Message>no &amp; "
                        f"never</Message></Error>".encode())

    def operate(self, path, query, body, kind):
        _, bucket, *rest = path.split("/", 2)
        name = rest[0] if rest else ""
        if bucket != "bucket":
            raise Refused(404, "NoSuchBucket")
        if self.command == "GET" and not name:
            return self.list(query, kind)
        if self.command == "PUT":
            if self.headers.get("x-amz-object-lock-mode") and \
                    base64.b64decode(self.headers.get("content-md5", "")) != hashlib.md5(body).digest():
                raise Refused(400, "InvalidRequest")
            with lock:
                exists = name in objects
                if exists and self.headers.get("If-None-Match") == "*" and not state["ignore_precondition"]:
                    raise Refused(412, "PreconditionFailed")
                state["made"] += 1
                version = [("x-amz-version-id", f"v{state['made']}")] if state["versions"] else []
                modified[name] = time.time() + state["clock"]
                objects[name] = (body, version + [(k, v) for k, v in self.headers.items() if k.lower().startswith(("x-amz-meta-", "x-amz-object-lock-"))])
            if kind == "lost":
                with lock:
                    log.append({"method": "PUT", "path": self.path, "status": kind})
                self.tear()
            return self.answer(200, headers=[("ETag", f"\"{hashlib.md5(body).hexdigest()}\"")] + version)
        with lock:
            found = objects.get(name)
            if self.command == "DELETE" and found:
                self.delete(name, dict((k.lower(), v) for k, v in found[1]), query.get("versionId"))
        if self.command == "DELETE":
            if kind == "lost":
                with lock:
                    log.append({"method": "DELETE", "path": self.path, "status": kind})
                self.tear()
            return self.answer(204)
        if not found:
            raise Refused(404, "NoSuchKey")
        return self.send(*found, kind)

    @staticmethod
    def delete(name, headers, version):
        """A version, which a lock may forbid; or a marker that hides it"""
        if version:
            until = headers.get("x-amz-object-lock-retain-until-date")
            if version != headers.get("x-amz-version-id"):
                return
            if until and time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + state["clock"])) < until:
                raise Refused(403, "AccessDenied")
        elif state["versions"]:
            hidden.append(name)
        del objects[name]

    def send(self, data, headers, kind):
        etag = '"' + hashlib.md5(data).hexdigest() + '"'
        headers = headers + [("ETag", etag)]
        if self.headers.get("If-None-Match") == etag:
            return self.answer(304, headers=headers)
        status, wanted = 200, self.headers.get("Range")
        if wanted and kind != "whole":
            first, last = (int(x) for x in wanted[6:].split("-"))
            if first >= len(data):
                raise Refused(416, "InvalidRange")
            status, total = 206, len(data)
            data = data[first:last + 1]
            headers.append(("Content-Range", f"bytes {first}-{first + len(data) - 1}/{total}"))
        if kind == "flip" and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        if kind == "truncate":
            self.answer(status, data[:len(data) // 2], headers, len(data))
            self.tear()
        return self.answer(status, data, headers)

    def list(self, query, kind):
        if kind == "garbage":
            return self.answer(200, b"<html><body>not today</html>")
        if query.get("list-type") != "2":
            raise Refused(400, "InvalidArgument")
        prefix, token = query.get("prefix", ""), query.get("continuation-token", "")
        with lock:
            names = sorted(n for n in objects if n.startswith(prefix) and n > token)
            sizes = {n: (len(objects[n][0]), hashlib.md5(objects[n][0]).hexdigest(),
                         time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(modified[n]))) for n in names}
        page, more = names[:state["page"]], len(names) > state["page"]
        if kind == "noloop":
            page, more = names[:1], True
        xml = "<?xml version='1.0' encoding='UTF-8'?>\n<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
        xml += f"<Name>bucket</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>{str(more).lower()}</IsTruncated>"
        for n in page:
            xml += f"<Contents><Key>{escape(n)}</Key><LastModified>{sizes[n][2]}</LastModified><ETag>&quot;{sizes[n][1]}&quot;</ETag><Size>{sizes[n][0]}</Size><Owner><ID>x</ID></Owner></Contents>"
        if more:
            xml += f"<NextContinuationToken>{escape('same' if kind == 'noloop' else page[-1])}</NextContinuationToken>"
        return self.answer(200, (xml + "</ListBucketResult>").encode())

    def control(self, path, body):
        if path == "/_control":
            order = json.loads(body)
            with lock:
                if order.pop("forget", False):
                    objects.clear()
                if order.pop("save", False):
                    saved.update(objects=dict(objects), modified=dict(modified))
                if order.pop("restore", False):
                    objects.clear()
                    objects.update(saved["objects"])
                    modified.update(saved["modified"])
                name = order.pop("damage", None)
                if name:
                    data, headers = objects[name]
                    objects[name] = (data[:5000] + bytes(b ^ 255 for b in data[5000:6000]) + data[6000:], headers)
                objects.pop(order.pop("lose", None), None)
                name = order.pop("make", None)
                if name:
                    objects[name], modified[name] = (b"", []), time.time() + state["clock"]
                name = order.pop("dump", None)
                answer = base64.b64encode(objects[name][0]) if name else b""
                name = order.pop("unlock", None)
                if name:
                    objects[name] = (objects[name][0], [h for h in objects[name][1] if "lock" not in h[0].lower()])
                state.update(order)
                log.clear()
            return self.plain(answer)
        with lock:
            lines = log if path == "/_log" else hidden if path == "/_hidden" else sorted(objects)
            return self.plain("".join((l if isinstance(l, str) else json.dumps(l)) + "\n" for l in lines).encode())

    def plain(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (Torn, ConnectionError, ValueError):
            self.close_connection = True

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = serve

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() + state["clock"])


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


def main():
    for arg in sys.argv[2:]:
        key, value = arg.split("=", 1)
        state[key] = json.loads(value)
    server = Server(("127.0.0.1", 0), Handler)
    if "tls" in state:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(state["tls"])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as f:
        f.write(str(server.server_address[1]))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()


main()
