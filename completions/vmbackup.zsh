#compdef vmbackup
# zsh completion for vmbackup, made by "vmbackup __completion zsh"

_vmbackup_dynamic() {
	local -a found settings
	local i
	local -a line=(${(Q)${(z)BUFFER}})
	for ((i = 2; i <= $#line; i++)); do
		case $line[i] in
		(--repository|-r) settings+=("VMKIT_REPOSITORY=$line[i+1]") ;;
		(--repository=*) settings+=("VMKIT_REPOSITORY=${line[i]#*=}") ;;
		(--s3-endpoint) settings+=("AWS_ENDPOINT_URL=$line[i+1]") ;;
		(--s3-endpoint=*) settings+=("AWS_ENDPOINT_URL=${line[i]#*=}") ;;
		(--s3-region) settings+=("AWS_REGION=$line[i+1]") ;;
		(--s3-region=*) settings+=("AWS_REGION=${line[i]#*=}") ;;
		(--s3-ca) settings+=("AWS_CA_BUNDLE=$line[i+1]") ;;
		(--s3-ca=*) settings+=("AWS_CA_BUNDLE=${line[i]#*=}") ;;
		esac
	done
	found=(${(f)"$(env $settings vmbackup __complete $1 "$PREFIX" 2>/dev/null)"})
	compadd -- $found
}

_vmbackup() {
	local curcontext="$curcontext" state
	local -a line verbs
	typeset -A opt_args
	_arguments -C -S \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
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
			'init:make a new repository'
			'backup:make a snapshot of a machine'\''s disks'
			'list:list the snapshots, of one machine or of all, oldest first'
			'show:show one snapshot\: its disks, sizes and where they came from'
			'restore:write disks of a snapshot to images, a block device or standard output'
			'verify:check that everything in the repository, or one snapshot, can be restored'
			'diff:say what changed between two snapshots, or between one and an image'
			'copy:copy snapshots to another repository'
			'repair:heal what is damaged\: by parity, or from another repository'
			'forget:remove snapshots, by name or by what no --keep rule keeps'
			'ls:list files inside of a disk of a snapshot, without restoring it'
			'get:copy files and folders out of a disk of a snapshot, without restoring it'
			'prune:free the space that no snapshot needs, and forget snapshots before that'
			'key:the passphrases that open an encrypted repository'
			'stats:how much the repository holds, and what it takes'
			'unlock:say who uses the repository; nothing ever needs to be unlocked'
			'serve:serve a disk of a snapshot as a network block device (NBD), with nothing restored'
			'mount:disks of snapshots as raw files in a folder, with nothing restored (FUSE)'
			'run:do what a profile says\: backups, retention, a partial verification'
		)
		_describe verb verbs
		return ;;
	esac
	case $line[1] in
	(init)
		_arguments -s -S \
		'--no-encryption[no passphrase\: whoever can read the repository can read the disks]' \
		'--new-key=[make a random key, write it to FILE (readable by you alone), and ask for no passphrase; VMKIT_PASSWORD_FILE=FILE then opens the repository, at once]:FILE:_files' \
		'--level=[zstd level of backups that do not say another (default 3)]:N:' \
		'--parity=[so much of what is stored is parity\: that much of a pack may be damaged and is healed (default 4; 0\: none)]:PERCENT:' \
		'--format-version=[a repository that older programs can read\: 2 stores no deltas (default\: the newest)]:N:' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(backup)
		_arguments -s -S \
		'--vm=[the machine'\''s name; needed without --domain]:NAME:' \
		'--domain=[a libvirt machine, running or not, instead of images\: its disks at one moment, and its XML]:MACHINE: _vmbackup_dynamic machine' \
		'(-c --connect)-c+[with --domain\: libvirt'\''s URI (default\: libvirt'\''s own)]:URI:' \
		'(-c --connect)--connect=[with --domain\: libvirt'\''s URI (default\: libvirt'\''s own)]:URI:' \
		'--quiesce=[with --domain\: freeze the guest'\''s file systems for the moment\: auto (default) when its agent answers]:HOW:(auto require no )' \
		'*--exclude-disk=[with --domain\: leave this disk out]:DISK:' \
		'--no-checkpoint[with --domain\: leave no checkpoint in the machine, so that the next backup reads all]' \
		'--scratch=[with --domain\: where what a guest overwrites is kept meanwhile (default\: TMPDIR, else /var/tmp)]:DIR:_files -/' \
		'*-t+[mark the snapshot with this; more than once for several]:TAG:' \
		'*--tag=[mark the snapshot with this; more than once for several]:TAG:' \
		'--description=[a sentence for people, kept in the snapshot]:TEXT:' \
		'--machine=[what describes the machine, kept in the snapshot\: libvirt'\''s XML or any other text; - is standard input]:FILE:_files' \
		'--consistency=[what state the disks are in, when the caller knows better than the locks\: crash for a storage snapshot of a running machine, quiesced when its file systems were frozen]:STATE:(quiesced offline crash unknown none )' \
		'(-f --format)-f+[format of the images (default\: probed)]:FORMAT: _vmbackup_dynamic format' \
		'(-f --format)--format=[format of the images (default\: probed)]:FORMAT: _vmbackup_dynamic format' \
		'(-U --force-share)-U[read images that are in use\: no consistent state is promised]' \
		'(-U --force-share)--force-share[read images that are in use\: no consistent state is promised]' \
		'*--allow-backing=[backing files may lie below this folder too]:DIR:_files -/' \
		'--level=[zstd level (default\: the repository'\''s)]:N:' \
		'--full[read everything, whatever says what changed]' \
		'--no-full[fail rather than read a disk whole because nothing tells what changed in it]' \
		'--keep-clone[leave a reflink clone of each image beside it (XFS, btrfs), which tells the next backup what changed; it takes the space of what changes]' \
		'--keep-bitmap[leave a dirty bitmap in each qcow2 image, which QEMU keeps up to date and which tells the next backup what changed; qemu-img makes it]' \
		'--threads=[work with so many threads (default\: all processors)]:N:' \
		'--rate-limit=[read at most this much a second]:SIZE:' \
		'(-n --dry-run)-n[read and compare, but store nothing; with --json says what would be new]' \
		'(-n --dry-run)--dry-run[read and compare, but store nothing; with --json says what would be new]' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
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
		'*-t+[only snapshots with this tag; more than once\: with all of them]:TAG:' \
		'*--tag=[only snapshots with this tag; more than once\: with all of them]:TAG:' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(show)
		_arguments -s -S \
		'--machine[print the machine'\''s description alone, as it was given to backup]' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(restore)
		_arguments -s -S \
		'(-O --target-format)-O+[format of the target (default\: by its suffix)]:FORMAT: _vmbackup_dynamic format' \
		'(-O --target-format)--target-format=[format of the target (default\: by its suffix)]:FORMAT: _vmbackup_dynamic format' \
		'*-o+[option of the target'\''s format; more than once for several]:KEY=VALUE:' \
		'*--option=[option of the target'\''s format; more than once for several]:KEY=VALUE:' \
		'(-c --compress)-c[compress the target\: zlib or zstd (default\: the format'\''s own)]' \
		'(-c --compress)--compress=-[compress the target\: zlib or zstd (default\: the format'\''s own)]::ALGORITHM\[\:LEVEL\]:' \
		'--force[replace a target that exists]' \
		'--differential[write into the target that is there, and only what differs; a target that is not there is made]' \
		'--verify[read the target again and compare it with the backup before it gets its name]' \
		'--digest=[print the digest of the disk'\''s content]:ALGORITHM: _vmbackup_dynamic digest' \
		'--threads=[work with so many threads (default\: all processors)]:N:' \
		'--rate-limit=[read at most this much of the disk'\''s data a second]:SIZE:' \
		'--define[bring the machine back\: TARGET is a folder for all disks of a backup of --domain, and libvirt gets the machine'\''s definition]' \
		'--name=[with --define\: as another machine of this name, with a UUID and MAC addresses of its own]:NAME:' \
		'--connect=[with --define\: libvirt'\''s URI (default\: libvirt'\''s own)]:URI:' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
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
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(verify)
		_arguments -s -S \
		'--quick[structure and checksums of packs only\: nothing is decompressed]' \
		'--heal[packs whose parity can heal them are healed, and said to be]' \
		'--share=[only a part of the packs\: the Nth of M, or so many percent, other ones each day until all were looked at]:N/M|PERCENT:' \
		'--threads=[work with so many threads (default\: all processors)]:N:' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
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
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(diff)
		_arguments -s -S \
		'(-x --extents)-x[list the ranges\: disk, offset and length in bytes]' \
		'(-x --extents)--extents[list the ranges\: disk, offset and length in bytes]' \
		'(-f --format)-f+[format of the image (default\: probed)]:FORMAT: _vmbackup_dynamic format' \
		'(-f --format)--format=[format of the image (default\: probed)]:FORMAT: _vmbackup_dynamic format' \
		'(-U --force-share)-U[read an image that is in use]' \
		'(-U --force-share)--force-share[read an image that is in use]' \
		'*--allow-backing=[backing files of the image may lie below this folder too]:DIR:_files -/' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
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
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(copy)
		_arguments -s -S \
		'--to=[the other repository; needed]:REPO:_files -/' \
		'--to-password-file=[its passphrase (default\: the same as the first one'\''s)]:FILE:_files' \
		'--vm=[all snapshots of this machine]:NAME: _vmbackup_dynamic machine' \
		'--level=[zstd level (default\: the other repository'\''s)]:N:' \
		'--threads=[work with so many threads (default\: all processors)]:N:' \
		'--rate-limit=[read at most this much of the disks'\'' data a second]:SIZE:' \
		'(-n --dry-run)-n[say which snapshots would be copied]' \
		'(-n --dry-run)--dry-run[say which snapshots would be copied]' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
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
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(repair)
		_arguments -s -S \
		'--from=[another repository with the same snapshots, as vmbackup copy makes it]:REPO:_files -/' \
		'--from-password-file=[its passphrase (default\: the same as the first one'\''s)]:FILE:_files' \
		'--threads=[work with so many threads (default\: all processors)]:N:' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
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
	(forget)
		_arguments -s -S \
		'--keep-last=[keep the newest N of each machine]:N:' \
		'--keep-hourly=[keep the newest of each of the last N hours that have one]:N:' \
		'--keep-daily=[keep the newest of each of the last N days that have one]:N:' \
		'--keep-weekly=[keep the newest of each of the last N weeks that have one]:N:' \
		'--keep-monthly=[keep the newest of each of the last N months that have one]:N:' \
		'--keep-yearly=[keep the newest of each of the last N years that have one]:N:' \
		'--keep-within=[keep all that are not older, as 7d or 36h]:TIME:' \
		'*--keep-tag=[keep all with this tag; more than once\: with any of them]:TAG:' \
		'*--vm=[only snapshots of this machine; more than once\: of any of them]:NAME:' \
		'--max-delete=[remove nothing at all when more than N snapshots would go]:N:' \
		'--dry-run[say what would be removed and why, change nothing]' \
		'--unreadable[give up the snapshots whose description is damaged]' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmbackup_dynamic snapshot' ;;
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
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(get)
		_arguments -s -S \
		'--force[replace files that exist in the folder]' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'(-p --progress)-p[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]' \
		'(-p --progress)--progress=-[show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never]::VALUE:(bar json none )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(prune)
		_arguments -s -S \
		'--keep-last=[keep the newest N of each machine]:N:' \
		'--keep-hourly=[keep the newest of each of the last N hours that have one]:N:' \
		'--keep-daily=[keep the newest of each of the last N days that have one]:N:' \
		'--keep-weekly=[keep the newest of each of the last N weeks that have one]:N:' \
		'--keep-monthly=[keep the newest of each of the last N months that have one]:N:' \
		'--keep-yearly=[keep the newest of each of the last N years that have one]:N:' \
		'--keep-within=[keep all that are not older, as 7d or 36h]:TIME:' \
		'*--keep-tag=[keep all with this tag; more than once\: with any of them]:TAG:' \
		'*--vm=[only snapshots of this machine; more than once\: of any of them]:NAME:' \
		'--max-delete=[remove nothing at all when more than N snapshots would go]:N:' \
		'--dry-run[say what would be removed and why, change nothing]' \
		'--max-unused=[rewrite packs of which more than this is unused (default\: 20)]:PERCENT:' \
		'--wait=-[wait for processes that may still need what goes, as 30m; without TIME until they end]::TIME:' \
		'--threads=[work with so many threads (default\: all processors)]:N:' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
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
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(key)
		_arguments -s -S \
		'--new-password-file=[the new passphrase (default\: asked for)]:FILE:_files' \
		'--new-key=[make a random key and write it to FILE, which is readable by you alone]:FILE:_files' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(stats)
		_arguments -s -S \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(unlock)
		_arguments -s -S \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'--json=-[print the result as JSON, or as one JSON object a line]::lines:(lines )' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	(serve)
		_arguments -s -S \
		'--socket=[listen on this unix socket, which is removed at the end]:PATH:_files' \
		'--port=[listen on this TCP port of 127.0.0.1\: any user of this host can connect]:N:' \
		'--name=[name of the export; without it the empty one]:EXPORT:' \
		'--copy-on-write[let clients write, into a nameless file in TMPDIR that is dropped at the end]' \
		'--once[end when the last client has gone]' \
		'--timeout=[end when no client has been connected for so long]:TIME:' \
		'--exit-with-parent[end when the process that started it does]' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(mount)
		_arguments -s -S \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' \
		'*:argument: _vmbackup_dynamic snapshot' ;;
	(run)
		_arguments -s -S \
		'--config-dir=[where PROFILE.conf is (default\: /etc/vmkit/backup.d)]:DIR:_files -/' \
		'--wait=-[wait for another run of the profile to end; without TIME for as long as it takes]::TIME:' \
		'--jitter=[begin at a random moment within so long, so that many hosts do not begin at once]:TIME:' \
		'--metrics=[write what happened for Prometheus (node_exporter'\''s textfile collector); default\: the profile'\''s]:FILE:_files' \
		'(-r --repository)-r+[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'(-r --repository)--repository=[the repository\: a folder, or s3\://BUCKET/PREFIX]:REPO:_files -/' \
		'--expect-at-least=[refuse a repository without a snapshot of number N ("seq" of list --json) or higher\: it was rolled back]:N:' \
		'--s3-endpoint=[the server of s3\: repositories, https\://HOST\[\:PORT\] (default\: AWS)]:URL:' \
		'--s3-region=[the region of its buckets (default us-east-1)]:NAME:' \
		'--s3-ca=[certificates to trust instead of the system'\''s]:FILE:_files' \
		'--s3-retries=[tries again of one request that the server or the network failed (default 10)]:N:' \
		'--s3-rate-limit=[bytes a second at most, of all transfers together, both ways]:SIZE:' \
		'--s3-object-lock=[what is stored cannot be removed for so many days\: governance\:DAYS or compliance\:DAYS; the bucket must allow it]:MODE\:DAYS:' \
		'--s3-cache-size=[how much of a repository'\''s index, manifests and pages is kept here (default 4G)]:SIZE:' \
		'(-q --quiet)-q[no warnings, no progress]' \
		'(-q --quiet)--quiet[no warnings, no progress]' \
		'*-v[say what is going on; -vv says more]' \
		'*--verbose[say what is going on; -vv says more]' \
		'(-h --help)-h[show this help]' \
		'(-h --help)--help[show this help]' \
		'--version[show the version; with -v those of the libraries too]' ;;
	esac
}

_vmbackup "$@"
