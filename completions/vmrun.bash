# bash completion for vmrun, made by "vmrun __completion bash"

_vmrun_verb() # sets options and kind of arguments for a verb
{
	case $1 in
	run)
		options=" --kernel= --initrd= --direct --firmware= --firmware-vars= --append= --memory= --hugepages --cpus= --disk= --format= --ephemeral --read-only-disk= --read-only --allow-backing= --net= --publish= --name= --timeout= --metrics= --root= --write-root --copy-root --share= --vsock= --balloon --env= --workdir= --user= --modules= --prepare= --quiet --verbose --help --version"
		kind=none ;;
	ps)
		options=" --null --json --quiet --verbose --help --version"
		kind=none ;;
	attach)
		options=" --quiet --verbose --help --version"
		kind=machine ;;
	stop)
		options=" --now --timeout= --json --quiet --verbose --help --version"
		kind=machine ;;
	pause)
		options=" --quiet --verbose --help --version"
		kind=machine ;;
	resume)
		options=" --quiet --verbose --help --version"
		kind=machine ;;
	save)
		options=" --compress --keep-running --force --quiet --verbose --help --version"
		kind=machine ;;
	restore)
		options=" --ephemeral --disk= --format= --allow-backing= --share= --net= --publish= --vsock= --name= --timeout= --env= --workdir= --user= --quiet --verbose --help --version"
		kind=file ;;
	stats)
		options=" --prometheus --json --quiet --verbose --help --version"
		kind=machine ;;
	balloon)
		options=" --wait= --quiet --verbose --help --version"
		kind=machine ;;
	'')
		options=" --quiet --verbose --help --version"
		words=" run ps attach stop pause resume save restore stats balloon" ;;
	esac
}

_vmrun_value() # sets words or kind for VERB:OPTION; fails when the option has no value there
{
	case $1 in
	run:--kernel|run:--kernel=|run:-k) kind=file ;;
	run:--initrd|run:--initrd=|run:-i) kind=file ;;
	run:--firmware|run:--firmware=) kind=file ;;
	run:--firmware-vars|run:--firmware-vars=) kind=file ;;
	run:--append|run:--append=|run:-a) kind=none ;;
	run:--memory|run:--memory=|run:-m) kind=none ;;
	run:--cpus|run:--cpus=|run:-c) kind=none ;;
	run:--disk|run:--disk=|run:-d) kind=file ;;
	run:--format|run:--format=|run:-f) kind=format ;;
	run:--read-only-disk|run:--read-only-disk=) kind=file ;;
	run:--allow-backing|run:--allow-backing=) kind=dir ;;
	run:--net|run:--net=) kind=none ;;
	run:--publish|run:--publish=|run:-p) kind=none ;;
	run:--name|run:--name=|run:-n) kind=none ;;
	run:--timeout|run:--timeout=|run:-t) kind=none ;;
	run:--metrics|run:--metrics=) kind=file ;;
	run:--root|run:--root=|run:-r) kind=file ;;
	run:--share|run:--share=|run:-s) kind=dir ;;
	run:--vsock|run:--vsock=) kind=file ;;
	run:--env|run:--env=) kind=none ;;
	run:--workdir|run:--workdir=) kind=none ;;
	run:--user|run:--user=|run:-u) kind=none ;;
	run:--modules|run:--modules=) kind=dir ;;
	run:--prepare|run:--prepare=) kind=file ;;
	ps:--json=) words=" lines" ;;
	stop:--timeout|stop:--timeout=|stop:-t) kind=none ;;
	stop:--json=) words=" lines" ;;
	restore:--disk|restore:--disk=|restore:-d) kind=file ;;
	restore:--format|restore:--format=|restore:-f) kind=format ;;
	restore:--allow-backing|restore:--allow-backing=) kind=dir ;;
	restore:--share|restore:--share=|restore:-s) kind=dir ;;
	restore:--net|restore:--net=) kind=none ;;
	restore:--publish|restore:--publish=|restore:-p) kind=none ;;
	restore:--vsock|restore:--vsock=) kind=file ;;
	restore:--name|restore:--name=|restore:-n) kind=none ;;
	restore:--timeout|restore:--timeout=|restore:-t) kind=none ;;
	restore:--env|restore:--env=) kind=none ;;
	restore:--workdir|restore:--workdir=) kind=none ;;
	restore:--user|restore:--user=|restore:-u) kind=none ;;
	stats:--json=) words=" lines" ;;
	balloon:--wait|balloon:--wait=) kind=none ;;
	*) return 1 ;;
	esac
}

_vmrun()
{
	local line=${COMP_LINE:0:COMP_POINT} verb= options= words= kind= cur i
	local -a w environment=()
	read -ra w <<<"$line"
	[[ $line == *[[:blank:]] ]] && w+=("")
	cur=${w[${#w[@]}-1]}
	COMPREPLY=()
	for ((i = 1; i < ${#w[@]} - 1; i++)); do
		case ${w[i]} in
		-*) ;;
		*) [[ -z $verb ]] && verb=${w[i]} ;;
		esac
	done
	[[ ${w[1]} == -* || ${w[1]} == *[./:]* ]] && verb=run
	if [[ $cur == --*=* ]] && _vmrun_value "$verb:${cur%%=*}="; then
		cur=${cur#*=}
	elif ((${#w[@]} > 2)) && _vmrun_value "$verb:${w[${#w[@]}-2]}"; then
		:
	else
		_vmrun_verb "$verb"
		[[ $cur == -* ]] && words=$options kind=
	fi
	case $kind in
	file) compopt -o default; return ;;
	dir) compopt -o dirnames; return ;;
	none) return ;;
	esac
	if [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	elif [[ -n $kind ]]; then
		mapfile -t COMPREPLY < <(env "${environment[@]}" "${w[0]/#\~/$HOME}" __complete "$kind" "$cur" 2>/dev/null)
	fi
	local head=${cur%"${cur##*[=:@]}"}
	[[ -n $head ]] && COMPREPLY=("${COMPREPLY[@]#"$head"}")
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == --*= ]] && compopt -o nospace
	return 0
}

complete -F _vmrun vmrun
