"""What cloud-init itself makes of the seed argv[1], as JSON: its NoCloud source, its schema, its users and interfaces.

The image is found by what blkid says of it, and taken apart by isoinfo, since not every kernel mounts ISO 9660.
"""
import json
import os
import subprocess
import sys
import tempfile

from cloudinit import distros, helpers, util
from cloudinit.config import schema
from cloudinit.distros import ug_util
from cloudinit.net import network_state
from cloudinit.sources import DataSourceNoCloud as nocloud


def find(criteria):
    key, value = criteria.split("=")
    said = subprocess.run(["blkid", "-p", "-o", "value", "-s", key, SEED], capture_output=True, text=True, check=False)
    return [SEED] if said.stdout.strip() == value else []


def mount(device, callback, data=None):
    with tempfile.TemporaryDirectory() as at:
        for name in subprocess.check_output(["isoinfo", "-R", "-f", "-i", device], text=True).split():
            with open(at + name, "wb") as f:
                f.write(subprocess.check_output(["isoinfo", "-R", "-x", name, "-i", device]))
        return callback(at, data)


SEED = os.path.abspath(sys.argv[1])
util.find_devs_with, util.mount_cb = find, mount
with tempfile.TemporaryDirectory() as state:
    paths = helpers.Paths({"cloud_dir": state + "/lib", "run_dir": state + "/run"})
    distro = distros.fetch("debian")("debian", {}, paths)
    source = nocloud.DataSourceNoCloud({"datasource": {"NoCloud": {"fs_label": "cidata"}}}, distro, paths)
    assert source.get_data(), "cloud-init finds no seed"
    user = source.get_userdata_raw()
    user = user.decode() if isinstance(user, bytes) else user
    assert user.startswith("#cloud-config\n"), user
    config = util.load_yaml(user)
    schema.validate_cloudconfig_schema(config, strict=True)
    network = source.network_config
    print(json.dumps({
        "instance_id": source.get_instance_id(),
        "hostname": source.get_hostname()[0],
        "users": ug_util.normalize_users_groups(config, distro)[0],
        "keys": config.get("ssh_authorized_keys"),
        "interfaces": [i["name"] for i in network_state.parse_net_config_data(network).iter_interfaces()] if network else [],
    }))
