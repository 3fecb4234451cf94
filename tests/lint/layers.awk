# Read the #include lines of all sources; print those that the design forbids. The tables are the design:
# may[LAYER] names the layers it may include besides itself.
BEGIN {
	may["base"] = ""
	may["cli"] = "base"
	may["image"] = "base"
	may["package"] = "base image"
	may["repo"] = "base image"
	may["snap"] = "base image"
	may["runner"] = "base image"
	may["host"] = "base runner"
	may["guest"] = "base image package"
	may["cmd"] = "base cli image package repo snap runner host guest"
	may["tests"] = may["cmd"] " cmd"
	may["bench"] = ""

	# header (a regular expression) -> where it may be included (another one); what is not here is free
	door["^jansson\\.h$"] = "."
	door["^openssl/"] = "^libcommon/base/libcrypto"
	door["^(zstd|zlib|libdeflate|isa-l|igzip_lib)(/|\\.h|_)"] = "^libcommon/(image/codec|image/format/(qcow2/compress|vmdk/bulk_pack)|image/copy|repo|runner/state_)|^cmd/[a-z]*/(version|main)"
	door["^libvirt/"] = "^libcommon/host/"
	door["^guestfs\\.h$"] = "^libcommon/guest/"
	door["^archive(_entry)?\\.h$"] = "^libcommon/package/"
	door["^libxml/"] = "^libcommon/(package|host)/"
	door["^linux/kvm\\.h$"] = "^(libcommon/runner/|bench/bare[.]c$)"
	door["^curl/"] = "^libcommon/repo/backend_s3"
	door["^fuse(_|\\.h)"] = "^cmd/vmbackup/mount_fuse\\.c"
	door["^libnbd\\.h$"] = "^libcommon/image/protocol/"
	door["^nbdkit-"] = "^cmd/[a-z]*/plugin/"
	door["^xxhash\\.h$"] = "^libcommon/(base|repo|image)/"
	door["^cmocka\\.h$"] = "^tests/unit/"
}

function layer(path,   part) {
	split(path, part, "/")
	return part[1] == "libcommon" ? part[2] : part[1]
}

function complain(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what
	bad = 1
}

FNR == 1 {
	from = layer(FILENAME)
	first = 1
	split(FILENAME, at, "/")
	if (!(from in may))
		complain("layer '" from "' is not in tests/lint/layers.awk")
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
	split($0, quoted, "\"")
	target = quoted[2]
	if (target !~ /^(libcommon|cmd|tests)\//)
		complain("include \"" target "\": name it from the project's folder")
	own = FILENAME
	if (first && own ~ /\.c$/ && sub(/\.c$/, ".h", own) && (getline line < own) >= 0) {
		close(own)
		# A header that one source implements; others (store.h) are shared by several, which say so by their names.
		if (target != own && target ~ /\.h$/ && index(target, "_private.h") == 0 && target !~ /internal\.h$/)
			complain("the first include of a source is its own header, " own)
	}
	first = 0
	to = layer(target)
	if (from != to && index(" " may[from] " ", " " to " ") == 0)
		complain(from " must not include " to ": " target)
	if (from == "cmd" && to == "cmd") {
		split(target, there, "/")
		if (there[2] != at[2])
			complain("cmd/" at[2] " must not include cmd/" there[2])
	}
	# A format knows itself, image/ and base; core knows formats by the table alone.
	if (target ~ /^libcommon\/image\/format\//) {
		format = target
		sub(/^libcommon\/image\/format\//, "", format)
		sub(/[\/.].*/, "", format)
		if (FILENAME !~ "^libcommon/image/format/(" format "[/._]|table\\.c)" && from != "tests" && from != "cmd")
			complain("only its own files and format/table.c include " target)
	}
	if (target ~ /^libcommon\/cli\/internal\.h$/ && from != "cli" && from != "tests")
		complain(target " is private to cli")
	if (from == "base" && target ~ /^libcommon\/(image|repo|cli)/)
		complain("base stands alone")
}

/^[ \t]*#[ \t]*include[ \t]*</ {
	split($0, angle, /[<>]/)
	for (header in door)
		if (angle[2] ~ header && FILENAME !~ door[header] && from != "tests")
			complain("<" angle[2] "> has one door: " door[header])
}

END { exit bad }
