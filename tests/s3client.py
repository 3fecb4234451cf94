#!/usr/bin/env python3
"""tests/s3client.py METHOD PATH[?QUERY] [HEADER:VALUE]... - one signed request to AWS_ENDPOINT_URL, for what tests need beside
vmbackup (buckets, a look at objects); the body comes from standard input for PUT and POST, headers with -i; status 1 for
answers of 300 and above. Shares no code with ours."""
import hashlib
import hmac
import http.client
import os
import sys
import time
import urllib.parse

arguments = sys.argv[1:]
show = arguments[0] == "-i"
method, target, *extra = arguments[show:]
endpoint = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
body = sys.stdin.buffer.read() if method in ("PUT", "POST") else b""
path, _, query = target.partition("?")
date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
digest = hashlib.sha256(body).hexdigest()
headers = {"host": endpoint.netloc, "x-amz-date": date, "x-amz-content-sha256": digest}
headers.update((h.split(":", 1)[0].lower(), h.split(":", 1)[1]) for h in extra)
names = sorted(headers)
pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
query = "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for k, v in pairs)
canonical = "\n".join([method, urllib.parse.quote(path, safe="/-_.~"), query, *(f"{n}:{headers[n]}" for n in names), "",
                       ";".join(names), digest])
scope = f"{date[:8]}/us-east-1/s3/aws4_request"
key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
for part in (*scope.split("/"), "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])):
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope},"
                            f"SignedHeaders={';'.join(names)},Signature={key.hex()}")
connection = http.client.HTTPConnection(endpoint.netloc, timeout=60)
connection.request(method, urllib.parse.quote(path, safe="/-_.~") + ("?" + query if query else ""), body, headers)
answer = connection.getresponse()
if show:
    for name, value in answer.getheaders():
        print(f"{name.lower()}: {value}")
sys.stdout.flush()
sys.stdout.buffer.write(answer.read())
sys.exit(answer.status >= 300)
