#compdef vmctl
# zsh completion for vmctl, made by "vmctl __completion zsh"

_vmctl_dynamic() {
	local -a found settings
	local i
	local -a line=(${(Q)${(z)BUFFER}})
	for ((i = 2; i <= $#line; i++)); do
		case $line[i] in
		(--default-connect) settings+=("VMKIT_CONNECT=$line[i+1]") ;;
		(--default-connect=*) settings+=("VMKIT_CONNECT=${line[i]#*=}") ;;
		esac
	done
	found=(${(f)"$(env $settings vmctl __complete $1 "$PREFIX" 2>/dev/null)"})
	compadd -- $found
}

_vmctl() {
	local curcontext="$curcontext" state
	local -a line verbs
	typeset -A opt_args
	_arguments -C -S \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
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
			'list:list the machines of one host or of several'
			'info:show machines with their disks and network cards'
			'start:start machines'
			'stop:switch machines off\: by the guest agent, by the power button, by the plug'
			'reboot:restart the guest of machines'
			'suspend:stop the processors of machines, memory stays'
			'resume:let the processors of paused machines go on'
			'save:keep a machine'\''s memory on disk and switch it off'
			'restore:let a machine go on from what save --to kept'
			'delete:remove the definition of machines; their disks stay'
			'console:a machine'\''s serial console'
			'exec:run a command in a machine through its guest agent'
			'edit:change a machine'\''s definition'
			'set:change a machine'\''s processors, memory and limits, and show what it has'
			'autostart:start machines with their host, or no longer'
			'create:define a new machine from an image, or from a kernel'
			'clone:make a machine like another, with its own disks, UUID and network addresses'
			'attach:give a machine another disk or network interface'
			'detach:take a disk or a network interface from a machine'
			'stats:show what the machines of one host or of several use'
			'hosts:show the hosts that -c names\: up or down, what they have, how many machines run'
			'migrate:move a running machine to another host while it runs'
			'events:tell what happens to machines as it happens, of one host or of several'
			'export:write a machine that is off and its disks into an OVA'
			'import:define the machine of an OVF or OVA package, with copies of its disks'
			'watch:keep machines running\: restart those that failed, resume those that ran out of space'
			'audit:show what vmctl did to machines, by whom, and how it ended'
			'net:networks of a host\: list, create, start, stop, delete'
			'pool:storage pools of a host\: list, create, look into, delete'
			'report:what hosts have given away, disks that nobody uses, machines of the wrong size'
		)
		_describe verb verbs
		return ;;
	esac
	case $line[1] in
	(list)
		_arguments -s -S \
		'--state=[only machines in this state]:STATE:(off running paused stopping crashed sleeping )' \
		'(-0 --null)-0[names alone, each with a NUL behind it\: for xargs -0]' \
		'(-0 --null)--null[names alone, each with a NUL behind it\: for xargs -0]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(info)
		_arguments -s -S \
		'--xml[its definition as libvirt has it]' \
		'--config[as it will be at the next start, not as it is now]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(start)
		_arguments -s -S \
		'--all[every machine of the host]' \
		'--autostart[those that start with their host, in their order (see autostart)]' \
		'--paused[its processors wait for resume]' \
		'--fresh[throw saved memory away and boot]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(stop)
		_arguments -s -S \
		'--all[every machine of the host]' \
		'--now[pull the plug at once\: what the guest has not written is lost]' \
		'--no-force[never pull the plug\: a guest that does not listen is status 10]' \
		'(-t --timeout)-t+[what each step gets before the next is tried (default\: 30s)]:TIME:' \
		'(-t --timeout)--timeout=[what each step gets before the next is tried (default\: 30s)]:TIME:' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(reboot)
		_arguments -s -S \
		'--all[every machine of the host]' \
		'--reset[as the button does\: what the guest has not written is lost]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(suspend)
		_arguments -s -S \
		'--all[every machine of the host]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(resume)
		_arguments -s -S \
		'--all[every machine of the host]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(save)
		_arguments -s -S \
		'(-o --to)-o+[a file of the host, for vmctl restore (default\: start takes it up by itself)]:FILE:_files' \
		'(-o --to)--to=[a file of the host, for vmctl restore (default\: start takes it up by itself)]:FILE:_files' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(restore)
		_arguments -s -S \
		'--paused[its processors wait for resume]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(delete)
		_arguments -s -S \
		'--all[every machine of the host]' \
		'(-f --force)-f[pull the plug of machines that run]' \
		'(-f --force)--force[pull the plug of machines that run]' \
		'(-n --dry-run)-n[only say which would be removed]' \
		'(-n --dry-run)--dry-run[only say which would be removed]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(console)
		_arguments -s -S \
		'--device=[which console\: serial0, serial1, ... (default\: the first)]:ALIAS:' \
		'(-f --force)-f[take it from whoever has it open]' \
		'(-f --force)--force[take it from whoever has it open]' \
		'--send=[send this first; \\\\n, \\\\r, \\\\t and \\\\\\\\ mean what they do in C]:TEXT:' \
		'--wait-for=[print what comes until a line matches (POSIX extended), then end]:REGEX:' \
		'(-t --timeout)-t+[give up waiting after this\: status 10 (default\: never)]:TIME:' \
		'(-t --timeout)--timeout=[give up waiting after this\: status 10 (default\: never)]:TIME:' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(exec)
		_arguments -s -S \
		'(-i --input)-i[hand standard input to the command, 128 KiB at most]' \
		'(-i --input)--input[hand standard input to the command, 128 KiB at most]' \
		'(-t --timeout)-t+[give up after this; the command goes on in the guest (default\: never)]:TIME:' \
		'(-t --timeout)--timeout=[give up after this; the command goes on in the guest (default\: never)]:TIME:' \
		'*-e+[set in the command'\''s environment; more than once for several]:NAME=VALUE:' \
		'*--env=[set in the command'\''s environment; more than once for several]:NAME=VALUE:' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(edit)
		_arguments -s -S \
		'(-i --input)-i[the new definition comes on standard input, no editor is started]' \
		'(-i --input)--input[the new definition comes on standard input, no editor is started]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(set)
		_arguments -s -S \
		'--cpus=[virtual processors]:N:' \
		'--max-cpus=[how many it may get while it runs; at the next start]:N:' \
		'--memory=[memory it has; while it runs its balloon must give it or take it]:SIZE:' \
		'--max-memory=[memory it may get; at the next start]:SIZE:' \
		'--cpu-limit=[of one processor'\''s time for the whole machine\: 150; none]:PERCENT:' \
		'--cpu-shares=[its weight where processors are short; the usual one is 1024]:N:' \
		'--memory-limit=[of the host'\''s memory for the whole machine, which is ended when it takes more\: above what the guest has; none]:SIZE:' \
		'*--pin=[virtual processor VCPU (or all, or emulator\: what is no virtual processor) runs on the host'\''s CPUS\: 2-3,7, or any; repeatable]:VCPU=CPUS:' \
		'*--disk-limit=[a second\: iops=500,bytes=50M, or read-iops, write-iops, read-bytes, write-bytes; none; what of iops or bytes is not named has no limit then; repeatable]:DISK\:LIMITS:' \
		'*--net-limit=[bytes a second to and from the guest\: in\:10M,out\:1M, or none; repeatable]:MAC=LIMITS:' \
		'--live[the running machine only]' \
		'--config[the next start only]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(autostart)
		_arguments -s -S \
		'--all[every machine of the host]' \
		'--off[they stay off when the host starts]' \
		'--order=[1 is first, and those of one order together; vmctl start --autostart starts them, not the host by itself]:N:' \
		'--delay=[with --order\: how long those of the next order wait after this one]:TIME:' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(create)
		_arguments -s -S \
		'--image=[the disk begins as a copy of this, whatever its format]:IMAGE:_files' \
		'--from-backup=[the disk begins as it is in the repository VMKIT_REPOSITORY; repo\:PATH#NAME@WHEN\[\:DISK\] names another]:NAME@WHEN\[\:DISK\]:' \
		'(-f --format)-f+[format of the image (default\: probed)]:FORMAT: _vmctl_dynamic format' \
		'(-f --format)--format=[format of the image (default\: probed)]:FORMAT: _vmctl_dynamic format' \
		'*--allow-backing=[backing files of the image may lie below this folder too]:DIR:_files -/' \
		'--size=[size of the disk\: at least the image'\''s; without an image an empty disk]:SIZE:' \
		'--dir=[where its files go (default\: where libvirt keeps images, or ~/.local/share/vmkit/disks with builtin)]:DIR:_files -/' \
		'(-m --memory)-m+[memory (default\: 1G)]:SIZE:' \
		'(-m --memory)--memory=[memory (default\: 1G)]:SIZE:' \
		'--cpus=[virtual processors (default\: 1)]:N:' \
		'--kernel=[boot this Linux kernel, not the disk]:FILE:_files' \
		'--initrd=[with --kernel\: the first root file system]:FILE:_files' \
		'--append=[with --kernel\: its command line]:STRING:' \
		'--accel=[hardware virtualization or none (default\: auto)]:HOW:(auto kvm tcg )' \
		'--network=[libvirt'\''s network, a bridge, or QEMU'\''s own (default\: default, user in a session, none with builtin)]:NAME|bridge\:NAME|user|none:' \
		'--user=[cloud-init makes this user, with sudo]:NAME:' \
		'*--ssh-key=[cloud-init lets this public key in; more than once for several]:FILE:_files' \
		'--hostname=[cloud-init sets it (default\: the machine'\''s name)]:NAME:' \
		'--user-data=[cloud-init'\''s user-data, instead of --user and --ssh-key]:FILE:_files' \
		'--network-config=[cloud-init'\''s network-config]:FILE:_files' \
		'--start[start it]' \
		'(-n --dry-run)-n[print the definition, make nothing]' \
		'(-n --dry-run)--dry-run[print the definition, make nothing]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(clone)
		_arguments -s -S \
		'--linked[disks keep only what differs from the other machine'\''s, which must stay off]' \
		'--dir=[where the disks go (default\: where libvirt keeps images)]:DIR:_files -/' \
		'--start[start it]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
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
		'*:argument: _vmctl_dynamic machine' ;;
	(attach)
		_arguments -s -S \
		'--disk=[a disk\: an image file or a block device of the host]:IMAGE:_files' \
		'--network=[a network interface on a network of libvirt, on a bridge, or with the user'\''s own connections]:NETWORK|bridge\:NAME|user:' \
		'--target=[the disk'\''s place\: vdb, sda (default\: the first vdX that is free)]:DEV:' \
		'(-f --format)-f+[of the image\: qcow2, raw (default\: what the file says, where it can be read)]:FORMAT:' \
		'(-f --format)--format=[of the image\: qcow2, raw (default\: what the file says, where it can be read)]:FORMAT:' \
		'--read-only[the guest may not write to the disk]' \
		'--mac=[of the interface (default\: a new one)]:ADDRESS:' \
		'--live[the running machine only]' \
		'--config[the next start only]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(detach)
		_arguments -s -S \
		'(-t --timeout)-t+[how long the guest may take to let go (default\: 30s)]:TIME:' \
		'(-t --timeout)--timeout=[how long the guest may take to let go (default\: 30s)]:TIME:' \
		'--live[the running machine only]' \
		'--config[the next start only]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(stats)
		_arguments -s -S \
		'--prometheus[in the text format of Prometheus]' \
		'--metrics=[the same into a file, which is replaced as a whole\: for node_exporter'\''s textfile collector]:FILE.prom:_files' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(hosts)
		_arguments -s -S \
		'--pacemaker[print their machines as resources of a Pacemaker cluster (CIB XML)]' \
		'--definitions=[with --pacemaker\: where every node has the machines'\'' XML (default\: /etc/libvirt/qemu)]:DIR:_files -/' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(migrate)
		_arguments -s -S \
		'--storage=[shared\: the target sees the same disks (default); copy\: they go along]:HOW:(shared copy )' \
		'--disk-dir=[with --storage copy\: the target'\''s folder for them (default\: the same as here)]:DIR:' \
		'--peer-to-peer[the source'\''s daemon reaches the target by itself; else both are told from here]' \
		'--uri=[where the target takes the memory\: tcp\://ADDRESS\[\:PORT\] (default\: its name)]:URI:' \
		'(-t --timeout)-t+[after this what --on-timeout says is done]:TIME:' \
		'(-t --timeout)--timeout=[after this what --on-timeout says is done]:TIME:' \
		'--on-timeout=[cancel\: the machine stays (default); suspend\: it waits until it is there, so that it gets there]:WHAT:(cancel suspend )' \
		'--auto-converge[slow the machine down when it writes faster than the network carries]' \
		'--bandwidth=[send at most this much a second]:SIZE:' \
		'--unsafe[with --storage shared\: the disks are shared although libvirt doubts it]' \
		'--check[only look whether anything is in the way]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
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
		'*:argument: _vmctl_dynamic machine' ;;
	(events)
		_arguments -s -S \
		'*--kind=[only events of this kind (more than once\: of these)\: lifecycle, reboot, agent, io-error, block-job, device, host]:KIND:' \
		'--present[begin with the present state of each machine]' \
		'--count=[end after N events; those of kind host count when --kind asks for them]:N:' \
		'--timeout=[end after this time; with --count that is a failure]:TIME:' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(export)
		_arguments -s -S \
		'(-f --force)-f[replace FILE.ova when it exists]' \
		'(-f --force)--force[replace FILE.ova when it exists]' \
		'--verify[read the disks back and compare before the file gets its name]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(import)
		_arguments -s -S \
		'--machine=[which machine, of a package with several\: its name or number]:NAME|N:' \
		'--dir=[where its disks go (default\: where libvirt keeps images, or ~/.local/share/vmkit/disks with builtin)]:DIR:_files -/' \
		'--bus=[how disks are connected (default\: as-is, what the package says, SCSI as SATA)]:BUS:(as-is virtio sata scsi ide )' \
		'--network=[what its network cards are connected to (default\: default, user in a session, none with builtin)]:NAME|bridge\:NAME|user|none:' \
		'--keep-macs[its network cards keep their addresses\: the first machine must be gone]' \
		'(-m --memory)-m+[memory (default\: what the package says)]:SIZE:' \
		'(-m --memory)--memory=[memory (default\: what the package says)]:SIZE:' \
		'--cpus=[virtual processors (default\: what the package says)]:N:' \
		'--kernel=[boot this Linux kernel, not the disk\: what builtin needs]:FILE:_files' \
		'--initrd=[with --kernel\: the first root file system]:FILE:_files' \
		'--append=[with --kernel\: its command line]:STRING:' \
		'--accel=[hardware virtualization or none (default\: auto)]:HOW:(auto kvm tcg )' \
		'--start[start it]' \
		'(-n --dry-run)-n[print the definition, make nothing]' \
		'(-n --dry-run)--dry-run[print the definition, make nothing]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
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
	(watch)
		_arguments -s -S \
		'--interval=[how often is looked (default\: 5s)]:TIME:' \
		'--tries=[a machine is started again so many times, then given up (default\: 5)]:N:' \
		'--delay=[before the second try; twice as long before each further one (default\: 5s)]:TIME:' \
		'--max-delay=[the longest of these pauses (default\: 5m)]:TIME:' \
		'--settle=[a machine that has run so long has all its tries again (default\: 10m)]:TIME:' \
		'--no-restart[machines that failed stay off]' \
		'--no-resume[machines paused by a disk'\''s error stay paused]' \
		'--space=[what must be free where the disks of a paused machine lie (default\: 256M)]:SIZE:' \
		'--balance[guests that are short of memory get more, up to their maximum; while the host is short, guests give what they do not use]' \
		'--memory-least=[with --balance\: what a guest keeps whatever happens (default\: 256M)]:SIZE:' \
		'--reserve=[with --balance\: below this much free memory the host is short (default\: 1G)]:SIZE:' \
		'--scale[one processor more for a machine that uses most of those it has, up to its maximum; one less when that would be used by less than 20 %]' \
		'--cpus-least=[with --scale\: never less (default\: 1)]:N:' \
		'--scale-at=[with --scale\: of what it has (default\: 80)]:PERCENT:' \
		'--once[look once, act, end\: for cron]' \
		'--timeout=[end after this time (default\: a signal ends it)]:TIME:' \
		'(-n --dry-run)-n[tell what would be done, do nothing]' \
		'(-n --dry-run)--dry-run[tell what would be done, do nothing]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmctl_dynamic machine' ;;
	(audit)
		_arguments -s -S \
		'--verb=[only of this verb]:VERB:' \
		'--user=[only by this user, or through sudo by it]:NAME:' \
		'--machine=[only with this among the arguments]:NAME: _vmctl_dynamic machine' \
		'--since=[only from then on\: 2026-11-23, 2026-11-23T10\:00 (UTC)]:DATE:' \
		'--file=[another log]:FILE:_files' \
		'--verify[look whether a line was changed, added or taken out, and print nothing]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(net)
		_arguments -s -S \
		'--bridge=[create, ensure\: machines are on this bridge of the host]:NAME:' \
		'--nat=[create, ensure\: machines are behind the host, which has this address there, and get theirs by DHCP]:ADDRESS/BITS:' \
		'--isolated=[create, ensure\: the same without a way out]:ADDRESS/BITS:' \
		'--autostart[create, ensure\: it starts with the host]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(pool)
		_arguments -s -S \
		'--dir=[create, ensure\: the folder on the host, made when it is not there]:DIR:_files -/' \
		'--autostart[create, ensure\: it starts with the host]' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(report)
		_arguments -s -S \
		'--record[only add a sample of each machine that runs, for the advice\: every few minutes by cron]' \
		'--samples=[where samples are (default\: ~/.local/state/vmkit/samples.ndjson)]:FILE:_files' \
		'--age=[samples that are older do not count (default\: 7d)]:TIME:' \
		'--least-samples=[no advice for a machine with fewer (default\: 10)]:N:' \
		'*--dir=[look for disks that nobody uses here too, besides where machines'\'' disks lie]:DIR:_files -/' \
		'*-c+[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'*--connect=[the host\: a libvirt URI, builtin (the machines that vmrun runs), or a host or group of the configuration; list takes several]:URI|HOST:' \
		'--host-timeout=[a host that does not answer in this time is given up (default\: 10s)]:TIME:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	esac
}

_vmctl "$@"
