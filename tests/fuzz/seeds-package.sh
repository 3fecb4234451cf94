#!/bin/bash
# tests/fuzz/seeds-package.sh [DIR] - make the seeds of fuzz_ovf and fuzz_manifest_ova anew (default: tests/fuzz/corpus).
# Needs tar, gzip and a vmimg in PATH.
set -eu
dir=$(realpath "${1:-$(dirname "$0")/corpus}")
mkdir -p "$dir/fuzz_ovf" "$dir/fuzz_manifest_ova"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

truncate -s 64k a.raw
vmimg convert --firmware efi-secure --os debian --nic net,vmxnet3 --nic lan a.raw a.raw m.ova
tar xf m.ova
sed 's/ *$//' m.ovf | head -c 8000 >"$dir/fuzz_ovf/ours"
cp m.mf "$dir/fuzz_manifest_ova/manifest"
cat >"$dir/fuzz_ovf/old" <<'END'
<Envelope xmlns:ovf="x"><References><File ovf:id="f" ovf:href="a%20b.vmdk" ovf:compression="gzip" ovf:chunkSize="10" ovf:size="-1"/></References>
<Section><Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^30" ovf:populatedSize="9223372036854775807"/></Section>
<VirtualSystemCollection><Content ovf:id="m"><Section><System><VirtualSystemType>vmx-07</VirtualSystemType></System>
<Item><ResourceType>4</ResourceType><AllocationUnits>MegaBytes</AllocationUnits><VirtualQuantity>64</VirtualQuantity></Item>
<Item><ResourceType>17</ResourceType><HostResource>/disk/d</HostResource></Item></Section>
<Machine><Hardware><Firmware type="EFI"/></Hardware></Machine></Content></VirtualSystemCollection></Envelope>
END
cat >"$dir/fuzz_ovf/domain" <<'END'
<domain><name>a</name><memory unit='MiB'>64</memory><vcpu>2</vcpu><os firmware='efi'><loader secure='yes' type='pflash'/></os>
<devices><disk device='disk'><target bus='ide'/></disk><interface><source bridge='b'/><model type='virtio'/><mac address='52:54:00:00:00:01'/></interface></devices></domain>
END
printf 'SHA1 (a b).mf)= %040d\r\n\nsha512(x%%20y)= %0128d\n' 1 2 >"$dir/fuzz_manifest_ova/odd"
printf 'SHA256(m.mf)= 00ff\n-----BEGIN CERTIFICATE-----\n' >"$dir/fuzz_manifest_ova/cert"
printf 'byte * 2^20' >"$dir/fuzz_manifest_ova/units"
printf 'file:./a/%%2e%%2e/b' >"$dir/fuzz_manifest_ova/href"
echo hello >a
for f in ustar gnu pax; do
	tar --format=$f --mtime=@0 --owner=0 --group=0 -b 4 -cf "$dir/fuzz_manifest_ova/$f" a m.mf
done
gzip -nc a >"$dir/fuzz_manifest_ova/gzip"
