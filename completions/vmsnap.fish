# fish completion for vmsnap, made by "vmsnap __completion fish"

function __vmsnap_dynamic
	set -l words (commandline -opc)
	set -l settings
	for i in (seq 2 (count $words))
		switch $words[$i]
		end
	end
	set -l prefix (string replace -r '^--[^=]*=' '' -- (commandline -ct))
	env $settings vmsnap __complete $argv[1] "$prefix" 2>/dev/null
end

complete -c vmsnap -n __fish_use_subcommand -f
complete -c vmsnap -n __fish_use_subcommand -a create -d 'keep the present state of a disk, or of several at once, under a name'
complete -c vmsnap -n __fish_use_subcommand -a list -d 'list the snapshots of a disk, oldest first'
complete -c vmsnap -n __fish_use_subcommand -a show -d 'say what is known of one snapshot'
complete -c vmsnap -n __fish_use_subcommand -a diff -d 'say how much changed since a snapshot, or between two'
complete -c vmsnap -n __fish_use_subcommand -a revert -d 'go back to a snapshot, which stays'
complete -c vmsnap -n __fish_use_subcommand -a delete -d 'delete snapshots; the disk and the others stay as they are'
complete -c vmsnap -n __fish_use_subcommand -a merge -d 'merge snapshots of a chain into the one above them, or into the disk'
complete -c vmsnap -n __fish_use_subcommand -a export -d 'write a snapshot as an image of its own, of any format'
complete -c vmsnap -n __fish_use_subcommand -a clone -d 'make a new disk that begins as a snapshot'
complete -c vmsnap -n __fish_use_subcommand -a prune -d 'delete the snapshots that no --keep rule keeps'
complete -c vmsnap -n __fish_use_subcommand -a check -d 'look whether all is there that the snapshots need'
complete -c vmsnap -n __fish_use_subcommand -a recover -d 'finish or undo a change that was killed'
complete -c vmsnap -n 'true' -l connect -s c -x -d 'DISK is the name of a libvirt domain there; one of its disks: DOMAIN:vda'
complete -c vmsnap -n '__fish_seen_subcommand_from create' -l engine -s e -x -a 'auto reflink internal external ' -d 'how to keep it; default: auto, the first that the disk can'
complete -c vmsnap -n '__fish_seen_subcommand_from create' -l quiesce -x -a 'auto require no ' -d 'let the guest agent of a running domain write all to its disks first; default: auto, if it can'
complete -c vmsnap -n '__fish_seen_subcommand_from create' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from create' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from create' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from create' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from create' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from create' -F
complete -c vmsnap -n '__fish_seen_subcommand_from list' -l tree -d 'each below the one that the disk was then made from'
complete -c vmsnap -n '__fish_seen_subcommand_from list' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from list' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from list' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from list' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from list' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from list' -F
complete -c vmsnap -n '__fish_seen_subcommand_from show' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from show' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from show' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from show' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from show' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from show' -F
complete -c vmsnap -n '__fish_seen_subcommand_from diff' -l extents -s x -d 'list the ranges: offset and length in bytes'
complete -c vmsnap -n '__fish_seen_subcommand_from diff' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from diff' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmsnap -n '__fish_seen_subcommand_from diff' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from diff' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from diff' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from diff' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from diff' -F
complete -c vmsnap -n '__fish_seen_subcommand_from revert' -l discard-current -d 'do not keep the present state'
complete -c vmsnap -n '__fish_seen_subcommand_from revert' -l no-start -d 'leave a domain that ran off, instead of starting it from the snapshot'
complete -c vmsnap -n '__fish_seen_subcommand_from revert' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from revert' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from revert' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from revert' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from revert' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from revert' -F
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l disk -s d -r -F -d 'of this disk as well; several times'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l lost -d 'forget a snapshot whose file is gone for good; others may need what it held'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l rate-limit -x -d 'let a running domain move SIZE bytes a second at most'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l dry-run -d 'say what would be deleted, delete nothing'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from delete' -F
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l all -s a -d 'all that the disk leans on, instead of FROM'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l rate-limit -x -d 'let a running domain move SIZE bytes a second at most'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l dry-run -d 'say what would be merged, change nothing'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from merge' -F
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l target-format -s O -x -a '(__vmsnap_dynamic format)' -d 'format of the target; without it the target\'s suffix tells, and - is raw'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l compress -s c -d 'compress as suits the format'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l verify -d 'read the target back and compare it'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l force -d 'replace an existing target'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l threads -x -d 'threads; default: the processors this process may use'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from export' -F
complete -c vmsnap -n '__fish_seen_subcommand_from clone' -l full -d 'a disk that needs no other file: all is copied'
complete -c vmsnap -n '__fish_seen_subcommand_from clone' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from clone' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmsnap -n '__fish_seen_subcommand_from clone' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from clone' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from clone' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from clone' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from clone' -F
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l keep-last -x -d 'keep the newest N'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l keep-hourly -x -d 'keep the newest of each of the last N hours that have one'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l keep-daily -x -d 'keep the newest of each of the last N days that have one'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l keep-weekly -x -d 'keep the newest of each of the last N weeks that have one'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l keep-monthly -x -d 'keep the newest of each of the last N months that have one'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l keep-yearly -x -d 'keep the newest of each of the last N years that have one'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l keep-within -x -d 'keep all that are not older, as 7d or 36h'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l max-chain -x -d 'let the disk lean on N external snapshots at most: the lowest beyond go, whatever keeps them'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l rate-limit -x -d 'let a running domain move SIZE bytes a second at most'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l dry-run -d 'say what would be done and why, delete nothing'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from prune' -F
complete -c vmsnap -n '__fish_seen_subcommand_from check' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from check' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from check' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from check' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from check' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from check' -F
complete -c vmsnap -n '__fish_seen_subcommand_from recover' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmsnap -n '__fish_seen_subcommand_from recover' -l progress -s p -d 'show progress on a terminal (the default once it takes long), as JSON lines on standard error, or never'
complete -c vmsnap -n '__fish_seen_subcommand_from recover' -l quiet -s q -d 'no warnings, no progress'
complete -c vmsnap -n '__fish_seen_subcommand_from recover' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmsnap -n '__fish_seen_subcommand_from recover' -l help -s h -d 'show this help'
complete -c vmsnap -n '__fish_seen_subcommand_from recover' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmsnap -n '__fish_seen_subcommand_from recover' -F
