#compdef vmimg
# zsh completion for vmimg, made by "vmimg __completion zsh"

_vmimg_dynamic() {
	local -a found settings
	local i
	local -a line=(${(Q)${(z)BUFFER}})
	for ((i = 2; i <= $#line; i++)); do
		case $line[i] in
		esac
	done
	found=(${(f)"$(env $settings vmimg __complete $1 "$PREFIX" 2>/dev/null)"})
	compadd -- $found
}

_vmimg() {
	local curcontext="$curcontext" state
	local -a line verbs
	typeset -A opt_args
	_arguments -C -S \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'1:verb:->verb' \
		'*::argument:->arguments'
	case $state in
	(verb)
		verbs=(
			'info:show format, sizes, backing file, snapshots, bitmaps'
			'convert:copy an image into a new one, of another format if wanted'
			'create:make a new empty image'
			'check:look for faults in the metadata, and mend them'
			'compare:say whether two images hold the same disk'
			'map:show which ranges hold data, and where they lie'
			'measure:say how large a new image of another format would be'
			'digest:print a digest of the disk'\''s content, independent of the format'
			'resize:make a disk larger or smaller, in place'
			'commit:write what an overlay holds into its backing file'
			'rebase:put an overlay on another backing file'
			'sparsify:give back what the file systems of a disk do not use'
			'serve:serve an image of any format as a network block device (NBD)'
			'inspect:show partitions, file systems and the installed system of a disk'
			'ls:list files that are inside of a disk'
			'cat:print files that are inside of a disk'
			'get:copy files and folders out of a disk'
			'put:copy files into a file system of a disk'
		)
		_describe verb verbs
		return ;;
	esac
	case $line[1] in
	(info)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; probed without it]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; probed without it]:FORMAT: _vmimg_dynamic format' \
		'--chain[show the backing files too, top first]' \
		'(-U --force-share)-U[read it even while another process writes to it]' \
		'(-U --force-share)--force-share[read it even while another process writes to it]' \
		'*--allow-backing=[folder that backing files may lie in, beside that of the image; may be repeated]:DIR:_files -/' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(convert)
		_arguments -s -S \
		'(-f --format)-f+[format of the source; without it the source is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the source; without it the source is probed]:FORMAT: _vmimg_dynamic format' \
		'(-O --target-format)-O+[format of the target; without it the target'\''s suffix tells, and - is raw]:FORMAT: _vmimg_dynamic format' \
		'(-O --target-format)--target-format=[format of the target; without it the target'\''s suffix tells, and - is raw]:FORMAT: _vmimg_dynamic format' \
		'*-o+[an option of the target'\''s format, as cluster_size=1M; several with commas]:KEY=VALUE:' \
		'*--option=[an option of the target'\''s format, as cluster_size=1M; several with commas]:KEY=VALUE:' \
		'--for=[what this cloud or hypervisor takes\: format, options, size]:TARGET:(azure aws gce esxi hyperv virtualbox openstack proxmox )' \
		'(-c --compress)-c[compress\: zstd or zlib; without a value what suits the format]' \
		'(-c --compress)--compress=-[compress\: zstd or zlib; without a value what suits the format]::ALGORITHM\[\:LEVEL\]:' \
		'--digest=[print the digest of the disk'\''s content, computed on the way]:ALGORITHM: _vmimg_dynamic digest' \
		'--verify[read the target back and compare it with the source]' \
		'--resume[go on with what an interrupted convert --resume left, if source and options are the same]' \
		'--snapshot=[read this internal snapshot of the source, by name or id]:NAME:' \
		'(-B --backing)-B+[store only what differs from this backing file]:FILE:_files' \
		'(-B --backing)--backing=[store only what differs from this backing file]:FILE:_files' \
		'(-F --backing-format)-F+[format of the backing file]:FORMAT: _vmimg_dynamic format' \
		'(-F --backing-format)--backing-format=[format of the backing file]:FORMAT: _vmimg_dynamic format' \
		'*--allow-backing=[folder outside of the image'\''s own where its chain may lead]:DIR:_files -/' \
		'--disk=[the disk of an OVA or OVF to read\: its id, file name or number]:NAME:' \
		'--name=[to an OVA\: name of the machine; default\: that of the target]:NAME:' \
		'--cpus=[to an OVA\: virtual processors (1)]:N:' \
		'--memory=[to an OVA\: memory, rounded up to 4 MiB (1G)]:SIZE:' \
		'--firmware=[to an OVA\: what boots the machine (bios)]:FIRMWARE:(bios efi efi-secure )' \
		'*--nic=[to an OVA\: a network card (e1000, e1000e, vmxnet3, pcnet32); may be repeated]:NETWORK\[,MODEL\]:' \
		'--os=[to an OVA\: operating system, as debian or windows, or its number in CIM]:SYSTEM:' \
		'--domain-xml=[to an OVA\: take from a libvirt domain what the options do not say]:FILE:_files' \
		'--force[replace an existing target, write to a device]' \
		'--threads=[threads; default\: the processors this process may use]:N:' \
		'--rate-limit=[read at most this many bytes of data a second]:SIZE:' \
		'(-U --force-share)-U[read a source that another process may be writing]' \
		'(-U --force-share)--force-share[read a source that another process may be writing]' \
		'--no-sync[do not wait until the target is on the disk]' \
		'--dry-run[check everything, write nothing]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(create)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; without it the file'\''s suffix tells]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the file'\''s suffix tells]:FORMAT: _vmimg_dynamic format' \
		'*-o+[an option of the format, as cluster_size=1M; several with commas]:KEY=VALUE:' \
		'*--option=[an option of the format, as cluster_size=1M; several with commas]:KEY=VALUE:' \
		'--for=[what this cloud or hypervisor takes\: format, options, size]:TARGET:(azure aws gce esxi hyperv virtualbox openstack proxmox )' \
		'(-b --backing)-b+[the image shows this file where nothing has been written; kept as given]:FILE:_files' \
		'(-b --backing)--backing=[the image shows this file where nothing has been written; kept as given]:FILE:_files' \
		'(-F --backing-format)-F+[format of the backing file]:FORMAT: _vmimg_dynamic format' \
		'(-F --backing-format)--backing-format=[format of the backing file]:FORMAT: _vmimg_dynamic format' \
		'*--allow-backing=[folder outside of the image'\''s own where the backing file may lie]:DIR:_files -/' \
		'--force[replace an existing file]' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(check)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; probed without it]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; probed without it]:FORMAT: _vmimg_dynamic format' \
		'--repair=-[mend\: leaks alone, or (the default) all that can be mended without guessing]::VALUE:(leaks all )' \
		'--deep[decompress every compressed cluster too]' \
		'(-U --force-share)-U[check even while another process writes to it; faults may then be seen that are none]' \
		'(-U --force-share)--force-share[check even while another process writes to it; faults may then be seen that are none]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(compare)
		_arguments -s -S \
		'(-f --format)-f+[format of the first image]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the first image]:FORMAT: _vmimg_dynamic format' \
		'(-F --second-format)-F+[format of the second image]:FORMAT: _vmimg_dynamic format' \
		'(-F --second-format)--second-format=[format of the second image]:FORMAT: _vmimg_dynamic format' \
		'(-s --strict)-s[disks of different sizes differ, even if the rest of the longer one is zero]' \
		'(-s --strict)--strict[disks of different sizes differ, even if the rest of the longer one is zero]' \
		'(-a --all)-a[go on after the first difference and count the 4 KiB blocks that differ]' \
		'(-a --all)--all[go on after the first difference and count the 4 KiB blocks that differ]' \
		'*--allow-backing=[folder outside of an image'\''s own where its chain may lead]:DIR:_files -/' \
		'(-U --force-share)-U[read images that another process may be writing]' \
		'(-U --force-share)--force-share[read images that another process may be writing]' \
		'--threads=[threads; default\: the processors this process may use]:N:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(map)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; probed without it]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; probed without it]:FORMAT: _vmimg_dynamic format' \
		'(-s --start-offset)-s+[begin at this offset of the virtual disk]:SIZE:' \
		'(-s --start-offset)--start-offset=[begin at this offset of the virtual disk]:SIZE:' \
		'(-l --max-length)-l+[show this many bytes at most]:SIZE:' \
		'(-l --max-length)--max-length=[show this many bytes at most]:SIZE:' \
		'--data[leave out what reads as zero]' \
		'--snapshot=[map this internal snapshot, by name or id]:NAME:' \
		'(-U --force-share)-U[read it even while another process writes to it]' \
		'(-U --force-share)--force-share[read it even while another process writes to it]' \
		'*--allow-backing=[folder that backing files may lie in, beside that of the image; may be repeated]:DIR:_files -/' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(measure)
		_arguments -s -S \
		'(-O --target-format)-O+[format of the new image (default\: raw)]:FORMAT: _vmimg_dynamic format' \
		'(-O --target-format)--target-format=[format of the new image (default\: raw)]:FORMAT: _vmimg_dynamic format' \
		'*-o+[an option of that format, as cluster_size=1M; several with commas]:KEY=VALUE:' \
		'*--option=[an option of that format, as cluster_size=1M; several with commas]:KEY=VALUE:' \
		'--for=[what this cloud or hypervisor takes\: format, options, size]:TARGET:(azure aws gce esxi hyperv virtualbox openstack proxmox )' \
		'--size=[of an empty disk of this size]:SIZE:' \
		'--scan[read the data and leave zeros out, as convert does\: an exact figure]' \
		'(-f --format)-f+[format of the source; without it the source is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the source; without it the source is probed]:FORMAT: _vmimg_dynamic format' \
		'--snapshot=[measure this internal snapshot, by name or id]:NAME:' \
		'*--allow-backing=[folder outside of the image'\''s own where its chain may lead]:DIR:_files -/' \
		'(-U --force-share)-U[read a source that another process may be writing]' \
		'(-U --force-share)--force-share[read a source that another process may be writing]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(digest)
		_arguments -s -S \
		'(-a --algorithm)-a+[sha256 (default), sha512, sha384, sha1, blake2b or md5]:ALGORITHM: _vmimg_dynamic digest' \
		'(-a --algorithm)--algorithm=[sha256 (default), sha512, sha384, sha1, blake2b or md5]:ALGORITHM: _vmimg_dynamic digest' \
		'(-f --format)-f+[format of the images; without it they are probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the images; without it they are probed]:FORMAT: _vmimg_dynamic format' \
		'--snapshot=[read this internal snapshot, by name or id]:NAME:' \
		'*--allow-backing=[folder outside of an image'\''s own where its chain may lead]:DIR:_files -/' \
		'(-U --force-share)-U[read images that another process may be writing]' \
		'(-U --force-share)--force-share[read images that another process may be writing]' \
		'--threads=[threads; default\: the processors this process may use]:N:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(resize)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'--shrink[allow a smaller size]' \
		'--force[shrink even if partitions or data beyond the new end are lost]' \
		'--keep-table[leave the partition table alone]' \
		'*--allow-backing=[folder outside of the image'\''s own where its chain may lead]:DIR:_files -/' \
		'--dry-run[say what would be done, write nothing]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(commit)
		_arguments -s -S \
		'(-f --format)-f+[format of the overlay; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the overlay; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-k --keep)-k[leave the overlay as it is]' \
		'(-k --keep)--keep[leave the overlay as it is]' \
		'*--allow-backing=[folder outside of the image'\''s own where its chain may lead]:DIR:_files -/' \
		'--threads=[threads; default\: the processors this process may use]:N:' \
		'--dry-run[say what would be written, write nothing]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(rebase)
		_arguments -s -S \
		'(-b --backing)-b+[the new backing file, relative to IMAGE'\''s folder; kept as given; ""\: none]:FILE:_files' \
		'(-b --backing)--backing=[the new backing file, relative to IMAGE'\''s folder; kept as given; ""\: none]:FILE:_files' \
		'(-F --backing-format)-F+[format of the backing file]:FORMAT: _vmimg_dynamic format' \
		'(-F --backing-format)--backing-format=[format of the backing file]:FORMAT: _vmimg_dynamic format' \
		'(-u --unsafe)-u[change the header alone\: for a backing file that was moved, or whose format shall be stated]' \
		'(-u --unsafe)--unsafe[change the header alone\: for a backing file that was moved, or whose format shall be stated]' \
		'(-f --format)-f+[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'*--allow-backing=[folder outside of the image'\''s own where its chain may lead]:DIR:_files -/' \
		'--threads=[threads; default\: the processors this process may use]:N:' \
		'--dry-run[say what would be written, write nothing]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(sparsify)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'*--partition=[only this partition; may be repeated]:NUMBER:' \
		'(-O --target-format)-O+[format of the target; without it the target'\''s suffix tells]:FORMAT: _vmimg_dynamic format' \
		'(-O --target-format)--target-format=[format of the target; without it the target'\''s suffix tells]:FORMAT: _vmimg_dynamic format' \
		'*-o+[an option of the target'\''s format, as cluster_size=1M; several with commas]:KEY=VALUE:' \
		'*--option=[an option of the target'\''s format, as cluster_size=1M; several with commas]:KEY=VALUE:' \
		'(-c --compress)-c[compress the target\: zstd or zlib]' \
		'(-c --compress)--compress=-[compress the target\: zstd or zlib]::ALGORITHM\[\:LEVEL\]:' \
		'*--allow-backing=[folder outside of the image'\''s own where its chain may lead]:DIR:_files -/' \
		'--force[replace an existing target]' \
		'--threads=[threads; default\: the processors this process may use]:N:' \
		'--dry-run[say what is free, write nothing]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(serve)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; probed without it]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; probed without it]:FORMAT: _vmimg_dynamic format' \
		'--snapshot=[serve this internal snapshot, by name or id]:NAME:' \
		'--socket=[listen on this unix socket, which is removed at the end]:PATH:_files' \
		'--port=[listen on this TCP port of 127.0.0.1\: any user of this host can connect]:N:' \
		'--name=[name of the export; without it the empty one]:EXPORT:' \
		'(-w --writable)-w[let clients write to the image]' \
		'(-w --writable)--writable[let clients write to the image]' \
		'--cow[let clients write, into a nameless file in TMPDIR that is dropped at the end]' \
		'--once[end when the last client has gone]' \
		'--timeout=[end when no client has been connected for so long]:TIME:' \
		'--exit-with-parent[end when the process that started it does]' \
		'(-U --force-share)-U[serve it even while another process writes to it]' \
		'(-U --force-share)--force-share[serve it even while another process writes to it]' \
		'*--allow-backing=[folder that backing files may lie in, beside that of the image; may be repeated]:DIR:_files -/' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(inspect)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'--snapshot=[look into this internal snapshot, by name or id]:NAME:' \
		'*--allow-backing=[folder outside of an image'\''s own where its chain may lead]:DIR:_files -/' \
		'--no-appliance[do not start libguestfs for what is not read here]' \
		'(-U --force-share)-U[read an image that another process may be writing]' \
		'(-U --force-share)--force-share[read an image that another process may be writing]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(ls)
		_arguments -s -S \
		'(-l --long)-l[kind, permissions, owner, group, size and time too]' \
		'(-l --long)--long[kind, permissions, owner, group, size and time too]' \
		'(-R --recursive)-R[all that is below, by its path]' \
		'(-R --recursive)--recursive[all that is below, by its path]' \
		'(-d --directory)-d[a folder itself, not what is in it]' \
		'(-d --directory)--directory[a folder itself, not what is in it]' \
		'(-0 --null)-0[names as they are, each ended by a NUL byte]' \
		'(-0 --null)--null[names as they are, each ended by a NUL byte]' \
		'(-f --format)-f+[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'--snapshot=[look into this internal snapshot, by name or id]:NAME:' \
		'*--allow-backing=[folder outside of an image'\''s own where its chain may lead]:DIR:_files -/' \
		'--no-appliance[do not start libguestfs for what is not read here]' \
		'(-U --force-share)-U[read an image that another process may be writing]' \
		'(-U --force-share)--force-share[read an image that another process may be writing]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(cat)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'--snapshot=[look into this internal snapshot, by name or id]:NAME:' \
		'*--allow-backing=[folder outside of an image'\''s own where its chain may lead]:DIR:_files -/' \
		'--no-appliance[do not start libguestfs for what is not read here]' \
		'(-U --force-share)-U[read an image that another process may be writing]' \
		'(-U --force-share)--force-share[read an image that another process may be writing]' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(get)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'--snapshot=[look into this internal snapshot, by name or id]:NAME:' \
		'*--allow-backing=[folder outside of an image'\''s own where its chain may lead]:DIR:_files -/' \
		'--no-appliance[do not start libguestfs for what is not read here]' \
		'(-U --force-share)-U[read an image that another process may be writing]' \
		'(-U --force-share)--force-share[read an image that another process may be writing]' \
		'--force[replace files that exist in the folder]' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(put)
		_arguments -s -S \
		'(-f --format)-f+[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-f --format)--format=[format of the image; without it the image is probed]:FORMAT: _vmimg_dynamic format' \
		'(-m --mode)-m+[permissions of the new files, as 0755; default\: the files'\'' own, without set-id bits]:OCTAL:' \
		'(-m --mode)--mode=[permissions of the new files, as 0755; default\: the files'\'' own, without set-id bits]:OCTAL:' \
		'--owner=[numbers of the new files'\'' owner and group (0\:0)]:UID\:GID:' \
		'--force[replace files that exist]' \
		'--dry-run[try all of it, write nothing]' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	esac
}

_vmimg "$@"
