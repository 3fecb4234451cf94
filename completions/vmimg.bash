# bash completion for vmimg, made by "vmimg __completion bash"

_vmimg_verb() # sets options and kind of arguments for a verb
{
	case $1 in
	info)
		options=" --format= --chain --force-share --allow-backing= --json --quiet --verbose --help --version"
		kind=file ;;
	convert)
		options=" --format= --target-format= --option= --for= --compress --digest= --verify --resume --snapshot= --backing= --backing-format= --allow-backing= --disk= --name= --cpus= --memory= --firmware= --nic= --os= --domain-xml= --force --threads= --rate-limit= --force-share --no-sync --dry-run --json --progress --quiet --verbose --help --version"
		kind=file ;;
	create)
		options=" --format= --option= --for= --backing= --backing-format= --allow-backing= --force --quiet --verbose --help --version"
		kind=file ;;
	check)
		options=" --format= --repair --deep --force-share --json --quiet --verbose --help --version"
		kind=file ;;
	compare)
		options=" --format= --second-format= --strict --all --allow-backing= --force-share --threads= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	map)
		options=" --format= --start-offset= --max-length= --data --snapshot= --force-share --allow-backing= --json --quiet --verbose --help --version"
		kind=file ;;
	measure)
		options=" --target-format= --option= --for= --size= --scan --format= --snapshot= --allow-backing= --force-share --json --quiet --verbose --help --version"
		kind=file ;;
	digest)
		options=" --algorithm= --format= --snapshot= --allow-backing= --force-share --threads= --json --progress --quiet --verbose --help --version"
		kind=file ;;
	resize)
		options=" --format= --shrink --force --keep-table --allow-backing= --dry-run --json --quiet --verbose --help --version"
		kind=file ;;
	commit)
		options=" --format= --keep --allow-backing= --threads= --dry-run --json --progress --quiet --verbose --help --version"
		kind=file ;;
	rebase)
		options=" --backing= --backing-format= --unsafe --format= --allow-backing= --threads= --dry-run --json --progress --quiet --verbose --help --version"
		kind=file ;;
	sparsify)
		options=" --format= --partition= --target-format= --option= --compress --allow-backing= --force --threads= --dry-run --json --progress --quiet --verbose --help --version"
		kind=file ;;
	serve)
		options=" --format= --snapshot= --socket= --port= --name= --writable --cow --once --timeout= --exit-with-parent --force-share --allow-backing= --quiet --verbose --help --version"
		kind=file ;;
	inspect)
		options=" --format= --snapshot= --allow-backing= --no-appliance --force-share --json --quiet --verbose --help --version"
		kind=file ;;
	ls)
		options=" --long --recursive --directory --null --format= --snapshot= --allow-backing= --no-appliance --force-share --json --quiet --verbose --help --version"
		kind=file ;;
	cat)
		options=" --format= --snapshot= --allow-backing= --no-appliance --force-share --quiet --verbose --help --version"
		kind=file ;;
	get)
		options=" --format= --snapshot= --allow-backing= --no-appliance --force-share --force --progress --quiet --verbose --help --version"
		kind=file ;;
	put)
		options=" --format= --mode= --owner= --force --dry-run --progress --quiet --verbose --help --version"
		kind=file ;;
	'')
		options=" --quiet --verbose --help --version"
		words=" info convert create check compare map measure digest resize commit rebase sparsify serve inspect ls cat get put" ;;
	esac
}

_vmimg_value() # sets words or kind for VERB:OPTION; fails when the option has no value there
{
	case $1 in
	info:--format|info:--format=|info:-f) kind=format ;;
	info:--allow-backing|info:--allow-backing=) kind=dir ;;
	info:--json=) words=" lines" ;;
	convert:--format|convert:--format=|convert:-f) kind=format ;;
	convert:--target-format|convert:--target-format=|convert:-O) kind=format ;;
	convert:--option|convert:--option=|convert:-o) kind=none ;;
	convert:--for|convert:--for=) words=" azure aws gce esxi hyperv virtualbox openstack proxmox" ;;
	convert:--compress=) kind=none ;;
	convert:--digest|convert:--digest=) kind=digest ;;
	convert:--snapshot|convert:--snapshot=) kind=none ;;
	convert:--backing|convert:--backing=|convert:-B) kind=file ;;
	convert:--backing-format|convert:--backing-format=|convert:-F) kind=format ;;
	convert:--allow-backing|convert:--allow-backing=) kind=dir ;;
	convert:--disk|convert:--disk=) kind=none ;;
	convert:--name|convert:--name=) kind=none ;;
	convert:--cpus|convert:--cpus=) kind=none ;;
	convert:--memory|convert:--memory=) kind=none ;;
	convert:--firmware|convert:--firmware=) words=" bios efi efi-secure" ;;
	convert:--nic|convert:--nic=) kind=none ;;
	convert:--os|convert:--os=) kind=none ;;
	convert:--domain-xml|convert:--domain-xml=) kind=file ;;
	convert:--threads|convert:--threads=) kind=none ;;
	convert:--rate-limit|convert:--rate-limit=) kind=none ;;
	convert:--json=) words=" lines" ;;
	convert:--progress=) words=" bar json none" ;;
	create:--format|create:--format=|create:-f) kind=format ;;
	create:--option|create:--option=|create:-o) kind=none ;;
	create:--for|create:--for=) words=" azure aws gce esxi hyperv virtualbox openstack proxmox" ;;
	create:--backing|create:--backing=|create:-b) kind=file ;;
	create:--backing-format|create:--backing-format=|create:-F) kind=format ;;
	create:--allow-backing|create:--allow-backing=) kind=dir ;;
	check:--format|check:--format=|check:-f) kind=format ;;
	check:--repair=) words=" leaks all" ;;
	check:--json=) words=" lines" ;;
	compare:--format|compare:--format=|compare:-f) kind=format ;;
	compare:--second-format|compare:--second-format=|compare:-F) kind=format ;;
	compare:--allow-backing|compare:--allow-backing=) kind=dir ;;
	compare:--threads|compare:--threads=) kind=none ;;
	compare:--json=) words=" lines" ;;
	compare:--progress=) words=" bar json none" ;;
	map:--format|map:--format=|map:-f) kind=format ;;
	map:--start-offset|map:--start-offset=|map:-s) kind=none ;;
	map:--max-length|map:--max-length=|map:-l) kind=none ;;
	map:--snapshot|map:--snapshot=) kind=none ;;
	map:--allow-backing|map:--allow-backing=) kind=dir ;;
	map:--json=) words=" lines" ;;
	measure:--target-format|measure:--target-format=|measure:-O) kind=format ;;
	measure:--option|measure:--option=|measure:-o) kind=none ;;
	measure:--for|measure:--for=) words=" azure aws gce esxi hyperv virtualbox openstack proxmox" ;;
	measure:--size|measure:--size=) kind=none ;;
	measure:--format|measure:--format=|measure:-f) kind=format ;;
	measure:--snapshot|measure:--snapshot=) kind=none ;;
	measure:--allow-backing|measure:--allow-backing=) kind=dir ;;
	measure:--json=) words=" lines" ;;
	digest:--algorithm|digest:--algorithm=|digest:-a) kind=digest ;;
	digest:--format|digest:--format=|digest:-f) kind=format ;;
	digest:--snapshot|digest:--snapshot=) kind=none ;;
	digest:--allow-backing|digest:--allow-backing=) kind=dir ;;
	digest:--threads|digest:--threads=) kind=none ;;
	digest:--json=) words=" lines" ;;
	digest:--progress=) words=" bar json none" ;;
	resize:--format|resize:--format=|resize:-f) kind=format ;;
	resize:--allow-backing|resize:--allow-backing=) kind=dir ;;
	resize:--json=) words=" lines" ;;
	commit:--format|commit:--format=|commit:-f) kind=format ;;
	commit:--allow-backing|commit:--allow-backing=) kind=dir ;;
	commit:--threads|commit:--threads=) kind=none ;;
	commit:--json=) words=" lines" ;;
	commit:--progress=) words=" bar json none" ;;
	rebase:--backing|rebase:--backing=|rebase:-b) kind=file ;;
	rebase:--backing-format|rebase:--backing-format=|rebase:-F) kind=format ;;
	rebase:--format|rebase:--format=|rebase:-f) kind=format ;;
	rebase:--allow-backing|rebase:--allow-backing=) kind=dir ;;
	rebase:--threads|rebase:--threads=) kind=none ;;
	rebase:--json=) words=" lines" ;;
	rebase:--progress=) words=" bar json none" ;;
	sparsify:--format|sparsify:--format=|sparsify:-f) kind=format ;;
	sparsify:--partition|sparsify:--partition=) kind=none ;;
	sparsify:--target-format|sparsify:--target-format=|sparsify:-O) kind=format ;;
	sparsify:--option|sparsify:--option=|sparsify:-o) kind=none ;;
	sparsify:--compress=) kind=none ;;
	sparsify:--allow-backing|sparsify:--allow-backing=) kind=dir ;;
	sparsify:--threads|sparsify:--threads=) kind=none ;;
	sparsify:--json=) words=" lines" ;;
	sparsify:--progress=) words=" bar json none" ;;
	serve:--format|serve:--format=|serve:-f) kind=format ;;
	serve:--snapshot|serve:--snapshot=) kind=none ;;
	serve:--socket|serve:--socket=) kind=file ;;
	serve:--port|serve:--port=) kind=none ;;
	serve:--name|serve:--name=) kind=none ;;
	serve:--timeout|serve:--timeout=) kind=none ;;
	serve:--allow-backing|serve:--allow-backing=) kind=dir ;;
	inspect:--format|inspect:--format=|inspect:-f) kind=format ;;
	inspect:--snapshot|inspect:--snapshot=) kind=none ;;
	inspect:--allow-backing|inspect:--allow-backing=) kind=dir ;;
	inspect:--json=) words=" lines" ;;
	ls:--format|ls:--format=|ls:-f) kind=format ;;
	ls:--snapshot|ls:--snapshot=) kind=none ;;
	ls:--allow-backing|ls:--allow-backing=) kind=dir ;;
	ls:--json=) words=" lines" ;;
	cat:--format|cat:--format=|cat:-f) kind=format ;;
	cat:--snapshot|cat:--snapshot=) kind=none ;;
	cat:--allow-backing|cat:--allow-backing=) kind=dir ;;
	get:--format|get:--format=|get:-f) kind=format ;;
	get:--snapshot|get:--snapshot=) kind=none ;;
	get:--allow-backing|get:--allow-backing=) kind=dir ;;
	get:--progress=) words=" bar json none" ;;
	put:--format|put:--format=|put:-f) kind=format ;;
	put:--mode|put:--mode=|put:-m) kind=none ;;
	put:--owner|put:--owner=) kind=none ;;
	put:--progress=) words=" bar json none" ;;
	*) return 1 ;;
	esac
}

_vmimg()
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
	if [[ $cur == --*=* ]] && _vmimg_value "$verb:${cur%%=*}="; then
		cur=${cur#*=}
	elif ((${#w[@]} > 2)) && _vmimg_value "$verb:${w[${#w[@]}-2]}"; then
		:
	else
		_vmimg_verb "$verb"
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

complete -F _vmimg vmimg
