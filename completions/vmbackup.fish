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
complete -c vmbackup -n 'true' -l repository -s r -x -a '(__fish_complete_directories)' -d 'the repository: a folder'
complete -c vmbackup -n '__fish_seen_subcommand_from init' -l no-encryption -d 'no passphrase: whoever can read the repository can read the disks'
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
complete -c vmbackup -n '__fish_seen_subcommand_from backup' -l full-scan -d 'read everything, whatever says that nothing changed'
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
