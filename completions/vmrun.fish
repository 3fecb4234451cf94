# fish completion for vmrun, made by "vmrun __completion fish"

function __vmrun_dynamic
	set -l words (commandline -opc)
	set -l settings
	for i in (seq 2 (count $words))
		switch $words[$i]
		end
	end
	set -l prefix (string replace -r '^--[^=]*=' '' -- (commandline -ct))
	env $settings vmrun __complete $argv[1] "$prefix" 2>/dev/null
end

function __vmrun_is_main
	not __fish_seen_subcommand_from -- ps attach stop pause resume save restore stats
end

complete -c vmrun -n __fish_use_subcommand -f
complete -c vmrun -n __fish_use_subcommand -a run -d 'start a Linux kernel in a machine of its own; "run" may be left out'
complete -c vmrun -n __fish_use_subcommand -a ps -d 'the machines that run under a name'
complete -c vmrun -n __fish_use_subcommand -a attach -d 'a running machine\'s serial console, for people and for scripts'
complete -c vmrun -n __fish_use_subcommand -a stop -d 'stop machines: by the power button, else hard; says which'
complete -c vmrun -n __fish_use_subcommand -a pause -d 'hold machines: their vCPUs do not run until resume'
complete -c vmrun -n __fish_use_subcommand -a resume -d 'have paused machines go on'
complete -c vmrun -n __fish_use_subcommand -a save -d 'save a machine that runs to a file, from which restore goes on'
complete -c vmrun -n __fish_use_subcommand -a restore -d 'go on with a machine that save wrote to a file'
complete -c vmrun -n __fish_use_subcommand -a stats -d 'what a machine has used: time of its vCPUs, disk requests, frames, memory'
complete -c vmrun -n '__vmrun_is_main' -l kernel -s k -r -F -d 'the kernel, a bzImage for x86-64'
complete -c vmrun -n '__vmrun_is_main' -l initrd -s i -r -F -d 'its initial RAM disk'
complete -c vmrun -n '__vmrun_is_main' -l append -s a -x -d 'its command line, behind console=ttyS0 panic=-1'
complete -c vmrun -n '__vmrun_is_main' -l memory -s m -x -d 'of the guest (default: 256M); taken from the host as it is used'
complete -c vmrun -n '__vmrun_is_main' -l cpus -s c -x -d 'vCPUs, 1 to 16 (default: 1)'
complete -c vmrun -n '__vmrun_is_main' -l disk -s d -r -F -d 'a disk of any format, the first is vda; may be given again'
complete -c vmrun -n '__vmrun_is_main' -l format -s f -x -a '(__vmrun_dynamic format)' -d 'of all disks (default: probed)'
complete -c vmrun -n '__vmrun_is_main' -l ephemeral -s e -d 'what the guest writes to its disks is thrown away; the images are only read'
complete -c vmrun -n '__vmrun_is_main' -l read-only-disk -r -F -d 'a disk that the guest cannot write to, behind the others; may be given again'
complete -c vmrun -n '__vmrun_is_main' -l read-only -d 'the guest cannot write to its disks'
complete -c vmrun -n '__vmrun_is_main' -l allow-backing -x -a '(__fish_complete_directories)' -d 'backing files may lie below DIR too'
complete -c vmrun -n '__vmrun_is_main' -l net -x -d 'a network interface: of passt\'s, which needs no privileges (with ,host its gateway is this host\'s 127.0.0.1); of a tap device; of a descriptor, which is a tap device\'s or passt\'s socket. Each may have a ,mac=ADDRESS; up to 4 (default: none)'
complete -c vmrun -n '__vmrun_is_main' -l publish -s p -x -d 'this host\'s PORT, of 127.0.0.1 or of ADDRESS (0.0.0.0: of all), leads to the guest\'s, by --net user; may be given again'
complete -c vmrun -n '__vmrun_is_main' -l name -s n -x -d 'of the machine, for ps, stats, pause, resume and stop (default: none, and it has no control socket)'
complete -c vmrun -n '__vmrun_is_main' -l timeout -s t -x -d 'end the machine after this: status 10 (default: never). A disk on a server that does not answer is given up five seconds later'
complete -c vmrun -n '__vmrun_is_main' -l root -s r -r -F -d 'a command\'s files: a folder, what it writes there is thrown away, or a disk with an ext4, XFS or btrfs file system, which becomes vda'
complete -c vmrun -n '__vmrun_is_main' -l write-root -d 'what the command writes to a --root that is a folder stays there'
complete -c vmrun -n '__vmrun_is_main' -l copy-root -d 'copy a --root that is a folder into the guest\'s memory: for kernels without virtiofs and overlay'
complete -c vmrun -n '__vmrun_is_main' -l share -s s -x -a '(__fish_complete_directories)' -d 'a folder for the guest, by virtio-fs: NAME is where a command finds it (default: DIR\'s own path), else the tag to mount it by (default: share0, share1, ...); may be given again'
complete -c vmrun -n '__vmrun_is_main' -l env -x -d 'set in the command\'s environment, which is PATH and HOME otherwise'
complete -c vmrun -n '__vmrun_is_main' -l workdir -x -d 'where the command starts, in the guest (default: /)'
complete -c vmrun -n '__vmrun_is_main' -l modules -x -a '(__fish_complete_directories)' -d 'the kernel\'s modules, for a command (default: those in /lib/modules)'
complete -c vmrun -n '__vmrun_is_main' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__vmrun_is_main' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__vmrun_is_main' -l help -s h -d 'show this help'
complete -c vmrun -n '__vmrun_is_main' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__vmrun_is_main' -f
complete -c vmrun -n '__fish_seen_subcommand_from ps' -l null -s 0 -d 'names alone, each with a NUL behind it: for xargs -0'
complete -c vmrun -n '__fish_seen_subcommand_from ps' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmrun -n '__fish_seen_subcommand_from ps' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__fish_seen_subcommand_from ps' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__fish_seen_subcommand_from ps' -l help -s h -d 'show this help'
complete -c vmrun -n '__fish_seen_subcommand_from ps' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__fish_seen_subcommand_from ps' -f
complete -c vmrun -n '__fish_seen_subcommand_from attach' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__fish_seen_subcommand_from attach' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__fish_seen_subcommand_from attach' -l help -s h -d 'show this help'
complete -c vmrun -n '__fish_seen_subcommand_from attach' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__fish_seen_subcommand_from attach' -x -a '(__vmrun_dynamic machine)'
complete -c vmrun -n '__fish_seen_subcommand_from stop' -l now -d 'end the machine at once: what the guest has not written is lost'
complete -c vmrun -n '__fish_seen_subcommand_from stop' -l timeout -s t -x -d 'what the guest gets to power off before it is ended (default: 30s)'
complete -c vmrun -n '__fish_seen_subcommand_from stop' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmrun -n '__fish_seen_subcommand_from stop' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__fish_seen_subcommand_from stop' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__fish_seen_subcommand_from stop' -l help -s h -d 'show this help'
complete -c vmrun -n '__fish_seen_subcommand_from stop' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__fish_seen_subcommand_from stop' -x -a '(__vmrun_dynamic machine)'
complete -c vmrun -n '__fish_seen_subcommand_from pause' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__fish_seen_subcommand_from pause' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__fish_seen_subcommand_from pause' -l help -s h -d 'show this help'
complete -c vmrun -n '__fish_seen_subcommand_from pause' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__fish_seen_subcommand_from pause' -x -a '(__vmrun_dynamic machine)'
complete -c vmrun -n '__fish_seen_subcommand_from resume' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__fish_seen_subcommand_from resume' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__fish_seen_subcommand_from resume' -l help -s h -d 'show this help'
complete -c vmrun -n '__fish_seen_subcommand_from resume' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__fish_seen_subcommand_from resume' -x -a '(__vmrun_dynamic machine)'
complete -c vmrun -n '__fish_seen_subcommand_from save' -l compress -s z -d 'the memory, by zstd: a smaller file, which restore unpacks instead of mapping it'
complete -c vmrun -n '__fish_seen_subcommand_from save' -l keep-running -s k -d 'the machine goes on afterwards; what it writes to its disks from then on makes the file useless, unless they are ephemeral or read-only'
complete -c vmrun -n '__fish_seen_subcommand_from save' -l force -d 'overwrite FILE'
complete -c vmrun -n '__fish_seen_subcommand_from save' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__fish_seen_subcommand_from save' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__fish_seen_subcommand_from save' -l help -s h -d 'show this help'
complete -c vmrun -n '__fish_seen_subcommand_from save' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__fish_seen_subcommand_from save' -x -a '(__vmrun_dynamic machine)'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l ephemeral -s e -d 'what the guest writes to its disks from now on is thrown away: FILE can be restored any number of times, also at once'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l disk -s d -r -F -d 'where the disks are now, all of them in their order (default: where they were, if that is FILE\'s folder or one that --allow-backing names)'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l format -s f -x -a '(__vmrun_dynamic format)' -d 'of all disks (default: probed)'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l allow-backing -x -a '(__fish_complete_directories)' -d 'disks that FILE names, and backing files, may lie below DIR too'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l name -s n -x -d 'of the machine, as for run'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l timeout -s t -x -d 'end the machine after this: status 10 (default: never)'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l help -s h -d 'show this help'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__fish_seen_subcommand_from restore' -F
complete -c vmrun -n '__fish_seen_subcommand_from stats' -l json -d 'print the result as JSON, or as one JSON object a line'
complete -c vmrun -n '__fish_seen_subcommand_from stats' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__fish_seen_subcommand_from stats' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__fish_seen_subcommand_from stats' -l help -s h -d 'show this help'
complete -c vmrun -n '__fish_seen_subcommand_from stats' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__fish_seen_subcommand_from stats' -x -a '(__vmrun_dynamic machine)'
