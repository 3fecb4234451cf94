# bash completion for vmbackup, made by "vmbackup __completion bash"

_vmbackup_verb() # sets options and kind of arguments for a verb
{
	case $1 in
	init)
		options=" --no-encryption --new-key= --level= --parity= --format-version= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --quiet --verbose --help --version"
		kind=none ;;
	backup)
		options=" --vm= --domain= --connect= --quiesce= --exclude-disk= --no-checkpoint --scratch= --tag= --description= --machine= --consistency= --format= --force-share --allow-backing= --level= --full --no-full --keep-clone --keep-bitmap --threads= --rate-limit= --dry-run --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	list)
		options=" --tag= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --quiet --verbose --help --version"
		kind=none ;;
	show)
		options=" --machine --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --quiet --verbose --help --version"
		kind=snapshot ;;
	restore)
		options=" --target-format= --option= --compress --force --differential --verify --digest= --threads= --rate-limit= --define --name= --connect= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --progress --quiet --verbose --help --version"
		kind=snapshot ;;
	verify)
		options=" --quick --heal --share= --threads= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --progress --quiet --verbose --help --version"
		kind=snapshot ;;
	diff)
		options=" --extents --format= --force-share --allow-backing= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --progress --quiet --verbose --help --version"
		kind=snapshot ;;
	copy)
		options=" --to= --to-password-file= --vm= --level= --threads= --rate-limit= --dry-run --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --progress --quiet --verbose --help --version"
		kind=snapshot ;;
	repair)
		options=" --from= --from-password-file= --threads= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --progress --quiet --verbose --help --version"
		kind=none ;;
	forget)
		options=" --keep-last= --keep-hourly= --keep-daily= --keep-weekly= --keep-monthly= --keep-yearly= --keep-within= --keep-tag= --vm= --max-delete= --dry-run --unreadable --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --quiet --verbose --help --version"
		kind=snapshot ;;
	ls)
		options=" --long --recursive --directory --null --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --quiet --verbose --help --version"
		kind=snapshot ;;
	get)
		options=" --force --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --progress --quiet --verbose --help --version"
		kind=snapshot ;;
	prune)
		options=" --keep-last= --keep-hourly= --keep-daily= --keep-weekly= --keep-monthly= --keep-yearly= --keep-within= --keep-tag= --vm= --max-delete= --dry-run --max-unused= --wait --threads= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --progress --quiet --verbose --help --version"
		kind=snapshot ;;
	key)
		options=" --new-password-file= --new-key= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --quiet --verbose --help --version"
		kind=none ;;
	stats)
		options=" --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --quiet --verbose --help --version"
		kind=none ;;
	unlock)
		options=" --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --json --quiet --verbose --help --version"
		kind=none ;;
	serve)
		options=" --socket= --port= --name= --copy-on-write --once --timeout= --exit-with-parent --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --quiet --verbose --help --version"
		kind=snapshot ;;
	mount)
		options=" --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --quiet --verbose --help --version"
		kind=snapshot ;;
	run)
		options=" --config-dir= --wait --jitter= --metrics= --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --quiet --verbose --help --version"
		kind=none ;;
	'')
		options=" --repository= --expect-at-least= --s3-endpoint= --s3-region= --s3-ca= --s3-retries= --s3-rate-limit= --s3-object-lock= --s3-cache-size= --quiet --verbose --help --version"
		words=" init backup list show restore verify diff copy repair forget ls get prune key stats unlock serve mount run" ;;
	esac
}

_vmbackup_value() # sets words or kind for VERB:OPTION; fails when the option has no value there
{
	case $1 in
	init:--new-key|init:--new-key=) kind=file ;;
	init:--level|init:--level=) kind=none ;;
	init:--parity|init:--parity=) kind=none ;;
	init:--format-version|init:--format-version=) kind=none ;;
	backup:--vm|backup:--vm=) kind=none ;;
	backup:--domain|backup:--domain=) kind=machine ;;
	backup:--connect|backup:--connect=|backup:-c) kind=none ;;
	backup:--quiesce|backup:--quiesce=) words=" auto require no" ;;
	backup:--exclude-disk|backup:--exclude-disk=) kind=none ;;
	backup:--scratch|backup:--scratch=) kind=dir ;;
	backup:--tag|backup:--tag=|backup:-t) kind=none ;;
	backup:--description|backup:--description=) kind=none ;;
	backup:--machine|backup:--machine=) kind=file ;;
	backup:--consistency|backup:--consistency=) words=" quiesced offline crash unknown none" ;;
	backup:--format|backup:--format=|backup:-f) kind=format ;;
	backup:--allow-backing|backup:--allow-backing=) kind=dir ;;
	backup:--level|backup:--level=) kind=none ;;
	backup:--threads|backup:--threads=) kind=none ;;
	backup:--rate-limit|backup:--rate-limit=) kind=none ;;
	backup:--json=) words=" lines" ;;
	backup:--progress=) words=" bar json none" ;;
	list:--tag|list:--tag=|list:-t) kind=none ;;
	list:--json=) words=" lines" ;;
	show:--json=) words=" lines" ;;
	restore:--target-format|restore:--target-format=|restore:-O) kind=format ;;
	restore:--option|restore:--option=|restore:-o) kind=none ;;
	restore:--compress=) kind=none ;;
	restore:--digest|restore:--digest=) kind=digest ;;
	restore:--threads|restore:--threads=) kind=none ;;
	restore:--rate-limit|restore:--rate-limit=) kind=none ;;
	restore:--name|restore:--name=) kind=none ;;
	restore:--connect|restore:--connect=) kind=none ;;
	restore:--json=) words=" lines" ;;
	restore:--progress=) words=" bar json none" ;;
	verify:--share|verify:--share=) kind=none ;;
	verify:--threads|verify:--threads=) kind=none ;;
	verify:--json=) words=" lines" ;;
	verify:--progress=) words=" bar json none" ;;
	diff:--format|diff:--format=|diff:-f) kind=format ;;
	diff:--allow-backing|diff:--allow-backing=) kind=dir ;;
	diff:--json=) words=" lines" ;;
	diff:--progress=) words=" bar json none" ;;
	copy:--to|copy:--to=) kind=dir ;;
	copy:--to-password-file|copy:--to-password-file=) kind=file ;;
	copy:--vm|copy:--vm=) kind=machine ;;
	copy:--level|copy:--level=) kind=none ;;
	copy:--threads|copy:--threads=) kind=none ;;
	copy:--rate-limit|copy:--rate-limit=) kind=none ;;
	copy:--json=) words=" lines" ;;
	copy:--progress=) words=" bar json none" ;;
	repair:--from|repair:--from=) kind=dir ;;
	repair:--from-password-file|repair:--from-password-file=) kind=file ;;
	repair:--threads|repair:--threads=) kind=none ;;
	repair:--json=) words=" lines" ;;
	repair:--progress=) words=" bar json none" ;;
	forget:--keep-last|forget:--keep-last=) kind=none ;;
	forget:--keep-hourly|forget:--keep-hourly=) kind=none ;;
	forget:--keep-daily|forget:--keep-daily=) kind=none ;;
	forget:--keep-weekly|forget:--keep-weekly=) kind=none ;;
	forget:--keep-monthly|forget:--keep-monthly=) kind=none ;;
	forget:--keep-yearly|forget:--keep-yearly=) kind=none ;;
	forget:--keep-within|forget:--keep-within=) kind=none ;;
	forget:--keep-tag|forget:--keep-tag=) kind=none ;;
	forget:--vm|forget:--vm=) kind=none ;;
	forget:--max-delete|forget:--max-delete=) kind=none ;;
	forget:--json=) words=" lines" ;;
	ls:--json=) words=" lines" ;;
	get:--progress=) words=" bar json none" ;;
	prune:--keep-last|prune:--keep-last=) kind=none ;;
	prune:--keep-hourly|prune:--keep-hourly=) kind=none ;;
	prune:--keep-daily|prune:--keep-daily=) kind=none ;;
	prune:--keep-weekly|prune:--keep-weekly=) kind=none ;;
	prune:--keep-monthly|prune:--keep-monthly=) kind=none ;;
	prune:--keep-yearly|prune:--keep-yearly=) kind=none ;;
	prune:--keep-within|prune:--keep-within=) kind=none ;;
	prune:--keep-tag|prune:--keep-tag=) kind=none ;;
	prune:--vm|prune:--vm=) kind=none ;;
	prune:--max-delete|prune:--max-delete=) kind=none ;;
	prune:--max-unused|prune:--max-unused=) kind=none ;;
	prune:--wait=) kind=none ;;
	prune:--threads|prune:--threads=) kind=none ;;
	prune:--json=) words=" lines" ;;
	prune:--progress=) words=" bar json none" ;;
	key:--new-password-file|key:--new-password-file=) kind=file ;;
	key:--new-key|key:--new-key=) kind=file ;;
	key:--json=) words=" lines" ;;
	stats:--json=) words=" lines" ;;
	unlock:--json=) words=" lines" ;;
	serve:--socket|serve:--socket=) kind=file ;;
	serve:--port|serve:--port=) kind=none ;;
	serve:--name|serve:--name=) kind=none ;;
	serve:--timeout|serve:--timeout=) kind=none ;;
	run:--config-dir|run:--config-dir=) kind=dir ;;
	run:--wait=) kind=none ;;
	run:--jitter|run:--jitter=) kind=none ;;
	run:--metrics|run:--metrics=) kind=file ;;
	*:--repository|*:--repository=|*:-r) kind=dir ;;
	*:--expect-at-least|*:--expect-at-least=) kind=none ;;
	*:--s3-endpoint|*:--s3-endpoint=) kind=none ;;
	*:--s3-region|*:--s3-region=) kind=none ;;
	*:--s3-ca|*:--s3-ca=) kind=file ;;
	*:--s3-retries|*:--s3-retries=) kind=none ;;
	*:--s3-rate-limit|*:--s3-rate-limit=) kind=none ;;
	*:--s3-object-lock|*:--s3-object-lock=) kind=none ;;
	*:--s3-cache-size|*:--s3-cache-size=) kind=none ;;
	*) return 1 ;;
	esac
}

_vmbackup()
{
	local line=${COMP_LINE:0:COMP_POINT} verb= options= words= kind= cur i
	local -a w environment=()
	read -ra w <<<"$line"
	[[ $line == *[[:blank:]] ]] && w+=("")
	cur=${w[${#w[@]}-1]}
	COMPREPLY=()
	for ((i = 1; i < ${#w[@]} - 1; i++)); do
		case ${w[i]} in
		--repository|-r) environment+=("VMKIT_REPOSITORY=${w[i+1]}"); ((i++)) ;;
		--repository=*) environment+=("VMKIT_REPOSITORY=${w[i]#*=}") ;;
		--expect-at-least) ((i++)) ;;
		--s3-endpoint) environment+=("AWS_ENDPOINT_URL=${w[i+1]}"); ((i++)) ;;
		--s3-endpoint=*) environment+=("AWS_ENDPOINT_URL=${w[i]#*=}") ;;
		--s3-region) environment+=("AWS_REGION=${w[i+1]}"); ((i++)) ;;
		--s3-region=*) environment+=("AWS_REGION=${w[i]#*=}") ;;
		--s3-ca) environment+=("AWS_CA_BUNDLE=${w[i+1]}"); ((i++)) ;;
		--s3-ca=*) environment+=("AWS_CA_BUNDLE=${w[i]#*=}") ;;
		--s3-retries) ((i++)) ;;
		--s3-rate-limit) ((i++)) ;;
		--s3-object-lock) ((i++)) ;;
		--s3-cache-size) ((i++)) ;;
		-*) ;;
		*) [[ -z $verb ]] && verb=${w[i]} ;;
		esac
	done
	if [[ $cur == --*=* ]] && _vmbackup_value "$verb:${cur%%=*}="; then
		cur=${cur#*=}
	elif ((${#w[@]} > 2)) && _vmbackup_value "$verb:${w[${#w[@]}-2]}"; then
		:
	else
		_vmbackup_verb "$verb"
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

complete -F _vmbackup vmbackup
