# shellcheck shell=bash disable=SC2034,SC2086,SC2154
# Backups into a folder, against zstd, borg and restic. borg and restic scan too: without --files-cache disabled and --force they would
# know an unchanged disk by its time stamp.

export VMKIT_PASSWORD_FILE=$work/backup.key VMKIT_REPOSITORY=$work/repository RESTIC_PASSWORD=bench RESTIC_REPOSITORY=$work/restic
export RESTIC_CACHE_DIR=$work/restic-cache
cached=disk.raw
ours="vmbackup backup --vm bench disk=disk.raw"
borg_key() { borg init -e repokey-blake2 borg; }

before='rm -rf repository backup.key && vmbackup init --new-key backup.key' warm=$((data >> 20))
row backup-first "first backup, encrypted, zstd 3; against zstd -T0 -3 of the data" time=1.2,cpu=0.8,mib=96 - \
	"$ours" "sh -c 'zstd -T0 -3 -q -f data.bin -o out.zst && sync out.zst'"
rm -f out.zst
warm=''

# Day 2: 4000 places that hold data, each 64 bytes changed in place, as a database and logs do.
day_two() {
	cp --sparse=always --reflink=auto disk.raw day2.raw && python3 - <<-'END'
		import os, random
		random.seed(2)
		f = os.open("day2.raw", os.O_RDWR)
		at, extents = 0, []
		while True:
		    try:
		        at = os.lseek(f, at, os.SEEK_DATA)
		    except OSError:
		        break
		    end = os.lseek(f, at, os.SEEK_HOLE)
		    extents.append((at, end))
		    at = end
		for i in range(4000):
		    a, b = random.choices(extents, [y - x for x, y in extents])[0]
		    os.pwrite(f, random.randbytes(64), random.randrange(a // 4096, b // 4096) * 4096 + random.randrange(4032))
	END
}

# keep_day1 THERE, back_to_day1 THERE - both repositories as they are now; with the caches of the peer, which it checks against them
keep_day1() {
	rm -rf day1 && mkdir -p day1 restic-cache .cache .config && cp -a repository day1/ours && cp -a "$1" day1/theirs &&
		cp -a restic-cache .cache .config day1
}
back_to_day1() {
	rm -rf repository "$1" restic-cache .cache .config && cp -a day1/ours repository && cp -a day1/theirs "$1" &&
		cp -a day1/restic-cache day1/.cache day1/.config .
}

# peer ID TITLE SCAN RESTORE [VERIFY] - the rows against one peer, by its commands $init, $create_first, $create_again, $create_day2,
# $restore_first, $verify and $forget on its repository $there; SCAN and RESTORE: time wanted, VERIFY: as row's WANTED
peer() {
	local id=$1 title=$2 scan=$3 restore=$4
	[[ backup-first-$id =~ $regex || backup-unchanged-$id =~ $regex || backup-day2-$id =~ $regex || restore-$id =~ $regex ||
		verify-$id =~ $regex || backup-second-$id =~ $regex ]] || return 0
	before="rm -rf repository backup.key $there && vmbackup init --new-key backup.key && $init"
	row backup-first-$id "first backup; against $title" mib=96 grown:repository:$there "$ours" "$create_first"
	rm -rf repository backup.key "$there"
	{ vmbackup init --new-key backup.key && $ours && eval "$init" && eval "$create_first"; } >log 2>&1 || die "$(tail -n 3 log)"
	# A new time of change, or the file would be known to be the same without a look into it.
	before="$forget; touch disk.raw"
	row backup-unchanged-$id "unchanged backup by scan; against $title" time=$scan - "$ours" "$create_again"
	before='rm -rf out; mkdir out'
	row restore-$id "restore to raw; against $title" time=$restore out "vmbackup restore bench@latest out/disk.raw" "$restore_first"
	before=''
	row verify-$id "verify of all data; against $title" ${5:--} - "vmbackup verify" "$verify"
	if [[ backup-day2-$id =~ $regex ]]; then
		[ -e day2.raw ] || day_two || die "day2.raw"
		keep_day1 "$there" || die day1
		before="back_to_day1 $there" cached=day2.raw
		row backup-day2-$id "day 2, 4000 places changed; against $title" time=0.25,size=0.333 grown:repository:$there \
			"vmbackup backup --vm bench disk=day2.raw" "$create_day2"
		cached=disk.raw
		rm -rf day1
	fi
	rm -rf repository "$there" out
}

for chunks in 4194304 65536; do
	borg="borg create --sparse --files-cache disabled --compression zstd,3 --chunker-params fixed,$chunks"
	there=borg init=borg_key forget="borg delete borg::again || true"
	create_first="$borg borg::first disk.raw" create_again="$borg borg::again disk.raw" create_day2="$borg borg::two day2.raw"
	restore_first="sh -c 'cd out && borg extract --sparse ../borg::first disk.raw'" verify="borg check --verify-data borg"
	peer $chunks "borg, fixed chunks of $chunks" 0.333 0.5 time=0.5
done
if command -v restic >/dev/null; then
	there=restic init="restic init" forget=true
	create_first="restic backup -q disk.raw" create_again="restic backup -q --force disk.raw" create_day2="restic backup -q day2.raw"
	restore_first="restic restore -q latest --target out" verify="restic check -q --read-data"
	peer restic restic 0.167 0.25
fi

before='rm -rf repository backup.key && vmbackup init --new-key backup.key && vmbackup backup --vm bench disk=disk.raw; rm -rf borg; borg_key; borg create --sparse borg::first disk.raw'
row backup-known "unchanged backup, the file as it was; against borg with its file cache" ms=100 - "$ours" "borg create --sparse borg::again disk.raw"

# A second machine: the same system, its files in another order and one in ten others.
second_machine() {
	mkdir files2
	find /usr /opt /etc /var/lib -xdev -type f -readable -size -256M -printf '%s %p\0' 2>/dev/null | sort -z -t' ' -k2 -u |
		awk -v RS='\0' -v ORS='\0' -v max="$bytes" 'BEGIN { srand(3) }
			{ sum += $1; if (sum > max) exit; sub(/^[0-9]+ /, ""); if (rand() > .1) print }' | sort -z -R --random-source=/bin/bash >list2
	tar -C / --null -T list2 -cf - --ignore-failed-read 2>/dev/null | tar -C files2 -xf - && mkdir files2/own &&
		head -c 50M /dev/urandom >files2/own/data && truncate -s "$disk_size" second.raw && mke2fs -q -t ext4 -F -d files2 second.raw
	rm -rf files2 list2
}
if [[ backup-second =~ $regex ]]; then
	second_machine || die second_machine
	borg="borg create --sparse --files-cache disabled --compression zstd,3 --chunker-params fixed,4194304"
	rm -rf repository backup.key borg
	{ vmbackup init --new-key backup.key && $ours && borg_key && $borg borg::first disk.raw && keep_day1 borg; } >log 2>&1 ||
		die "$(tail -n 3 log)"
	before="back_to_day1 borg" cached=second.raw
	row backup-second "a second machine with the same system; against borg, fixed chunks of 4194304" size=0.8 grown:repository:borg \
		"vmbackup backup --vm other disk=second.raw" "$borg borg::second second.raw"
	rm -rf day1 second.raw
fi
rm -rf repository borg
