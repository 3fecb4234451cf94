#compdef vmsnap
# zsh completion for vmsnap, made by "vmsnap __completion zsh"

_vmsnap_dynamic() {
	local -a found settings
	local i
	local -a line=(${(Q)${(z)BUFFER}})
	for ((i = 2; i <= $#line; i++)); do
		case $line[i] in
		esac
	done
	found=(${(f)"$(env $settings vmsnap __complete $1 "$PREFIX" 2>/dev/null)"})
	compadd -- $found
}

_vmsnap() {
	local curcontext="$curcontext" state
	local -a line verbs
	typeset -A opt_args
	_arguments -C -S \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
			'create:keep the present state of a disk, or of several at once, under a name'
			'list:list the snapshots of a disk, oldest first'
			'show:say what is known of one snapshot'
			'diff:say how much changed since a snapshot, or between two'
			'revert:go back to a snapshot, which stays'
			'delete:delete snapshots; the disk and the others stay as they are'
			'merge:merge snapshots of a chain into the one above them, or into the disk'
			'export:write a snapshot as an image of its own, of any format'
			'clone:make a new disk that begins as a snapshot'
			'prune:delete the snapshots that no --keep rule keeps'
			'check:look whether all is there that the snapshots need'
			'recover:finish or undo a change that was killed'
		)
		_describe verb verbs
		return ;;
	esac
	case $line[1] in
	(create)
		_arguments -s -S \
		'(-e --engine)-e+[how to keep it; default\: auto, the first that the disk can]:ENGINE:(auto reflink internal external )' \
		'(-e --engine)--engine=[how to keep it; default\: auto, the first that the disk can]:ENGINE:(auto reflink internal external )' \
		'--quiesce=[let the guest agent of a running domain write all to its disks first; default\: auto, if it can]:HOW:(auto require no )' \
		'(-m --memory)-m[keep the memory of a running domain as well\: revert goes on from that moment]' \
		'(-m --memory)--memory[keep the memory of a running domain as well\: revert goes on from that moment]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
	(list)
		_arguments -s -S \
		'--tree[each below the one that the disk was then made from]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(show)
		_arguments -s -S \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(diff)
		_arguments -s -S \
		'(-x --extents)-x[list the ranges\: offset and length in bytes]' \
		'(-x --extents)--extents[list the ranges\: offset and length in bytes]' \
		'(-F --files)-F[list the files that were added (A), deleted (D), changed (M), or got other permissions, owners or times alone (m)]' \
		'(-F --files)--files[list the files that were added (A), deleted (D), changed (M), or got other permissions, owners or times alone (m)]' \
		'(-0 --null)-0[with --files\: paths alone, as they are, each ended by a NUL byte]' \
		'(-0 --null)--null[with --files\: paths alone, as they are, each ended by a NUL byte]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
	(revert)
		_arguments -s -S \
		'--discard-current[do not keep the present state]' \
		'--no-start[leave a domain off, instead of starting it from the snapshot]' \
		'--boot[start a domain anew, also when its memory was kept with the snapshot]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
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
		'*-d+[of this disk as well; several times]:DISK:_files' \
		'*--disk=[of this disk as well; several times]:DISK:_files' \
		'--lost[forget a snapshot whose file is gone for good; others may need what it held]' \
		'--rate-limit=[let a running domain move SIZE bytes a second at most]:SIZE:' \
		'--dry-run[say what would be deleted, delete nothing]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
	(merge)
		_arguments -s -S \
		'(-a --all)-a[all that the disk leans on, instead of FROM]' \
		'(-a --all)--all[all that the disk leans on, instead of FROM]' \
		'--rate-limit=[let a running domain move SIZE bytes a second at most]:SIZE:' \
		'--dry-run[say what would be merged, change nothing]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
	(export)
		_arguments -s -S \
		'(-O --target-format)-O+[format of the target; without it the target'\''s suffix tells, and - is raw]:FORMAT: _vmsnap_dynamic format' \
		'(-O --target-format)--target-format=[format of the target; without it the target'\''s suffix tells, and - is raw]:FORMAT: _vmsnap_dynamic format' \
		'(-c --compress)-c[compress as suits the format]' \
		'(-c --compress)--compress[compress as suits the format]' \
		'--verify[read the target back and compare it]' \
		'--force[replace an existing target]' \
		'--threads=[threads; default\: the processors this process may use]:N:' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
	(clone)
		_arguments -s -S \
		'--full[a disk that needs no other file\: all is copied]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
	(prune)
		_arguments -s -S \
		'--keep-last=[keep the newest N]:N:' \
		'--keep-hourly=[keep the newest of each of the last N hours that have one]:N:' \
		'--keep-daily=[keep the newest of each of the last N days that have one]:N:' \
		'--keep-weekly=[keep the newest of each of the last N weeks that have one]:N:' \
		'--keep-monthly=[keep the newest of each of the last N months that have one]:N:' \
		'--keep-yearly=[keep the newest of each of the last N years that have one]:N:' \
		'--keep-within=[keep all that are not older, as 7d or 36h]:TIME:' \
		'--max-chain=[let the disk lean on N external snapshots at most\: the lowest beyond go, whatever keeps them]:N:' \
		'--rate-limit=[let a running domain move SIZE bytes a second at most]:SIZE:' \
		'--dry-run[say what would be done and why, delete nothing]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
	(check)
		_arguments -s -S \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument:_files' ;;
	(recover)
		_arguments -s -S \
		'--unchanged[nobody else wrote to the disks of a machine of vmrun that a snapshot left off\: its memory goes on with them, although nothing shows it]' \
		'(-c --connect)-c+[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
		'(-c --connect)--connect=[DISK is the name of a libvirt domain there, or with URI builtin of one that vmrun runs; one of its disks\: DOMAIN\:vda]:URI:' \
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
	esac
}

_vmsnap "$@"
