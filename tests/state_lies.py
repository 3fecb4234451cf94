#!/usr/bin/env python3
"""tests/state_lies.py STATE TARGET SEED - a saved machine whose description says something else, with digests that fit.

SEED: nets=JSON says that of its network interfaces.
"""
import hashlib
import json
import random
import struct
import sys

AT_SECTIONS, AT_DIGEST, AT_HEAD_DIGEST = 40, 64, 4032


def sections(data):
    at, found = 0, []
    while at < len(data):
        tag, index, length = struct.unpack_from("<4sIQ", data, at)
        found.append((tag, index, data[at + 16:at + 16 + length]))
        at += 16 + (length + 7) // 8 * 8
    return found


def joined(found):
    out = b""
    for tag, index, data in found:
        out += struct.pack("<4sIQ", tag, index, len(data)) + data + bytes(-len(data) % 8)
    return out


def lie(found, r):
    i = r.randrange(len(found))
    # The small ones as often as the large
    tag, index, data = found[i]
    data = bytearray(data)
    how = r.randrange(7)
    if how == 0:
        del found[i]
        return
    if how == 1:
        data = data[:r.randrange(len(data) + 1)]
    elif how == 2:
        data += bytes(r.randrange(1, 64))
    elif how == 3:
        index ^= 1 << r.randrange(32)
    else:
        for _ in range(r.choice([1, 1, 8, 64])):
            if not data:
                break
            at = r.randrange(len(data))
            if how == 4:
                data[at] ^= 1 << r.randrange(8)
            elif at + 8 <= len(data):
                value = r.choice([0, 1, 2**64 - 1, 2**63, 0xFFFFFFFF, 2**40, 4096])
                data[at // 8 * 8:at // 8 * 8 + 8] = struct.pack("<Q", value)
    found[i] = (tag, index, bytes(data))


def say_nets(found, nets):
    for i, (tag, index, data) in enumerate(found):
        if tag == b"CONF":
            conf = json.loads(data)
            conf["nets"] = nets
            found[i] = (tag, index, json.dumps(conf).encode())


source, target, seed = sys.argv[1], sys.argv[2], sys.argv[3]
r = random.Random(seed if seed.startswith("nets=") else int(seed))
state = bytearray(open(source, "rb").read())
offset, length = struct.unpack_from("<QQ", state, AT_SECTIONS)
found = sections(bytes(state[offset:offset + length]))
if seed.startswith("nets="):
    say_nets(found, json.loads(seed[5:]))
for _ in range(0 if seed.startswith("nets=") else r.choice([1, 1, 2, 5])):
    if found:
        lie(found, r)
data = joined(found)
if not seed.startswith("nets=") and r.randrange(6) == 0:  # the head too
    at = r.choice([16, 24, 32, 40, 48, 56])
    struct.pack_into("<Q", state, at, r.choice([0, 4096, 2**63, 2**64 - 1, 2**40, 8 << 20]))
else:
    struct.pack_into("<QQ", state, AT_SECTIONS, offset, len(data))
    struct.pack_into("<Q", state, 56, offset + len(data))
state[offset:] = data
state[AT_DIGEST:AT_DIGEST + 64] = hashlib.sha256(data).hexdigest().encode()
state[AT_HEAD_DIGEST:4096] = hashlib.sha256(state[:AT_HEAD_DIGEST]).hexdigest().encode()
open(target, "wb").write(state)
