#!/bin/sh
# tests/fuzz/seeds-share.sh - write tests/fuzz/corpus/fuzz_share/: what a kernel asks for, and names that lead out
set -eu
cd "$(dirname "$0")/corpus"
mkdir -p fuzz_share
python3 - <<'END'
import struct
def req(op, node, arg=b"", room=100, pieces=1):
    body = struct.pack("<IIQQIIII", 40 + len(arg), op, 7, node, 0, 0, 0, 0) + arg
    return struct.pack("<HBB", len(body), pieces - 1, room) + body
def seed(name, *reqs): open("fuzz_share/" + name, "wb").write(b"".join(reqs))
LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK = 1, 2, 3, 4, 5, 6
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE, STATFS, RELEASE = 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18
FSYNC, SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR = 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
CREATE, BATCH_FORGET, FALLOCATE, RENAME2, LSEEK, COPY = 35, 42, 43, 45, 46, 47
z = lambda s: s.encode() + b"\0"
file = req(LOOKUP, 1, z("file"))                       # node 2
opened = file + req(OPEN, 2, struct.pack("<II", 2, 0))   # handle 0
read = lambda node, fh, off, n: struct.pack("<QQIIQII", fh, off, n, 0, 0, 0, 0)
write = lambda fh, off, data: struct.pack("<QQIIQII", fh, off, len(data), 0, 0, 0, 0) + data
seed("read", opened, req(READ, 2, read(2, 0, 0, 100), pieces=3), req(RELEASE, 2, struct.pack("<QIIQ", 0, 0, 0, 0)))
seed("write", opened, req(WRITE, 2, write(0, 5, b"hello"), pieces=2), req(FSYNC, 2, struct.pack("<QII", 0, 1, 0)),
     req(FLUSH, 2, struct.pack("<QIIQ", 0, 0, 0, 0)), req(FALLOCATE, 2, struct.pack("<QQQII", 0, 0, 100, 3, 0)),
     req(LSEEK, 2, struct.pack("<QQII", 0, 0, 4, 0)), req(COPY, 2, struct.pack("<QQQQQQQ", 0, 0, 2, 0, 50, 5, 0)))
seed("attr", file, req(GETATTR, 2, struct.pack("<IIQ", 0, 0, 0)), req(SETATTR, 2, struct.pack("<IIQQQQQQIIIIIIII", 0x79, 0, 0, 3, 0, 1, 2, 3, 4, 5, 6, 0o640, 0, 0, 0, 0)),
     req(STATFS, 1), req(SETXATTR, 2, struct.pack("<II", 3, 0) + z("user.a") + b"abc"), req(GETXATTR, 2, struct.pack("<II", 9, 0) + z("user.a")),
     req(LISTXATTR, 2, struct.pack("<II", 0, 0)), req(REMOVEXATTR, 2, z("user.a")))
seed("list", req(OPENDIR, 1, struct.pack("<II", 0, 0)), req(READDIR, 1, read(1, 0, 0, 4096)), req(READDIR, 1, read(1, 0, 3, 64)),
     req(FSYNCDIR, 1, struct.pack("<QII", 0, 0, 0)), req(RELEASEDIR, 1, struct.pack("<QIIQ", 0, 0, 0, 0)))
seed("make", req(MKDIR, 1, struct.pack("<II", 0o755, 0) + z("d")), req(MKNOD, 1, struct.pack("<IIII", 0o100644, 0, 0, 0) + z("n")),
     req(SYMLINK, 1, z("l") + z("../secret")), req(READLINK, 4), req(CREATE, 2, struct.pack("<IIII", 0x42, 0o644, 0, 0) + z("new")),
     req(LINK, 1, struct.pack("<Q", 3) + z("hard")), req(RENAME, 1, struct.pack("<Q", 2) + z("n") + z("m")),
     req(RENAME2, 1, struct.pack("<QII", 2, 2, 0) + z("hard") + z("new")), req(UNLINK, 2, z("m")), req(RMDIR, 1, z("d")))
seed("out", req(LOOKUP, 1, z("out")), req(READLINK, 2), req(OPEN, 2, struct.pack("<II", 2, 0)), req(LOOKUP, 1, z("..")), req(LOOKUP, 2, z("secret")),
     req(CREATE, 1, struct.pack("<IIII", 0x41, 0o644, 0, 0) + z("out")), req(UNLINK, 1, z("../secret")), req(LINK, 1, struct.pack("<Q", 2) + z("x")),
     req(RENAME, 1, struct.pack("<Q", 1) + z("file") + z("../secret")), req(SETATTR, 2, struct.pack("<IIQQQQQQIIIIIIII", 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)))
seed("forget", req(LOOKUP, 1, z("sub")), req(LOOKUP, 2, z("deep")), req(FORGET, 2, struct.pack("<Q", 1), 0), req(BATCH_FORGET, 0, struct.pack("<IIQQ", 1, 0, 3, 9), 0),
     req(GETATTR, 2, struct.pack("<IIQ", 0, 0, 0)))
seed("short", req(LOOKUP, 1, b"file"), req(WRITE, 1, b"x"), req(4000, 1), struct.pack("<HBB", 3, 0, 9) + b"abc")
END
