# vmctl create and clone: disks, seeds and identities, with a real daemon; one machine is booted, and its clone.
# bats file_tags=slow,release

load common
load lvhost

setup_file() { lv_init && lv_guest && lv_on A virsh list >/dev/null; }
teardown_file() { lv_down; }

setup() {
	common_setup
	require xmllint isoinfo blkid qemu-img ssh-keygen
	DIR=$LV_BASE/$BATS_TEST_NUMBER
	lv_as mkdir -p "$DIR"
	random_image in.raw $((8 << 20))
	chmod 644 in.raw
	cp in.raw "$DIR/in.raw"
}

ctl() { lv_on A "$VMKIT_BIN/vmctl" "$@"; }
# seed NAME - what cloud-init reads in the machine's seed, to seed.json
seed() {
	/usr/bin/python3 "$ROOT/tests/cloud-seed.py" "$DIR/$1.seed.iso" >seed.json || fail "cloud-init refuses it"
}
xml() { lv_on A virsh dumpxml --inactive "$1"; }

@test "create: from a VMDK, converted and grown; libvirt has what was asked for" {
	qemu-img convert -O vmdk in.raw "$DIR/in.vmdk"
	chmod 644 "$DIR/in.vmdk"
	run_split ctl create one --image "$DIR/in.vmdk" --size 16M --dir "$DIR" -m 100M --cpus 2 --accel tcg --json
	assert_status 0
	assert_schema vmctl-create
	[ "$(json .disk)" = "$DIR/one.qcow2" ]
	[ "$(json .seed)" = null ]
	assert_same_disk in.raw "$DIR/one.qcow2" raw qcow2
	[ "$(qemu-img info --output=json "$DIR/one.qcow2" | jq '."virtual-size"')" = $((16 << 20)) ]
	xml one >one.xml
	[ "$(xmllint --xpath 'string(/domain/memory)' one.xml)" = $((100 << 10)) ]
	[ "$(xmllint --xpath 'string(/domain/vcpu)' one.xml)" = 2 ]
	[ "$(xmllint --xpath 'string(/domain/@type)' one.xml)" = qemu ]
	run_split ctl create one --size 1M --dir "$DIR"
	assert_status 5
}

@test "create: the seed is what cloud-init reads" {
	ssh-keygen -q -t ed25519 -N '' -C 'a: "key"' -f key
	chmod 644 key.pub
	cp key.pub "$DIR/"
	run_split ctl create two --image "$DIR/in.raw" -f raw --dir "$DIR" --user me --ssh-key "$DIR/key.pub" --json
	assert_status 0
	assert_schema vmctl-create
	seed two
	[ "$(jq -r .hostname seed.json)" = two ]
	[ "$(jq -r .instance_id seed.json)" = "$(json .uuid)" ]
	[ "$(jq -r '.users.me.ssh_authorized_keys[0]' seed.json)" = "$(cat key.pub)" ]
	[ "$(jq -r .users.me.sudo seed.json)" = 'ALL=(ALL) NOPASSWD:ALL' ]
	printf 'version: 2\nethernets:\n  lan: {match: {name: "e*"}, set-name: lan, dhcp4: true}\n' >"$DIR/net"
	ctl create other --image "$DIR/in.raw" -f raw --dir "$DIR" --ssh-key "$DIR/key.pub" --hostname 'a-host' --network-config "$DIR/net"
	seed other
	[ "$(jq -c '[.hostname, .keys, .users, .interfaces]' seed.json)" = "$(jq -nc --arg k "$(cat key.pub)" '["a-host", [$k], {}, ["lan"]]')" ]
	run_split ctl create latin --image "$DIR/in.raw" -f raw --dir "$DIR" --user $'m\xe9'
	assert_status 2
	[ ! -e "$DIR/latin.qcow2" ]
	cp key "$DIR/secret" && chmod 644 "$DIR/secret"
	run_split ctl create three --image "$DIR/in.raw" -f raw --dir "$DIR" --ssh-key "$DIR/secret"
	assert_status 2
	[ ! -e "$DIR/three.qcow2" ]
	[ ! -e "$DIR/three.seed.iso" ]
}

@test "clone: same disks, other identities; linked ones hold nothing of their own" {
	ctl create four --image "$DIR/in.raw" -f raw --dir "$DIR"
	run_split ctl clone four five --dir "$DIR" --json
	assert_status 0
	assert_schema vmctl-clone
	assert_same_disk in.raw "$DIR/five-vda.qcow2" raw qcow2
	run_split ctl clone --linked four six --dir "$DIR" --json
	assert_status 0
	assert_same_disk in.raw "$DIR/six-vda.qcow2" raw qcow2
	[ "$(qemu-img info --output=json "$DIR/six-vda.qcow2" | jq -r '."full-backing-filename"')" = "$DIR/four.qcow2" ]
	for m in four five six; do xml $m >$m.xml; done
	[ "$(for m in four five six; do xmllint --xpath 'string(/domain/uuid)' $m.xml; done | sort -u | wc -l)" = 3 ]
	[ "$(for m in four five six; do xmllint --xpath 'string(//mac/@address)' $m.xml; done | sort -u | wc -l)" = 3 ]
	run_split ctl clone four five --dir "$DIR"
	assert_status 5
}

@test "what create and clone made boots, with its disk and its agent" {
	truncate -s 64M boot.raw
	mke2fs -q -t ext4 -F boot.raw
	cp boot.raw "$DIR/boot.raw"
	chmod 644 "$DIR/boot.raw"
	ctl create seven --image "$DIR/boot.raw" -f raw --dir "$DIR" -m 192M --accel tcg --kernel "$LV_BASE/vmlinuz" \
		--initrd "$LV_BASE/initrd.gz" --append 'console=ttyS0 quiet' --user me --start
	lv_agent A seven
	run ctl exec seven -- sh -c 'echo kept >/mnt/file && sync && cat /mnt/file'
	assert_output kept
	ctl stop seven
	ctl clone --start seven eight --dir "$DIR"
	lv_agent A eight
	run ctl exec eight -- cat /mnt/file
	assert_output kept
	ctl stop eight
	for m in seven eight; do
		[ "$(lv_on A virsh domstate $m | head -n 1)" = "shut off" ]
		qemu-img check "$DIR/$(basename "$(ctl info --json $m | jq -r '.[0].disks[0].source')")"
	done
}

@test "pool: with a real daemon what was made is there, with its volumes" {
	ctl pool ensure "images $BATS_TEST_NUMBER" --dir "$DIR/pool" --autostart
	ctl pool ensure "images $BATS_TEST_NUMBER" --dir "$DIR/pool"
	lv_as qemu-img create -q -f qcow2 "$DIR/pool/a.qcow2" 3M
	ctl pool refresh "images $BATS_TEST_NUMBER"
	run_split ctl pool volumes "images $BATS_TEST_NUMBER" --json
	assert_schema vmctl-pool
	[ "$(json '.[0] | [.name, .format, .capacity, .path] | join(" ")')" = "a.qcow2 qcow2 $((3 << 20)) $DIR/pool/a.qcow2" ]
	[ "$(ctl pool list --json | jq -r ".[] | select(.name == \"images $BATS_TEST_NUMBER\") | \"\(.active) \(.autostart) \(.path)\"")" = "true true $DIR/pool" ]
	ctl pool delete "images $BATS_TEST_NUMBER"
	[ -e "$DIR/pool/a.qcow2" ]
	run lv_on A virsh pool-list --all --name
	refute_output --partial images
}
