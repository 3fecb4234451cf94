# fish completion for vmbackup, made by "vmbackup __completion fish"

function __vmbackup_dynamic
	set -l words (commandline -opc)
	set -l settings
	for i in (seq 2 (count $words))
		switch $words[$i]
		case --repository -r
			set -l next (math $i + 1)
			set -q words[$next]; and set -a settings VMKIT_REPOSITORY=$words[$next]
		case '--repository=*'
			set -a settings VMKIT_REPOSITORY=(string split -m1 = -- $words[$i])[2]
		case --s3-endpoint
			set -l next (math $i + 1)
			set -q words[$next]; and set -a settings AWS_ENDPOINT_URL=$words[$next]
		case '--s3-endpoint=*'
			set -a settings AWS_ENDPOINT_URL=(string split -m1 = -- $words[$i])[2]
		case --s3-region
			set -l next (math $i + 1)
			set -q words[$next]; and set -a settings AWS_REGION=$words[$next]
		case '--s3-region=*'
			set -a settings AWS_REGION=(string split -m1 = -- $words[$i])[2]
		case --s3-ca
			set -l next (math $i + 1)
			set -q words[$next]; and set -a settings AWS_CA_BUNDLE=$words[$next]
		case '--s3-ca=*'
			set -a settings AWS_CA_BUNDLE=(string split -m1 = -- $words[$i])[2]
		end
	end
	set -l prefix (string replace -r '^--[^=]*=' '' -- (commandline -ct))
	env $settings vmbackup __complete $argv[1] "$prefix" 2>/dev/null
end

complete -c vmbackup -n __fish_use_subcommand -f
complete -c vmbackup -n __fish_use_subcommand -a init -d 'make a new repository'
complete -c vmbackup -n __fish_use_subcommand -a backup -d 'make a snapshot of a machine\'s disks'
complete -c vmbackup -n __fish_use_subcommand -a list -d 'list the snapshots, of one machine or of all, oldest first'
complete -c vmbackup -n __fish_use_subcommand -a show -d 'show one snapshot: its disks, sizes and where they came from'
complete -c vmbackup -n __fish_use_subcommand -a restore -d 'write a disk of a snapshot to an image, a block device or standard output'
complete -c vmbackup -n __fish_use_subcommand -a verify -d 'check that everything in the repository, or one snapshot, can be restored'
complete -c vmbackup -n __fish_use_subcommand -a diff -d 'say what changed between two snapshots, or between one and an image'
complete -c vmbackup -n __fish_use_subcommand -a copy -d 'copy snapshots to another repository'
complete -c vmbackup -n __fish_use_subcommand -a forget -d 'remove snapshots, by name or by what no --keep rule keeps'
complete -c vmbackup -n 'true' -l repository -s r -x -a '(__fish_complete_directories)' -d 'the repository: a folder, or s3://BUCKET/PREFIX'
complete -c vmbackup -n 'true' -l s3-endpoint -x -d 'the server of s3: repositories, https://HOST[:PORT] (default: AWS)'
complete -c vmbackup -n 'true' -l s3-region -x -d 'the region of its buckets (default us-east-1)'
complete -c vmbackup -n 'true' -l s3-ca -r -F -d 'certificates to trust instead of the system\'s'
complete -c vmbackup -n 'true' -l s3-retries -x -d 'tries again of one request that the server or the network failed (default 10)'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -l no-encryption -d 'no passphrase: whoever can read the repository can read the disks'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -l new-key -r -F -d 'make a random key, write it to FILE (readable by you alone), and ask for no passphrase; VMKIT_PASSWORD_FILE=FILE then opens the repository, at once'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -l level -x -d 'zstd level of backups that do not say another (default 3)'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -f
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l vm -x -d 'the machine\'s name; needed'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l tag -s t -x -d 'mark the snapshot with this; more than once for several'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l description -x -d 'a sentence for people, kept in the snapshot'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l machine -r -F -d 'what describes the machine, kept in the snapshot: libvirt\'s XML or any other text; - is standard input'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l consistency -x -a 'quiesced offline crash unknown none ' -d 'what state the disks are in, when the caller knows better than the locks: crash for a storage snapshot of a running machine, quiesced when its file systems were frozen'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l format -s f -x -a '(__vmbackup_dynamic format)' -d 'format of the images (default: probed)'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l force-share -s U -d 'read images that are in use: no consistent state is promised'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l allow-backing -x -a '(__fish_complete_directories)' -d 'backing files may lie below this folder too'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l level -x -d 'zstd level (default: the repository\'s)'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l full -d 'read everything, whatever says what changed'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l no-full -d 'fail rather than read a disk whole because nothing tells what changed in it'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l keep-clone -d 'leave a reflink clone of each image beside it (XFS, btrfs), which tells the next backup what changed; it takes the space of what changes'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l threads -x -d 'work with so many threads (default: all processors)'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l rate-limit -x -d 'read at most this much a second'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l dry-run -s n -d 'read and compare, but store nothing; with --json says what would be new'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -F
complete -c vmbackup -n '__fish_seen_subcommand_from list' -l tag -s t -x -d 'only snapshots with this tag; more than once: with all of them'
complete -c vmbackup -n '__fish_seen_subcommand_from list' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmbackup -n '__fish_seen_subcommand_from list' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from list' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from list' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from list' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from list' -f
complete -c vmbackup -n '__fish_seen_subcommand_from show' -l machine -d 'print the machine\'s description alone, as it was given to backup'
complete -c vmbackup -n '__fish_seen_subcommand_from show' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmbackup -n '__fish_seen_subcommand_from show' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from show' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from show' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from show' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from show' -x -a '(__vmbackup_dynamic snapshot)'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l target-format -s O -x -a '(__vmbackup_dynamic format)' -d 'format of the target (default: by its suffix)'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l option -s o -x -d 'option of the target\'s format; more than once for several'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l compress -s c -d 'compress the target: zlib or zstd (default: the format\'s own)'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l force -d 'replace a target that exists'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l verify -d 'read the target again and compare it with the backup before it gets its name'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l digest -x -a '(__vmbackup_dynamic digest)' -d 'print the digest of the disk\'s content'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l threads -x -d 'work with so many threads (default: all processors)'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l rate-limit -x -d 'read at most this much of the disk\'s data a second'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from restore' -x -a '(__vmbackup_dynamic snapshot)'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -l quick -d 'structure and checksums of packs only: nothing is decompressed'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -l threads -x -d 'work with so many threads (default: all processors)'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from verify' -x -a '(__vmbackup_dynamic snapshot)'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l extents -s x -d 'list the ranges: disk, offset and length in bytes'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l format -s f -x -a '(__vmbackup_dynamic format)' -d 'format of the image (default: probed)'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l force-share -s U -d 'read an image that is in use'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l allow-backing -x -a '(__fish_complete_directories)' -d 'backing files of the image may lie below this folder too'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from diff' -x -a '(__vmbackup_dynamic snapshot)'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l to -x -a '(__fish_complete_directories)' -d 'the other repository; needed'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l to-password-file -r -F -d 'its passphrase (default: the same as the first one\'s)'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l vm -x -a '(__vmbackup_dynamic machine)' -d 'all snapshots of this machine'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l level -x -d 'zstd level (default: the other repository\'s)'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l threads -x -d 'work with so many threads (default: all processors)'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l rate-limit -x -d 'read at most this much of the disks\' data a second'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l dry-run -s n -d 'say which snapshots would be copied'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from copy' -x -a '(__vmbackup_dynamic snapshot)'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l keep-last -x -d 'keep the newest N of each machine'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l keep-hourly -x -d 'keep the newest of each of the last N hours that have one'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l keep-daily -x -d 'keep the newest of each of the last N days that have one'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l keep-weekly -x -d 'keep the newest of each of the last N weeks that have one'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l keep-monthly -x -d 'keep the newest of each of the last N months that have one'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l keep-yearly -x -d 'keep the newest of each of the last N years that have one'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l keep-within -x -d 'keep all that are not older, as 7d or 36h'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l keep-tag -x -d 'keep all with this tag; more than once: with any of them'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l vm -x -d 'only snapshots of this machine; more than once: of any of them'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l max-delete -x -d 'remove nothing at all when more than N snapshots would go'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l dry-run -d 'say what would be removed and why, change nothing'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l quiet -s q -d 'no warnings, no progress'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l help -s h -d 'show this help'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmbackup -n '__fish_seen_subcommand_from forget' -x -a '(__vmbackup_dynamic snapshot)'
