# bash completion for vmctl, made by "vmctl __completion bash"

_vmctl_verb() # sets options and kind of arguments for a verb
{
	case $1 in
	list)
		options=" --state= --null --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=none ;;
	info)
		options=" --xml --config --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=machine ;;
	start)
		options=" --all --autostart --paused --fresh --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	stop)
		options=" --all --now --no-force --timeout= --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=machine ;;
	reboot)
		options=" --all --reset --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	suspend)
		options=" --all --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	resume)
		options=" --all --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	save)
		options=" --to= --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	restore)
		options=" --paused --connect= --host-timeout= --quiet --verbose --help --version"
		kind=file ;;
	delete)
		options=" --all --force --dry-run --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	console)
		options=" --device= --force --send= --wait-for= --timeout= --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	exec)
		options=" --input --timeout= --env= --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	edit)
		options=" --input --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	set)
		options=" --cpus= --max-cpus= --memory= --max-memory= --cpu-limit= --cpu-shares= --memory-limit= --pin= --disk-limit= --net-limit= --live --config --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=machine ;;
	autostart)
		options=" --all --off --order= --delay= --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	create)
		options=" --image= --from-backup= --format= --allow-backing= --size= --dir= --memory= --cpus= --kernel= --initrd= --append= --accel= --network= --user= --ssh-key= --hostname= --user-data= --network-config= --start --dry-run --connect= --host-timeout= --json --progress --quiet --verbose --help --version"
		kind=none ;;
	clone)
		options=" --linked --dir= --start --connect= --host-timeout= --json --progress --quiet --verbose --help --version"
		kind=machine ;;
	attach)
		options=" --disk= --network= --target= --format= --read-only --mac= --live --config --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=machine ;;
	detach)
		options=" --timeout= --live --config --connect= --host-timeout= --quiet --verbose --help --version"
		kind=machine ;;
	stats)
		options=" --prometheus --metrics= --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=none ;;
	hosts)
		options=" --pacemaker --definitions= --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=none ;;
	migrate)
		options=" --storage= --disk-dir= --peer-to-peer --uri= --timeout= --on-timeout= --auto-converge --bandwidth= --unsafe --check --connect= --host-timeout= --json --progress --quiet --verbose --help --version"
		kind=machine ;;
	events)
		options=" --kind= --present --count= --timeout= --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=machine ;;
	export)
		options=" --force --verify --connect= --host-timeout= --progress --quiet --verbose --help --version"
		kind=machine ;;
	import)
		options=" --machine= --dir= --bus= --network= --keep-macs --memory= --cpus= --kernel= --initrd= --append= --accel= --start --dry-run --connect= --host-timeout= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	watch)
		options=" --interval= --tries= --delay= --max-delay= --settle= --no-restart --no-resume --space= --balance --memory-least= --reserve= --scale --cpus-least= --scale-at= --once --timeout= --dry-run --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=machine ;;
	audit)
		options=" --verb= --user= --machine= --since= --file= --verify --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=none ;;
	net)
		options=" --bridge= --nat= --isolated= --autostart --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=none ;;
	pool)
		options=" --dir= --autostart --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=none ;;
	report)
		options=" --record --samples= --age= --least-samples= --dir= --connect= --host-timeout= --json --quiet --verbose --help --version"
		kind=none ;;
	'')
		options=" --connect= --host-timeout= --quiet --verbose --help --version"
		words=" list info start stop reboot suspend resume save restore delete console exec edit set autostart create clone attach detach stats hosts migrate events export import watch audit net pool report" ;;
	esac
}

_vmctl_value() # sets words or kind for VERB:OPTION; fails when the option has no value there
{
	case $1 in
	list:--state|list:--state=) words=" off running paused stopping crashed sleeping" ;;
	list:--json=) words=" lines" ;;
	info:--json=) words=" lines" ;;
	stop:--timeout|stop:--timeout=|stop:-t) kind=none ;;
	stop:--json=) words=" lines" ;;
	save:--to|save:--to=|save:-o) kind=file ;;
	console:--device|console:--device=) kind=none ;;
	console:--send|console:--send=) kind=none ;;
	console:--wait-for|console:--wait-for=) kind=none ;;
	console:--timeout|console:--timeout=|console:-t) kind=none ;;
	exec:--timeout|exec:--timeout=|exec:-t) kind=none ;;
	exec:--env|exec:--env=|exec:-e) kind=none ;;
	set:--cpus|set:--cpus=) kind=none ;;
	set:--max-cpus|set:--max-cpus=) kind=none ;;
	set:--memory|set:--memory=) kind=none ;;
	set:--max-memory|set:--max-memory=) kind=none ;;
	set:--cpu-limit|set:--cpu-limit=) kind=none ;;
	set:--cpu-shares|set:--cpu-shares=) kind=none ;;
	set:--memory-limit|set:--memory-limit=) kind=none ;;
	set:--pin|set:--pin=) kind=none ;;
	set:--disk-limit|set:--disk-limit=) kind=none ;;
	set:--net-limit|set:--net-limit=) kind=none ;;
	set:--json=) words=" lines" ;;
	autostart:--order|autostart:--order=) kind=none ;;
	autostart:--delay|autostart:--delay=) kind=none ;;
	create:--image|create:--image=) kind=file ;;
	create:--from-backup|create:--from-backup=) kind=none ;;
	create:--format|create:--format=|create:-f) kind=format ;;
	create:--allow-backing|create:--allow-backing=) kind=dir ;;
	create:--size|create:--size=) kind=none ;;
	create:--dir|create:--dir=) kind=dir ;;
	create:--memory|create:--memory=|create:-m) kind=none ;;
	create:--cpus|create:--cpus=) kind=none ;;
	create:--kernel|create:--kernel=) kind=file ;;
	create:--initrd|create:--initrd=) kind=file ;;
	create:--append|create:--append=) kind=none ;;
	create:--accel|create:--accel=) words=" auto kvm tcg" ;;
	create:--network|create:--network=) kind=none ;;
	create:--user|create:--user=) kind=none ;;
	create:--ssh-key|create:--ssh-key=) kind=file ;;
	create:--hostname|create:--hostname=) kind=none ;;
	create:--user-data|create:--user-data=) kind=file ;;
	create:--network-config|create:--network-config=) kind=file ;;
	create:--json=) words=" lines" ;;
	create:--progress=) words=" bar json none" ;;
	clone:--dir|clone:--dir=) kind=dir ;;
	clone:--json=) words=" lines" ;;
	clone:--progress=) words=" bar json none" ;;
	attach:--disk|attach:--disk=) kind=file ;;
	attach:--network|attach:--network=) kind=none ;;
	attach:--target|attach:--target=) kind=none ;;
	attach:--format|attach:--format=|attach:-f) kind=none ;;
	attach:--mac|attach:--mac=) kind=none ;;
	attach:--json=) words=" lines" ;;
	detach:--timeout|detach:--timeout=|detach:-t) kind=none ;;
	stats:--metrics|stats:--metrics=) kind=file ;;
	stats:--json=) words=" lines" ;;
	hosts:--definitions|hosts:--definitions=) kind=dir ;;
	hosts:--json=) words=" lines" ;;
	migrate:--storage|migrate:--storage=) words=" shared copy" ;;
	migrate:--disk-dir|migrate:--disk-dir=) kind=none ;;
	migrate:--uri|migrate:--uri=) kind=none ;;
	migrate:--timeout|migrate:--timeout=|migrate:-t) kind=none ;;
	migrate:--on-timeout|migrate:--on-timeout=) words=" cancel suspend" ;;
	migrate:--bandwidth|migrate:--bandwidth=) kind=none ;;
	migrate:--json=) words=" lines" ;;
	migrate:--progress=) words=" bar json none" ;;
	events:--kind|events:--kind=) kind=none ;;
	events:--count|events:--count=) kind=none ;;
	events:--timeout|events:--timeout=) kind=none ;;
	events:--json=) words=" lines" ;;
	export:--progress=) words=" bar json none" ;;
	import:--machine|import:--machine=) kind=none ;;
	import:--dir|import:--dir=) kind=dir ;;
	import:--bus|import:--bus=) words=" as-is virtio sata scsi ide" ;;
	import:--network|import:--network=) kind=none ;;
	import:--memory|import:--memory=|import:-m) kind=none ;;
	import:--cpus|import:--cpus=) kind=none ;;
	import:--kernel|import:--kernel=) kind=file ;;
	import:--initrd|import:--initrd=) kind=file ;;
	import:--append|import:--append=) kind=none ;;
	import:--accel|import:--accel=) words=" auto kvm tcg" ;;
	import:--json=) words=" lines" ;;
	import:--progress=) words=" bar json none" ;;
	watch:--interval|watch:--interval=) kind=none ;;
	watch:--tries|watch:--tries=) kind=none ;;
	watch:--delay|watch:--delay=) kind=none ;;
	watch:--max-delay|watch:--max-delay=) kind=none ;;
	watch:--settle|watch:--settle=) kind=none ;;
	watch:--space|watch:--space=) kind=none ;;
	watch:--memory-least|watch:--memory-least=) kind=none ;;
	watch:--reserve|watch:--reserve=) kind=none ;;
	watch:--cpus-least|watch:--cpus-least=) kind=none ;;
	watch:--scale-at|watch:--scale-at=) kind=none ;;
	watch:--timeout|watch:--timeout=) kind=none ;;
	watch:--json=) words=" lines" ;;
	audit:--verb|audit:--verb=) kind=none ;;
	audit:--user|audit:--user=) kind=none ;;
	audit:--machine|audit:--machine=) kind=machine ;;
	audit:--since|audit:--since=) kind=none ;;
	audit:--file|audit:--file=) kind=file ;;
	audit:--json=) words=" lines" ;;
	net:--bridge|net:--bridge=) kind=none ;;
	net:--nat|net:--nat=) kind=none ;;
	net:--isolated|net:--isolated=) kind=none ;;
	net:--json=) words=" lines" ;;
	pool:--dir|pool:--dir=) kind=dir ;;
	pool:--json=) words=" lines" ;;
	report:--samples|report:--samples=) kind=file ;;
	report:--age|report:--age=) kind=none ;;
	report:--least-samples|report:--least-samples=) kind=none ;;
	report:--dir|report:--dir=) kind=dir ;;
	report:--json=) words=" lines" ;;
	*:--connect|*:--connect=|*:-c) kind=none ;;
	*:--host-timeout|*:--host-timeout=) kind=none ;;
	*) return 1 ;;
	esac
}

_vmctl()
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
		--host-timeout) ((i++)) ;;
		-*) ;;
		*) [[ -z $verb ]] && verb=${w[i]} ;;
		esac
	done
	if [[ $cur == --*=* ]] && _vmctl_value "$verb:${cur%%=*}="; then
		cur=${cur#*=}
	elif ((${#w[@]} > 2)) && _vmctl_value "$verb:${w[${#w[@]}-2]}"; then
		:
	else
		_vmctl_verb "$verb"
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

complete -F _vmctl vmctl
