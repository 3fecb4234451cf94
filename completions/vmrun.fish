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
	not __fish_seen_subcommand_from --
end

complete -c vmrun -n __fish_use_subcommand -f
complete -c vmrun -n __fish_use_subcommand -a run -d 'start a Linux kernel in a machine of its own; "run" may be left out'
complete -c vmrun -n '__vmrun_is_main' -l kernel -s k -r -F -d 'the kernel, a bzImage for x86-64'
complete -c vmrun -n '__vmrun_is_main' -l initrd -s i -r -F -d 'its initial RAM disk'
complete -c vmrun -n '__vmrun_is_main' -l append -s a -x -d 'its command line, behind console=ttyS0 panic=-1'
complete -c vmrun -n '__vmrun_is_main' -l memory -s m -x -d 'of the guest (default: 256M); taken from the host as it is used'
complete -c vmrun -n '__vmrun_is_main' -l cpus -s c -x -d 'vCPUs, 1 to 16 (default: 1)'
complete -c vmrun -n '__vmrun_is_main' -l disk -s d -r -F -d 'a disk of any format, the first is vda; may be given again'
complete -c vmrun -n '__vmrun_is_main' -l format -s f -x -a '(__vmrun_dynamic format)' -d 'of all disks (default: probed)'
complete -c vmrun -n '__vmrun_is_main' -l ephemeral -s e -d 'what the guest writes to its disks is thrown away; the images are only read'
complete -c vmrun -n '__vmrun_is_main' -l read-only -d 'the guest cannot write to its disks'
complete -c vmrun -n '__vmrun_is_main' -l allow-backing -x -a '(__fish_complete_directories)' -d 'backing files may lie below DIR too'
complete -c vmrun -n '__vmrun_is_main' -l timeout -s t -x -d 'end the machine after this: status 10 (default: never)'
complete -c vmrun -n '__vmrun_is_main' -l root -s r -r -F -d 'a command\'s files: all below DIR, copied into the guest\'s memory, or a disk with an ext4, XFS or btrfs file system, which becomes vda'
complete -c vmrun -n '__vmrun_is_main' -l env -x -d 'set in the command\'s environment, which is PATH and HOME otherwise'
complete -c vmrun -n '__vmrun_is_main' -l workdir -x -d 'where the command starts, in the guest (default: /)'
complete -c vmrun -n '__vmrun_is_main' -l modules -x -a '(__fish_complete_directories)' -d 'the kernel\'s modules, for a command (default: those in /lib/modules)'
complete -c vmrun -n '__vmrun_is_main' -l quiet -s q -d 'no warnings, no progress'
complete -c vmrun -n '__vmrun_is_main' -l verbose -s v -d 'say what is going on; -vv says more'
complete -c vmrun -n '__vmrun_is_main' -l help -s h -d 'show this help'
complete -c vmrun -n '__vmrun_is_main' -l version -d 'show the version; with -v those of the libraries too'
complete -c vmrun -n '__vmrun_is_main' -f
