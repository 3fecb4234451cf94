#!/usr/bin/env bats
# OVF and OVA packages: written, read in place, checked, and the traps of strangers' ones. Oracles: tar, sha256sum,
# xmllint, openssl, qemu-img on what tar unpacks.

load common

# ovf FILE [REFERENCES [DISKS [ITEMS]]] - a small descriptor
ovf() {
	cat >"$1" <<-END
		<?xml version="1.0" encoding="UTF-8"?>
		<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
		 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
		<References>${2-$FILE}</References><DiskSection><Info/>${3-$DISK}</DiskSection>
		<VirtualSystem ovf:id="m"><Info/><Name>m</Name><VirtualHardwareSection><Info/>
		${4-}
		</VirtualHardwareSection></VirtualSystem></Envelope>
	END
}
FILE='<File ovf:href="d.vmdk" ovf:id="f1"/>'
DISK='<Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="1048576" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>'

# disk - d.raw of 1 MiB and d.vmdk of it
disk() {
	random_image d.raw 1048576 7 6
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized d.raw d.vmdk
}

# pack FILE... - p.ova
pack() { tar --format=ustar --owner=0 --group=0 -cf p.ova "$@"; }

# manifest ALGORITHM FILE... - to standard output
manifest() {
	local algorithm=$1 f
	shift
	for f; do echo "${algorithm^^}($f)= $("${algorithm}sum" <"$f" | cut -d' ' -f1)"; done
}

@test "an OVA of two disks: members, manifest, descriptor, disks as foreign tools see them" {
	require qemu-img xmllint
	random_image a.raw 20000768 1 20
	random_image b.raw 3145728 2 4
	qemu-img convert -f raw -O qcow2 b.raw b.qcow2
	run -0 vmimg convert --cpus 2 --memory 2G --firmware efi --os debian --nic 'A & <B>' --nic 'LAN,vmxnet3' \
		--json a.raw b.qcow2 web.ova
	assert_schema vmimg-convert
	[ "$(tar tf web.ova | xargs)" = "web.ovf web-disk1.vmdk web-disk2.vmdk web.mf" ]
	[ $(($(stat -c %s web.ova) % 10240)) = 0 ]
	mkdir x
	tar xf web.ova -C x
	cd x
	sed -E 's/^SHA256\((.*)\)= (.*)$/\2  \1/' web.mf | sha256sum -c --quiet
	[ "$(wc -l <web.mf)" = 3 ]
	xmllint --noout web.ovf
	[ "$(xmllint --xpath 'string(//*[local-name()="File"][2]/@*[local-name()="size"])' web.ovf)" = \
		"$(stat -c %s web-disk2.vmdk)" ]
	[ "$(xmllint --xpath 'string(//*[local-name()="Network"][1]/@*[local-name()="name"])' web.ovf)" = 'A & <B>' ]
	[ "$(xmllint --xpath 'string(//*[local-name()="Disk"][1]/@*[local-name()="capacity"])' web.ovf)" = 20000768 ]
	assert_same_disk web-disk1.vmdk ../a.raw vmdk raw
	assert_same_disk web-disk2.vmdk ../b.raw vmdk raw
	cd ..
	run -0 vmimg check --deep web.ova
	assert_output "no faults found"
	run -0 vmimg info --json web.ova
	assert_schema vmimg-info
	[ "$(json '.machines[0] | .name, .cpus, .memory, .firmware, .os, .networks[1].model' | xargs)" = \
		"web 2 2147483648 efi Debian 64-bit VmxNet3" ]
	run -0 vmimg info web.ova
	assert_line "network        A & <B> (E1000)"
	assert_clean
}

@test "the same bytes again, with other threads, and to a pipe; the time is SOURCE_DATE_EPOCH" {
	random_image a.raw 5242880 3 10
	vmimg convert a.raw one.ova
	vmimg convert --threads 1 --name one -O ova a.raw - >two.ova
	assert_same_bytes one.ova two.ova
	vmimg convert --name one -O ova a.raw - | cat >three.ova
	assert_same_bytes one.ova three.ova
	vmimg convert -f raw --name one -O ova - four.ova < <(cat a.raw)
	assert_same_bytes one.ova four.ova
	SOURCE_DATE_EPOCH=86400 vmimg convert a.raw late.ova
	TZ=UTC tar tvf late.ova | grep -q '1970-01-02 00:00 late.ovf'
	assert_clean
}

@test "a disk is read where it lies: by id, file name, number; from a pipe; every verb" {
	random_image a.raw 5242880 3 10
	random_image b.raw 1048576 4 3
	vmimg convert a.raw b.raw m.ova
	for name in vmdisk2 m-disk2.vmdk 2; do
		vmimg convert --force --disk $name m.ova o.raw
		assert_same_bytes o.raw b.raw
	done
	vmimg convert ova:m.ova#1 o.qcow2
	assert_same_disk o.qcow2 a.raw qcow2 raw
	vmimg compare ova:m.ova#vmdisk1 a.raw
	[ "$(vmimg digest ova:m.ova#2)" = "$(vmimg digest b.raw | sed 's/b.raw/ova:m.ova#2/')" ]
	vmimg convert -f ova --disk 2 -O raw - - < <(cat m.ova) | cmp - b.raw
	refused 2 vmimg convert m.ova p.raw
	[[ $stderr == *"hint: its disks: vmdisk1, vmdisk2"* ]]
	refused 4 vmimg convert --disk 3 m.ova p.raw
	refused 2 vmimg convert --disk 1 a.raw p.raw
	refused 9 vmimg resize ova:m.ova#1 +1M
	vmimg convert b.raw single.ova
	vmimg map --json single.ova | jq -e length >/dev/null
	assert_clean
}

@test "--verify, --dry-run, existing targets, options that do not fit" {
	random_image a.raw 1048576 4 3
	vmimg convert --verify a.raw a.ova
	refused 5 vmimg convert a.raw a.ova
	refused 5 vmimg convert --dry-run a.raw a.ova
	run -0 vmimg convert --dry-run --json --force a.raw a.ova
	assert_schema vmimg-convert
	vmimg convert --force a.raw a.ova
	refused 2 vmimg convert --cpus 2 a.raw b.raw
	refused 2 vmimg convert a.raw a.raw b.raw
	refused 2 vmimg convert -o adapter_type=ide a.raw b.ova
	refused 2 vmimg convert -czstd a.raw b.ova
	refused 2 vmimg convert --os beos a.raw b.ova
	refused 9 vmimg convert a.raw b.ovf
	refused 2 vmimg convert a.ova b.ova
	refused 2 vmimg convert --force ova:a.ova#1 ova:a.ova#1 -O ova a.ova
	refused 4 vmimg convert missing.raw b.ova
	assert_file_not_exists b.ova
	assert_clean
}

@test "the machine of a libvirt domain" {
	random_image a.raw 1048576 4 3
	cat >dom.xml <<-'END'
		<domain type='kvm'><name>shop &amp; co</name><memory unit='MiB'>1537</memory><vcpu placement='static'>3</vcpu>
		<os firmware='efi'><type>hvm</type><loader secure='yes'/></os>
		<devices><disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
		<disk type='file' device='disk'><target dev='sdb' bus='sata'/></disk>
		<interface type='bridge'><mac address='52:54:00:01:02:03'/><source bridge='br0'/><model type='virtio'/></interface>
		</devices></domain>
	END
	vmimg convert --domain-xml dom.xml --cpus 4 a.raw t.ova
	run -0 vmimg info --json t.ova
	assert_schema vmimg-info
	[ "$(json '.machines[0] | .name, .cpus, .memory, .firmware, .networks[0].network, .networks[0].model' | xargs)" = \
		"shop & co 4 1614807040 efi-secure br0 VmxNet3" ]
	[ "$(json .disks[0].file)" = shop___co-disk1.vmdk ]
	tar xOf t.ova shop___co.ovf | grep -q vmware.sata.ahci
	echo '<!DOCTYPE d [<!ENTITY x SYSTEM "/etc/passwd">]><domain><name>&x;</name></domain>' >evil.xml
	refused 9 vmimg convert --domain-xml evil.xml a.raw u.ova
	echo '<domain><memory>-5</memory></domain>' >evil.xml
	refused 8 vmimg convert --domain-xml evil.xml a.raw u.ova
	assert_file_not_exists u.ova
}

@test "manifests: SHA-1, SHA-256, SHA-512; before the files or behind them; a blank before the bracket, CRLF" {
	require qemu-img
	disk
	ovf p.ovf
	for a in sha1 sha256 sha512; do
		manifest $a p.ovf d.vmdk >p.mf
		pack p.ovf d.vmdk p.mf
		vmimg check p.ova
		pack p.ovf p.mf d.vmdk
		vmimg check p.ova
	done
	manifest sha256 p.ovf d.vmdk | sed 's/(/ (/; s/$/\r/' >p.mf
	pack p.ovf d.vmdk p.mf
	run_split vmimg check p.ova
	assert_status 0
	[[ $stderr == *'a blank before "("'* ]]
	vmimg check p.ovf
}

@test "wrong digests, missing lines, wrong order, second descriptors are faults" {
	require qemu-img
	disk
	ovf p.ovf
	manifest sha256 p.ovf d.vmdk | sed '2s/= ./= x/' >p.mf
	pack p.ovf d.vmdk p.mf
	run -8 vmimg check p.ova
	assert_output --partial "not 64 hexadecimal digits"
	manifest sha256 p.ovf d.vmdk | sed '2s/[0-9a-f]\{8\}$/00000000/' >p.mf
	pack p.ovf d.vmdk p.mf
	run -8 vmimg check p.ova
	assert_line --partial "d.vmdk: the sha256 is "
	run -8 vmimg check --json p.ova
	assert_schema vmimg-check
	[ "$(json .corruptions)" = 1 ]
	manifest sha256 p.ovf >p.mf
	pack p.ovf d.vmdk p.mf
	run -8 vmimg check p.ova
	assert_line "d.vmdk is not in the manifest"
	manifest sha256 p.ovf d.vmdk >p.mf
	pack d.vmdk p.ovf p.mf
	run -8 vmimg check p.ova
	assert_line --partial "the first member is d.vmdk"
	cp p.ovf q.ovf
	pack p.ovf d.vmdk q.ovf p.mf
	run -8 vmimg check p.ova
	assert_line "q.ovf is a second descriptor"
	echo "MD5(p.ovf)= 00" >p.mf
	pack p.ovf d.vmdk p.mf
	run -8 vmimg check p.ova
	assert_output --partial "the digest MD5"
}

@test "the signature of a certificate" {
	require openssl qemu-img
	disk
	ovf p.ovf
	manifest sha256 p.ovf d.vmdk >p.mf
	openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=tester -days 30 2>/dev/null
	sign() {
		echo "SHA256(p.mf)= $(openssl dgst -sha256 -sign key.pem p.mf | od -An -tx1 -v | tr -d ' \n')" >p.cert
		cat cert.pem >>p.cert
		pack p.ovf p.mf p.cert d.vmdk
	}
	sign
	run_split vmimg check -v p.ova
	assert_status 0
	[[ $stderr == *"signed by /CN=tester"* ]]
	echo >>p.mf
	pack p.ovf p.mf p.cert d.vmdk
	run -8 vmimg check p.ova
	assert_line "p.cert: the signature does not fit the certificate"
	sed -i 2d p.cert
	pack p.ovf p.mf p.cert d.vmdk
	run -8 vmimg check p.ova
	assert_line "p.cert: there is no certificate"
}

@test "gzip-compressed and chunked disks, in an OVA and in a folder" {
	require qemu-img
	disk
	gzip -nk d.vmdk
	ovf p.ovf "<File ovf:href='d.vmdk.gz' ovf:id='f1' ovf:compression='gzip' ovf:size='$(stat -c %s d.vmdk.gz)'/>"
	pack p.ovf d.vmdk.gz
	for p in p.ova p.ovf; do
		vmimg convert --force $p o.raw
		assert_same_bytes o.raw d.raw
		vmimg check --deep $p
	done
	split -b 100000 -d -a 9 d.vmdk d.vmdk.
	rm d.vmdk
	ovf p.ovf "<File ovf:href='d.vmdk' ovf:id='f1' ovf:chunkSize='100000'/>"
	pack p.ovf d.vmdk.0*
	for p in p.ova p.ovf; do
		vmimg convert --force $p o.raw
		assert_same_bytes o.raw d.raw
	done
	run -0 vmimg info p.ova
	assert_output --regexp '[0-9]+ chunks'
	# one chunk too short, and the last one gone while the size is told
	truncate -s -1 d.vmdk.000000000
	refused 8 vmimg convert p.ovf q.raw
	[[ $stderr == *"chunk d.vmdk.000000000 has 99999 bytes instead of 100000"* ]]
	assert_clean
}

@test "gzip that unpacks to more than the disk can have is stopped" {
	head -c 200000000 /dev/zero | gzip -1 >d.vmdk.gz
	ovf p.ovf "<File ovf:href='d.vmdk.gz' ovf:id='f1' ovf:compression='gzip'/>"
	pack p.ovf d.vmdk.gz
	refused 8 vmimg convert p.ova o.raw
	[[ $stderr == *"the compressed disk has more than"* ]]
	assert_clean
}

@test "names: %20, blanks, Unicode, and those that lead out of the package" {
	require qemu-img
	disk
	for name in 'a%20b.vmdk' 'grün (1).vmdk'; do
		file=${name//%20/ }
		mv d.vmdk "$file"
		ovf p.ovf "<File ovf:href='$name' ovf:id='f1'/>"
		manifest sha256 p.ovf "$file" >p.mf
		pack p.ovf "$file" p.mf
		vmimg check p.ova
		vmimg convert --force p.ova o.raw
		assert_same_bytes o.raw d.raw
		mv "$file" d.vmdk
	done
	mkdir sub
	cp d.vmdk secret.vmdk
	ln -s ../secret.vmdk sub/link.vmdk
	mkfifo sub/fifo
	local name
	for name in ../secret.vmdk "$PWD/secret.vmdk" x/../../secret.vmdk %2e%2e/secret.vmdk link.vmdk fifo 'a&#10;b'; do
		ovf sub/p.ovf "<File ovf:href='$name' ovf:id='f1'/>"
		refused 12 timeout 5 vmimg convert sub/p.ovf q.raw
	done
	for name in http://example.com/d.vmdk ftp:d.vmdk; do
		ovf sub/p.ovf "<File ovf:href='$name' ovf:id='f1'/>"
		refused 9 vmimg info sub/p.ovf
	done
	ovf sub/p.ovf
	printf 'SHA256(../secret.vmdk)= %064d\n' 0 >sub/p.mf
	run -8 vmimg check sub/p.ovf
	assert_output --partial "lies outside of the package"
}

@test "entities and document types are refused, in UTF-16 too, and nothing is fetched" {
	disk
	ovf plain.ovf
	{
		echo '<?xml version="1.0"?><!DOCTYPE Envelope [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
		sed 1d plain.ovf | sed 's/<Name>m/<Name>\&a;/'
	} >p.ovf
	refused 9 vmimg info p.ovf
	{
		echo '<?xml version="1.0"?><!DOCTYPE Envelope SYSTEM "http://127.0.0.1:9/x.dtd">'
		sed 1d plain.ovf
	} | iconv -t UTF-16 >p.ovf
	pack p.ovf
	refused 9 vmimg info p.ova
	sed 's/<Name>m/<Name>\&unknown;/' plain.ovf >p.ovf
	refused 8 vmimg info p.ovf
	head -c 100 plain.ovf >p.ovf
	refused 8 vmimg info p.ovf
	{ yes '<a/>' | head -c 900000; } >p.ovf
	refused 9 vmimg info p.ovf
	{ cat plain.ovf && head -c 2000000 /dev/zero | tr '\0' ' '; } >p.ovf
	refused 9 vmimg info p.ovf
}

@test "sizes that lie, negative numbers, units, disks without files" {
	require qemu-img
	disk
	ovf p.ovf "<File ovf:href='d.vmdk' ovf:id='f1' ovf:size='5'/>"
	pack p.ovf d.vmdk
	run -8 vmimg check p.ova
	assert_line "d.vmdk has $(stat -c %s d.vmdk) bytes, the descriptor says 5"
	vmimg convert p.ova o.raw
	assert_same_bytes o.raw d.raw
	ovf p.ovf "<File ovf:href='d.vmdk' ovf:id='f1' ovf:size='-1'/>" \
		"${DISK/ovf:capacity=/ovf:populatedSize=\"-20\" ovf:capacity=}"
	pack p.ovf d.vmdk
	run -8 vmimg check p.ova
	assert_line "p.ovf: size of d.vmdk is '-1', which is no size"
	assert_line "p.ovf: populated size of disk d1 is '-20', which is no size"
	run -0 vmimg info --json p.ova
	assert_schema vmimg-info
	ovf p.ovf "$FILE" "${DISK/1048576/9223372036854775807\" ovf:capacityAllocationUnits=\"byte * 2^30}"
	pack p.ovf d.vmdk
	run -8 vmimg check p.ova
	assert_output --partial "disk d1 has a capacity of 9223372036854775807 times 1073741824 bytes"
	ovf p.ovf "$FILE" "${DISK/1048576/2\" ovf:capacityAllocationUnits=\"byte * 2^20}"
	pack p.ovf d.vmdk
	run -8 vmimg check p.ova
	assert_line "disk d1 has 1048576 bytes, the descriptor says 2097152"
	ovf p.ovf "$FILE" "${DISK/1048576/9223372036854775807}" \
		'<Item><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>-4</rasd:VirtualQuantity></Item>'
	pack p.ovf d.vmdk
	run -8 vmimg check p.ova
	assert_line "p.ovf: number of processors is '-4', which is no size"
	ovf p.ovf "$FILE" "${DISK/fileRef=\"f1\"/fileRef=\"f9\"}"
	pack p.ovf d.vmdk
	run -8 vmimg check p.ova
	assert_line --partial "is in file f9, which References does not list"
	ovf p.ovf '' '<Disk ovf:diskId="empty" ovf:capacity="3" ovf:capacityAllocationUnits="MegaBytes"/>'
	pack p.ovf
	[ "$(vmimg info --json ova:p.ova#empty | jq .virtual_size)" = 3145728 ]
	ovf p.ovf
	pack p.ovf
	run -8 vmimg check p.ova
	assert_line "d.vmdk: the archive has no member d.vmdk"
	refused 4 vmimg convert p.ova q.raw
}

@test "damaged archives: cut, two members of one name, links, no descriptor, pax, sizes in base 256" {
	require qemu-img
	disk
	ovf p.ovf
	pack p.ovf d.vmdk
	head -c 3000 p.ova >cut.ova
	refused 8 vmimg info cut.ova
	[[ $stderr == *"the archive ends at 3000"* ]]
	tar --format=ustar -rf p.ova d.vmdk
	refused 8 vmimg info p.ova
	[[ $stderr == *"two members are called d.vmdk"* ]]
	pack d.vmdk
	refused 8 vmimg info p.ova
	ln -s /etc/passwd e.vmdk
	pack p.ovf e.vmdk
	refused 9 vmimg info p.ova
	head -c 2048 /dev/urandom >p.ova
	refused 8 vmimg info p.ova
	tar --format=pax -cf p.ova p.ovf d.vmdk
	vmimg convert --force p.ova o.raw
	assert_same_bytes o.raw d.raw
	# 9 GiB that are not there, in GNU's base 256
	pack p.ovf d.vmdk
	python3 - <<-'END'
		b = bytearray(open("p.ova", "rb").read())
		at = b.index(b"d.vmdk\0")
		b[at + 124:at + 136] = b"\x80" + (9 << 30).to_bytes(11, "big")
		b[at + 148:at + 156] = b" " * 8
		b[at + 148:at + 156] = b"%06o\0 " % sum(b[at:at + 512])
		open("p.ova", "wb").write(b)
	END
	refused 8 vmimg info p.ova
	[[ $stderr == *"member d.vmdk has 9663676416 bytes"* ]]
}

@test "a start of vmimg loads neither libarchive nor libxml2" {
	random_image a.raw 1048576 4 3
	run -0 env LD_DEBUG=files vmimg info a.raw
	refute_output --partial libarchive
	refute_output --partial libxml2
}

@test "a member above 8 GiB: tar's size in base 256, and data behind that" {
	require qemu-img qemu-io python3
	qemu-img create -q -f vmdk d.vmdk 20G
	qemu-io -f vmdk -c "write -P 7 0 64k" d.vmdk >/dev/null
	truncate -s 8705M d.vmdk # QEMU adds grains at the file's end
	qemu-io -f vmdk -c "write -P 9 12G 1M" -c "write -P 5 19G 64k" d.vmdk >/dev/null
	[ "$(stat -c %s d.vmdk)" -gt $((8 << 30)) ]
	ovf p.ovf "$FILE" "${DISK/1048576/21474836480}"
	python3 - <<-'END' # tar itself would write the zeros
		import os, tarfile
		with tarfile.open("p.ova", "w", format=tarfile.GNU_FORMAT) as t:
		    t.add("p.ovf")
		    m = t.gettarinfo("d.vmdk")
		    at, size = t.offset + 512, m.size
		    header = m.tobuf(tarfile.GNU_FORMAT)
		with open("p.ova", "r+b") as o, open("d.vmdk", "rb") as d:
		    o.seek(at - 512)
		    o.write(header)
		    pos = 0
		    while True:
		        try:
		            pos = os.lseek(d.fileno(), pos, os.SEEK_DATA)
		        except OSError:
		            break
		        end = os.lseek(d.fileno(), pos, os.SEEK_HOLE)
		        os.lseek(d.fileno(), pos, os.SEEK_SET)
		        o.seek(at + pos)
		        o.write(os.read(d.fileno(), end - pos))
		        pos = end
		    o.truncate(at + (size + 511) // 512 * 512 + 1024)
	END
	[ "$(tar tvf p.ova | awk '$NF == "d.vmdk" { print $3 }')" = "$(stat -c %s d.vmdk)" ]
	vmimg check p.ova
	vmimg convert p.ova out.qcow2
	qemu-img compare -q -f vmdk -F qcow2 d.vmdk out.qcow2
}
