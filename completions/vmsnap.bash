# bash completion for vmsnap, made by "vmsnap __completion bash"

_vmsnap_verb() # sets options and kind of arguments for a verb
{
	case $1 in
	create)
		options=" --engine= --quiesce= --memory --connect= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	list)
		options=" --tree --connect= --json --quiet --verbose --help --version"
		kind=file ;;
	show)
		options=" --connect= --json --quiet --verbose --help --version"
		kind=file ;;
	diff)
		options=" --extents --files --null --connect= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	revert)
		options=" --discard-current --no-start --boot --connect= --json --quiet --verbose --help --version"
		kind=file ;;
	delete)
		options=" --disk= --lost --rate-limit= --dry-run --connect= --progress --quiet --verbose --help --version"
		kind=file ;;
	merge)
		options=" --all --rate-limit= --dry-run --connect= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	export)
		options=" --target-format= --compress --verify --force --threads= --connect= --progress --quiet --verbose --help --version"
		kind=file ;;
	clone)
		options=" --full --connect= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	prune)
		options=" --keep-last= --keep-hourly= --keep-daily= --keep-weekly= --keep-monthly= --keep-yearly= --keep-within= --max-chain= --rate-limit= --dry-run --connect= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	check)
		options=" --connect= --json --quiet --verbose --help --version"
		kind=file ;;
	recover)
		options=" --unchanged --connect= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	'')
		options=" --connect= --quiet --verbose --help --version"
		words=" create list show diff revert delete merge export clone prune check recover" ;;
	esac
}

_vmsnap_value() # sets words or kind for VERB:OPTION; fails when the option has no value there
{
	case $1 in
	create:--engine|create:--engine=|create:-e) words=" auto reflink internal external" ;;
	create:--quiesce|create:--quiesce=) words=" auto require no" ;;
	create:--json=) words=" lines" ;;
	create:--progress=) words=" bar json none" ;;
	list:--json=) words=" lines" ;;
	show:--json=) words=" lines" ;;
	diff:--json=) words=" lines" ;;
	diff:--progress=) words=" bar json none" ;;
	revert:--json=) words=" lines" ;;
	delete:--disk|delete:--disk=|delete:-d) kind=file ;;
	delete:--rate-limit|delete:--rate-limit=) kind=none ;;
	delete:--progress=) words=" bar json none" ;;
	merge:--rate-limit|merge:--rate-limit=) kind=none ;;
	merge:--json=) words=" lines" ;;
	merge:--progress=) words=" bar json none" ;;
	export:--target-format|export:--target-format=|export:-O) kind=format ;;
	export:--threads|export:--threads=) kind=none ;;
	export:--progress=) words=" bar json none" ;;
	clone:--json=) words=" lines" ;;
	clone:--progress=) words=" bar json none" ;;
	prune:--keep-last|prune:--keep-last=) kind=none ;;
	prune:--keep-hourly|prune:--keep-hourly=) kind=none ;;
	prune:--keep-daily|prune:--keep-daily=) kind=none ;;
	prune:--keep-weekly|prune:--keep-weekly=) kind=none ;;
	prune:--keep-monthly|prune:--keep-monthly=) kind=none ;;
	prune:--keep-yearly|prune:--keep-yearly=) kind=none ;;
	prune:--keep-within|prune:--keep-within=) kind=none ;;
	prune:--max-chain|prune:--max-chain=) kind=none ;;
	prune:--rate-limit|prune:--rate-limit=) kind=none ;;
	prune:--json=) words=" lines" ;;
	prune:--progress=) words=" bar json none" ;;
	check:--json=) words=" lines" ;;
	recover:--json=) words=" lines" ;;
	recover:--progress=) words=" bar json none" ;;
	*:--connect|*:--connect=|*:-c) kind=none ;;
	*) return 1 ;;
	esac
}

_vmsnap()
{
	local line=${COMP_LINE:0:COMP_POINT} verb= options= words= kind= cur i
	local -a w environment=()
	read -ra w <<<"$line"
	[[ $line == *[[:blank:]] ]] && w+=("")
	cur=${w[${#w[@]}-1]}
	COMPREPLY=()
	for ((i = 1; i < ${#w[@]} - 1; i++)); do
		case ${w[i]} in
		--connect|-c) ((i++)) ;;
		-*) ;;
		*) [[ -z $verb ]] && verb=${w[i]} ;;
		esac
	done
	if [[ $cur == --*=* ]] && _vmsnap_value "$verb:${cur%%=*}="; then
		cur=${cur#*=}
	elif ((${#w[@]} > 2)) && _vmsnap_value "$verb:${w[${#w[@]}-2]}"; then
		:
	else
		_vmsnap_verb "$verb"
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

complete -F _vmsnap vmsnap
