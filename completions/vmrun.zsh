#compdef vmrun
# zsh completion for vmrun, made by "vmrun __completion zsh"

_vmrun_dynamic() {
	local -a found settings
	local i
	local -a line=(${(Q)${(z)BUFFER}})
	for ((i = 2; i <= $#line; i++)); do
		case $line[i] in
		esac
	done
	found=(${(f)"$(env $settings vmrun __complete $1 "$PREFIX" 2>/dev/null)"})
	compadd -- $found
}

_vmrun() {
	local curcontext="$curcontext" state
	local -a line verbs
	typeset -A opt_args
	if [[ $words[2] == -* || $words[2] == *[./:]* ]]; then
		words=($words[1] run "${(@)words[2,-1]}")
		((CURRENT++))
	fi
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
			'run:start a disk or a Linux kernel in a machine of its own; "run" may be left out'
			'ps:the machines that run under a name'
			'attach:a running machine'\''s serial console, for people and for scripts'
			'stop:stop machines\: by the power button, else hard; says which'
			'pause:hold machines\: their vCPUs do not run until resume'
			'resume:have paused machines go on'
			'save:save a machine that runs to a file, from which restore goes on'
			'restore:go on with a machine that save wrote to a file'
			'stats:what a machine has used\: time of its vCPUs, disk requests, frames, memory'
			'balloon:leave a guest SIZE of its memory; the rest goes to the host until it is given back'
		)
		_describe verb verbs
		return ;;
	esac
	case $line[1] in
	(run)
		_arguments -s -S \
		'(-k --kernel)-k+[the kernel for x86-64\: a bzImage, or an ELF file (vmlinux) with a PVH entry]:FILE:_files' \
		'(-k --kernel)--kernel=[the kernel for x86-64\: a bzImage, or an ELF file (vmlinux) with a PVH entry]:FILE:_files' \
		'(-i --initrd)-i+[its initial RAM disk]:FILE:_files' \
		'(-i --initrd)--initrd=[its initial RAM disk]:FILE:_files' \
		'--direct[without --kernel\: start the kernel that the disk'\''s GRUB, or its entries of the Boot Loader Specification, would start, with its initial RAM disk and command line; no BIOS runs]' \
		'--firmware=[what starts a disk without --kernel\: a BIOS (SeaBIOS of this host, the default), UEFI (OVMF of this host), or either from a file]:bios|uefi|FILE:_files' \
		'--firmware-vars=[where UEFI'\''s variables stay, boot entries among them; made when it is not there (default\: they go with the machine)]:FILE:_files' \
		'(-a --append)-a+[its command line, behind console=ttyS0 panic=-1]:TEXT:' \
		'(-a --append)--append=[its command line, behind console=ttyS0 panic=-1]:TEXT:' \
		'(-m --memory)-m+[of the guest (default\: 256M); taken from the host as it is used]:SIZE:' \
		'(-m --memory)--memory=[of the guest (default\: 256M); taken from the host as it is used]:SIZE:' \
		'--hugepages[its memory is of huge pages (2 MiB) of the host'\''s pool, all of which it takes at once and keeps until the machine ends; not together with --balloon (default\: ordinary pages, and what the host itself makes of them)]' \
		'(-c --cpus)-c+[vCPUs, 1 to 16 (default\: 1)]:N:' \
		'(-c --cpus)--cpus=[vCPUs, 1 to 16 (default\: 1)]:N:' \
		'*-d+[a disk of any format, the first is vda; may be given again]:IMAGE:_files' \
		'*--disk=[a disk of any format, the first is vda; may be given again]:IMAGE:_files' \
		'(-f --format)-f+[of all disks (default\: probed)]:FORMAT: _vmrun_dynamic format' \
		'(-f --format)--format=[of all disks (default\: probed)]:FORMAT: _vmrun_dynamic format' \
		'(-e --ephemeral)-e[what the guest writes to its disks is thrown away; the images are only read]' \
		'(-e --ephemeral)--ephemeral[what the guest writes to its disks is thrown away; the images are only read]' \
		'*--read-only-disk=[a disk that the guest cannot write to, behind the others; may be given again]:IMAGE:_files' \
		'--read-only[the guest cannot write to its disks]' \
		'*--allow-backing=[backing files may lie below DIR too]:DIR:_files -/' \
		'*--net=[a network interface\: of passt'\''s, which needs no privileges (with ,host its gateway is this host'\''s 127.0.0.1); of a tap device; of a descriptor, which is a tap device'\''s or passt'\''s socket. Each may have a ,mac=ADDRESS; up to 4 (default\: none)]:user|tap=NAME|fd=N|none:' \
		'*-p+[this host'\''s PORT, of 127.0.0.1 or of ADDRESS (0.0.0.0\: of all), leads to the guest'\''s, by --net user; may be given again]:\[ADDRESS\:\]PORT\[\:GUESTPORT\]\[/udp\]:' \
		'*--publish=[this host'\''s PORT, of 127.0.0.1 or of ADDRESS (0.0.0.0\: of all), leads to the guest'\''s, by --net user; may be given again]:\[ADDRESS\:\]PORT\[\:GUESTPORT\]\[/udp\]:' \
		'(-n --name)-n+[of the machine, for ps, stats, pause, resume and stop (default\: none, and it has no control socket)]:NAME:' \
		'(-n --name)--name=[of the machine, for ps, stats, pause, resume and stop (default\: none, and it has no control socket)]:NAME:' \
		'(-t --timeout)-t+[end the machine after this\: status 10 (default\: never). A disk on a server that does not answer is given up five seconds later]:TIME:' \
		'(-t --timeout)--timeout=[end the machine after this\: status 10 (default\: never). A disk on a server that does not answer is given up five seconds later]:TIME:' \
		'--metrics=[at the end its status, how long it took and what it used, for node_exporter'\''s textfile collector; the file is replaced as a whole]:FILE.prom:_files' \
		'(-r --root)-r+[a command'\''s files\: a folder, what it writes there is thrown away, or a disk with an ext4, XFS or btrfs file system, which becomes vda]:DIR|IMAGE:_files' \
		'(-r --root)--root=[a command'\''s files\: a folder, what it writes there is thrown away, or a disk with an ext4, XFS or btrfs file system, which becomes vda]:DIR|IMAGE:_files' \
		'--write-root[what the command writes to a --root that is a folder stays there]' \
		'--copy-root[copy a --root that is a folder into the guest'\''s memory\: for kernels without virtiofs and overlay]' \
		'*-s+[a folder for the guest, by virtio-fs\: NAME is where a command finds it (default\: DIR'\''s own path), else the tag to mount it by (default\: share0, share1, ...); may be given again]:DIR\[\:NAME\]\[\:ro\]:_files -/' \
		'*--share=[a folder for the guest, by virtio-fs\: NAME is where a command finds it (default\: DIR'\''s own path), else the tag to mount it by (default\: share0, share1, ...); may be given again]:DIR\[\:NAME\]\[\:ro\]:_files -/' \
		'--vsock=[a vsock for the guest\: to PATH, a unix socket, say "CONNECT PORT" to reach it; it reaches PATH_PORT (default\: cid=3)]:PATH\[,cid=N\]:_files' \
		'--balloon[the guest'\''s free memory goes back to the host, and stats shows what it says of its memory]' \
		'*--env=[set in the command'\''s environment, which is PATH and HOME otherwise]:NAME=VALUE:' \
		'--workdir=[where the command starts, in the guest (default\: /)]:DIR:' \
		'(-u --user)-u+[whom the command runs as, of the guest'\''s /etc/passwd and /etc/group (default\: root)]:NAME|UID:' \
		'(-u --user)--user=[whom the command runs as, of the guest'\''s /etc/passwd and /etc/group (default\: root)]:NAME|UID:' \
		'--modules=[the kernel'\''s modules, for a command (default\: those in /lib/modules)]:DIR:_files -/' \
		'--prepare=[boot until a command could start, and save the machine there\: vmrun restore FILE -- COMMAND starts it at once]:FILE:_files' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(ps)
		_arguments -s -S \
		'(-0 --null)-0[names alone, each with a NUL behind it\: for xargs -0]' \
		'(-0 --null)--null[names alone, each with a NUL behind it\: for xargs -0]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(attach)
		_arguments -s -S \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmrun_dynamic machine' ;;
	(stop)
		_arguments -s -S \
		'--now[end the machine at once\: what the guest has not written is lost]' \
		'(-t --timeout)-t+[what the guest gets to power off before it is ended (default\: 30s)]:TIME:' \
		'(-t --timeout)--timeout=[what the guest gets to power off before it is ended (default\: 30s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmrun_dynamic machine' ;;
	(pause)
		_arguments -s -S \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmrun_dynamic machine' ;;
	(resume)
		_arguments -s -S \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmrun_dynamic machine' ;;
	(save)
		_arguments -s -S \
		'(-z --compress)-z[the memory, by zstd\: a smaller file, which restore unpacks instead of mapping it]' \
		'(-z --compress)--compress[the memory, by zstd\: a smaller file, which restore unpacks instead of mapping it]' \
		'(-k --keep-running)-k[the machine goes on afterwards; what it writes to its disks from then on makes the file useless, unless they are ephemeral or read-only]' \
		'(-k --keep-running)--keep-running[the machine goes on afterwards; what it writes to its disks from then on makes the file useless, unless they are ephemeral or read-only]' \
		'--force[overwrite FILE]' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmrun_dynamic machine' ;;
	(restore)
		_arguments -s -S \
		'(-e --ephemeral)-e[what the guest writes to its disks from now on is thrown away\: FILE can be restored any number of times, also at once]' \
		'(-e --ephemeral)--ephemeral[what the guest writes to its disks from now on is thrown away\: FILE can be restored any number of times, also at once]' \
		'*-d+[where the disks are now, all of them in their order (default\: where they were, if that is FILE'\''s folder or one that --allow-backing names)]:IMAGE:_files' \
		'*--disk=[where the disks are now, all of them in their order (default\: where they were, if that is FILE'\''s folder or one that --allow-backing names)]:IMAGE:_files' \
		'(-f --format)-f+[of all disks (default\: probed)]:FORMAT: _vmrun_dynamic format' \
		'(-f --format)--format=[of all disks (default\: probed)]:FORMAT: _vmrun_dynamic format' \
		'*--allow-backing=[disks and folders that FILE names, and backing files, may lie below DIR too]:DIR:_files -/' \
		'*-s+[where the shared folders are now, all of them in their order, and a --root that is one behind them (default\: as for disks)]:DIR:_files -/' \
		'*--share=[where the shared folders are now, all of them in their order, and a --root that is one behind them (default\: as for disks)]:DIR:_files -/' \
		'*--net=[what its network interfaces lead to now, of the same kinds and in their order, as for run (default\: user where it was user); they keep their addresses]:user|tap=NAME|fd=N:' \
		'*-p+[as for run; the saved machine'\''s ports are not published again without it]:\[ADDRESS\:\]PORT\[\:GUESTPORT\]\[/udp\]:' \
		'*--publish=[as for run; the saved machine'\''s ports are not published again without it]:\[ADDRESS\:\]PORT\[\:GUESTPORT\]\[/udp\]:' \
		'--vsock=[as for run, for a machine that had a vsock]:PATH\[,cid=N\]:_files' \
		'(-n --name)-n+[of the machine, as for run]:NAME:' \
		'(-n --name)--name=[of the machine, as for run]:NAME:' \
		'(-t --timeout)-t+[end the machine after this\: status 10 (default\: never)]:TIME:' \
		'(-t --timeout)--timeout=[end the machine after this\: status 10 (default\: never)]:TIME:' \
		'*--env=[set in the command'\''s environment, which is PATH and HOME otherwise]:NAME=VALUE:' \
		'--workdir=[where the command starts, in the guest (default\: /)]:DIR:' \
		'(-u --user)-u+[whom the command runs as, of the guest'\''s /etc/passwd and /etc/group (default\: root)]:NAME|UID:' \
		'(-u --user)--user=[whom the command runs as, of the guest'\''s /etc/passwd and /etc/group (default\: root)]:NAME|UID:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(stats)
		_arguments -s -S \
		'--prometheus[in the text format of Prometheus, as run --metrics writes at the end]' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmrun_dynamic machine' ;;
	(balloon)
		_arguments -s -S \
		'--wait=[until the guest has done it\: status 10 when it has not by then (default\: do not wait)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmrun_dynamic machine' ;;
	esac
}

_vmrun "$@"
