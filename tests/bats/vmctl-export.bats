# vmctl export against libvirt's test driver: machines that are off, disks that are real.

load common

setup() {
	common_setup
	require qemu-img jq tar
	random_image one.raw $((4 << 20)) 1
	random_image two.raw $((2 << 20)) 2
	qemu-img convert -f raw -O qcow2 one.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 one.qcow2
	qemu-io -f qcow2 -c 'write -P 7 1M 64k' one.qcow2 >/dev/null
	disk() { echo "<disk type='$1' device='${5:-disk}'><driver name='qemu' type='$2'/><source $3/><target dev='$4' bus='sata'/>${6:-}</disk>"; }
	# machine NAME RUNSTATE DISKS: 1 runs, 5 is off
	machine() {
		echo "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>$1</name><memory unit='MiB'>514</memory><vcpu>3</vcpu>
<os><type>hvm</type></os><devices>$3<interface type='network'><mac address='52:54:00:01:02:03'/><source network='lan'/><model type='virtio'/></interface></devices>
<test:runstate>$2</test:runstate></domain>"
	}
	{
		echo '<node>'
		machine web 5 "$(disk file qcow2 "file='$PWD/one.qcow2'" sda)$(disk file raw "file='$PWD/two.raw'" sdb)$(disk file raw "file='$PWD/cd.iso'" sdc cdrom)"
		machine busy 1 "$(disk file raw "file='$PWD/two.raw'" sda)"
		machine gone 5 "$(disk file raw "file='$PWD/none.raw'" sda)"
		machine far 5 "$(disk network raw "protocol='nbd' name='x'" sda)"
		machine half 5 "$(disk file raw "file='$PWD/two.raw'" sda)$(disk file raw "file='$PWD/one.raw'" sdb disk '<readonly/>')"
		machine bare 5 ""
		echo '</node>'
	} >node.xml
	export VMKIT_CONNECT=test://$PWD/node.xml
}

@test "export: disks, digests and the machine are in the OVA; a pipe gets the same bytes" {
	[ "$(vmctl list --state off -0 | tr '\0' ' ')" = "bare far gone half web " ]
	run_split vmctl export --verify web web.ova
	assert_status 0
	[ -z "$output$stderr" ]
	mkdir x && tar -xf web.ova -C x
	(cd x && sed 's/^SHA256(\(.*\))= \(.*\)$/\2  \1/' ./*.mf | sha256sum -c --quiet)
	[ "$(find x -name '*.vmdk' | wc -l)" = 2 ]
	assert_same_disk one.qcow2 "$(find x -name '*disk1.vmdk')" qcow2 vmdk
	assert_same_disk two.raw "$(find x -name '*disk2.vmdk')" raw vmdk
	run_split vmimg check web.ova
	assert_status 0
	vmimg info --json web.ova >info.json
	[ "$(jq -r '.. | .name? // empty | strings' info.json | grep -cx web)" -ge 1 ]
	grep -q '<rasd:Connection>lan</rasd:Connection>' x/*.ovf
	grep -q '<rasd:VirtualQuantity>3</rasd:VirtualQuantity>' x/*.ovf
	grep -q '<rasd:VirtualQuantity>516</rasd:VirtualQuantity>' x/*.ovf # in steps of four
	vmctl export web - >piped.ova
	assert_same_bytes web.ova piped.ova
	assert_clean
}

@test "export: what is refused leaves no file" {
	refused 6 vmctl export busy x.ova
	refused 4 vmctl export nobody x.ova
	refused 4 vmctl export gone x.ova
	refused 9 vmctl export far x.ova
	refused 9 vmctl export half x.ova
	refused 9 vmctl export bare x.ova
	refused 2 vmctl export web
	[ ! -e x.ova ]
	echo mine >x.ova
	refused 5 vmctl export web x.ova
	[ "$(cat x.ova)" = mine ]
	vmctl export --force web x.ova
	tar -tf x.ova >/dev/null
	# QEMU has the disk: the machine was started by somebody else.
	qemu-io -f raw -c 'sleep 5000' two.raw >/dev/null 3>&- &
	wait_for locked two.raw
	run_split vmctl export web y.ova
	kill $!
	wait $! || true
	assert_status 6
	[ ! -e y.ova ]
	assert_clean
}
