#!/usr/bin/env bats
# vmctl import, and create --from-backup: into builtin, whose files can be looked at, and into libvirt's test driver.

load common

setup() {
	common_setup
	require qemu-img xmllint jq tar
	export VMKIT_CONNECT=builtin
	MACHINES=$HOME/.config/vmkit/machines DISKS=$HOME/.local/share/vmkit/disks
	random_image one.raw $((4 << 20)) 1
	random_image two.raw $((2 << 20)) 2
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized one.raw one.vmdk
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized two.raw two.vmdk
}

# ovf [EXTRA XML] - as VMware writes them, of the machine "big one" with two disks and an empty one
ovf() {
	local n=0
	cat <<-X
		<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
		xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
		xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
		<References><File ovf:id="f1" ovf:href="one.vmdk" ovf:size="$(stat -c %s one.vmdk 2>/dev/null || echo 1)"/><File ovf:id="f2" ovf:href="two.vmdk"/></References>
		<DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="4" ovf:capacityAllocationUnits="byte * 2^20"/>
		<Disk ovf:diskId="d2" ovf:fileRef="f2" ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^20"/>
		<Disk ovf:diskId="d3" ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^20"/></DiskSection>
		<NetworkSection><Info/><Network ovf:name="VM Network"><Description/></Network></NetworkSection>
		<VirtualSystem ovf:id="box"><Info/><Name>box</Name><VirtualHardwareSection><Info/>
		<System><vssd:ElementName/><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemType>vmx-14</vssd:VirtualSystemType></System>
	X
	item() { echo "<Item>$2<rasd:ElementName>x</rasd:ElementName><rasd:InstanceID>$((++n))</rasd:InstanceID><rasd:ResourceType>$1</rasd:ResourceType>$3</Item>"; }
	item 3 "" "<rasd:VirtualQuantity>3</rasd:VirtualQuantity>"
	item 4 "<rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>" "<rasd:VirtualQuantity>192</rasd:VirtualQuantity>"
	item 6 "" "<rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>"
	for d in d2 d1 d3; do item 17 "" "<rasd:HostResource>ovf:/disk/$d</rasd:HostResource><rasd:Parent>3</rasd:Parent>"; done
	item 10 "" "<rasd:Connection>VM Network</rasd:Connection><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>"
	echo "${1:-}</VirtualHardwareSection></VirtualSystem></Envelope>"
}

@test "import: an OVF as VMware's into builtin: disks in their order, an empty one too" {
	ovf >box.ovf
	run_split vmctl import box.ovf --json
	assert_status 0
	assert_schema vmctl-import
	[ "$(json '[.name, .cpus, .memory, .firmware, .interfaces] | join(" ")')" = "box 3 $((192 << 20)) bios 0" ]
	[[ $stderr == *"network cards are left out"* ]]
	assert_same_disk two.raw "$DISKS/box-disk1.qcow2" raw qcow2
	assert_same_disk one.raw "$DISKS/box-disk2.qcow2" raw qcow2
	[ "$(qemu-img info --output=json "$DISKS/box-disk3.qcow2" | jq '."virtual-size"')" = $((3 << 20)) ]
	[ "$(jq -c '[.cpus, .memory, (.disks | map(.file | ltrimstr("'"$DISKS"'/")))]' "$MACHINES/box.json")" = \
		"[3,$((192 << 20)),[\"box-disk1.qcow2\",\"box-disk2.qcow2\",\"box-disk3.qcow2\"]]" ]
	refused 5 vmctl import box.ovf
	vmctl import -q box.ovf second --network user --cpus 1 -m 64M 2>err
	[ ! -s err ]
	[ "$(jq -c '[.cpus, .memory, (.networks | length)]' "$MACHINES/second.json")" = "[1,$((64 << 20)),1]" ]
	[ "$(vmctl info --json second | jq -r '.[0].interfaces[0].type')" = user ]
	# What export writes comes back
	vmctl export second second.ova
	vmctl import second.ova third
	for i in 1 2 3; do assert_same_disk "$DISKS/second-disk$i.qcow2" "$DISKS/third-disk$i.qcow2" qcow2 qcow2; done
	cat second.ova | vmctl import - fourth
	assert_same_disk one.raw "$DISKS/fourth-disk2.qcow2" raw qcow2
	assert_clean
}

@test "import: what libvirt is given is valid, with what the guest has drivers for" {
	require virt-xml-validate
	ovf '<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>' >box.ovf
	vmctl -c test:///default import box.ovf --dir . --dry-run --accel tcg >x.xml
	virt-xml-validate x.xml domain
	[ "$(xmllint --xpath 'string(/domain/os/@firmware)' x.xml)" = efi ]
	[ "$(xmllint --xpath 'string(//interface/model/@type)' x.xml)" = vmxnet3 ]
	[ "$(xmllint --xpath 'string(//interface/source/@network)' x.xml)" = default ]
	[ "$(xmllint --xpath 'concat(count(//disk), " ", count(//disk/target[@bus="sata"]), " ", //disk[3]/target/@dev)' x.xml)" = "3 3 sdc" ]
	for bus in virtio scsi ide; do
		vmctl -c test:///default import box.ovf --dir . --dry-run --accel tcg --bus $bus --network bridge:br0 >x.xml
		virt-xml-validate x.xml domain
		[ "$(xmllint --xpath "count(//disk/target[@bus='$bus'])" x.xml)" = 3 ]
	done
	vmctl -c test:///default import box.ovf --dir . --accel tcg
	assert_same_disk one.raw box-disk2.qcow2 raw qcow2
}

@test "import: what is refused leaves nothing" {
	refused 4 vmctl import none.ova
	ovf >box.ovf
	rm one.vmdk
	refused 4 vmctl import box.ovf --network user
	[ ! -e "$MACHINES/box.json" ]
	[ -z "$(find "$DISKS" -type f)" ]
	ovf | sed 's/one.vmdk/..\/one.vmdk/' >out.ovf
	refused 12 vmctl import out.ovf
	echo '<Envelope' >bad.ovf
	refused 8 vmctl import bad.ovf
	ovf | sed 's/<Name>box/<Name>a b/' >name.ovf
	run_split vmctl import --dry-run --json box.ovf
	assert_status 2
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized two.raw one.vmdk
	ovf | sed 's/<Name>box/<Name>a b/' >name.ovf
	refused 2 vmctl import name.ovf --network user
	ovf >box.ovf
	refused 9 vmctl import box.ovf --network default
	[ -z "$(find "$DISKS" -type f)" ]
	assert_clean
}

@test "create --from-backup: the disk is what was backed up, from VMKIT_REPOSITORY or a repository that is named" {
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption
	vmbackup backup -q --vm web vda=one.raw data=two.raw
	vmctl create a --from-backup web@latest:data
	assert_same_disk two.raw "$DISKS/a.qcow2" raw qcow2
	refused 2 vmctl create b --from-backup web@latest
	refused 4 vmctl create b --from-backup nobody@latest:vda
	refused 2 vmctl create b --from-backup web@latest:vda --image one.raw
	unset VMKIT_REPOSITORY
	refused 2 vmctl create b --from-backup web@latest:vda
	vmctl create b --from-backup "repo:$PWD/repo#web@latest:vda" --size 8M
	qemu-img resize -q -f raw one.raw 8M
	assert_same_disk one.raw "$DISKS/b.qcow2" raw qcow2
	assert_clean
}
