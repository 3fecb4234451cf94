/* vmctl create: a new machine from an image, or from a kernel. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmctl/create.h"
#include "cmd/vmctl/place.h"
#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/image/copy/engine.h"
#include "libcommon/package/seed.h"

enum { TEXT_MAX = 1 << 20 };

static struct {
	const char *image, *format, *dir, *accel, *user, *hostname, *user_data, *network_config;
	const char *kernel, *initrd, *append, *network, *backup;
	struct opt_list keys, allow;
	uint64_t size, memory;
	unsigned cpus;
	bool start, dry_run;
} o = {.memory = 1ULL << 30, .cpus = 1};

static const struct opt options[] = {
	{.name = "image",
	 .type = OPT_STRING,
	 .value = &o.image,
	 .arg = "IMAGE",
	 .help = "the disk begins as a copy of this, whatever its format",
	 .complete = COMPLETE_FILE},
	{.name = "from-backup",
	 .type = OPT_STRING,
	 .value = &o.backup,
	 .arg = "NAME@WHEN[:DISK]",
	 .help = "the disk begins as it is in the repository VMKIT_REPOSITORY; "
		 "repo:PATH#NAME@WHEN[:DISK] names another"},
	{.letter = 'f',
	 .name = "format",
	 .type = OPT_STRING,
	 .value = &o.format,
	 .arg = "FORMAT",
	 .help = "format of the image (default: probed)",
	 .complete = COMPLETE_FORMAT},
	{.name = "allow-backing",
	 .type = OPT_LIST,
	 .value = &o.allow,
	 .arg = "DIR",
	 .help = "backing files of the image may lie below this folder too",
	 .complete = COMPLETE_DIR},
	{.name = "size",
	 .type = OPT_SIZE,
	 .value = &o.size,
	 .arg = "SIZE",
	 .help = "size of the disk: at least the image's; without an image an empty disk"},
	{.name = "dir",
	 .type = OPT_STRING,
	 .value = &o.dir,
	 .arg = "DIR",
	 .help = "where its files go (default: where libvirt keeps images, or "
		 "~/.local/share/vmkit/disks with builtin)",
	 .complete = COMPLETE_DIR},
	{.letter = 'm',
	 .name = "memory",
	 .type = OPT_SIZE,
	 .value = &o.memory,
	 .arg = "SIZE",
	 .help = "memory (default: 1G)"},
	{.name = "cpus",
	 .type = OPT_UINT,
	 .value = &o.cpus,
	 .arg = "N",
	 .help = "virtual processors (default: 1)",
	 .min = 1,
	 .max = 4096},
	NEW_BOOT_OPTIONS(o, "boot this Linux kernel, not the disk"),
	{.name = "network",
	 .type = OPT_STRING,
	 .value = &o.network,
	 .arg = "NAME|bridge:NAME|user|none",
	 .help = "libvirt's network, a bridge, or QEMU's own (default: default, user in a "
		 "session, none with builtin)"},
	{.name = "user",
	 .type = OPT_STRING,
	 .value = &o.user,
	 .arg = "NAME",
	 .help = "cloud-init makes this user, with sudo"},
	{.name = "ssh-key",
	 .type = OPT_LIST,
	 .value = &o.keys,
	 .arg = "FILE",
	 .help = "cloud-init lets this public key in; more than once for several",
	 .complete = COMPLETE_FILE},
	{.name = "hostname",
	 .type = OPT_STRING,
	 .value = &o.hostname,
	 .arg = "NAME",
	 .help = "cloud-init sets it (default: the machine's name)"},
	{.name = "user-data",
	 .type = OPT_STRING,
	 .value = &o.user_data,
	 .arg = "FILE",
	 .help = "cloud-init's user-data, instead of --user and --ssh-key",
	 .complete = COMPLETE_FILE},
	{.name = "network-config",
	 .type = OPT_STRING,
	 .value = &o.network_config,
	 .arg = "FILE",
	 .help = "cloud-init's network-config",
	 .complete = COMPLETE_FILE},
	{.name = "start", .type = OPT_FLAG, .value = &o.start, .help = "start it"},
	{.letter = 'n',
	 .name = "dry-run",
	 .type = OPT_FLAG,
	 .value = &o.dry_run,
	 .help = "print the definition, make nothing"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl create web --image debian-12.qcow2 --size 20G --ssh-key ~/.ssh/id.pub --start",
	"vmctl create old --image old.vmdk -m 2G --cpus 2",
	"vmctl create again --from-backup web@latest:vda --start",
	"vmctl create tiny --kernel vmlinuz --initrd initrd.gz --append console=ttyS0",
	NULL,
};

struct creation {
	struct cli *cli;
	struct host *host;
	struct new_machine m;
	char *disk, *seed, *image;
	const char *network;
	bool made_disk, made_seed;
};

static bool wants_seed(void)
{
	return o.user || o.keys.count || o.hostname || o.user_data || o.network_config;
}

static int check_options(struct err *err)
{
	if (o.image && o.backup)
		return err_set(err, ERR_USAGE, "--image and --from-backup exclude each other");
	if (!o.image && !o.backup && !o.size && !o.kernel)
		return err_set(err, ERR_USAGE,
			       "nothing to boot: say --image, --from-backup, --size or --kernel");
	if ((o.initrd || o.append) && !o.kernel)
		return err_set(err, ERR_USAGE, "--initrd and --append are for --kernel");
	if ((o.format || o.allow.count) && !o.image)
		return err_set(err, ERR_USAGE, "--format and --allow-backing are for --image");
	if (o.user_data && (o.user || o.keys.count))
		return err_set(err, ERR_USAGE, "--user-data says it all: no --user and --ssh-key");
	if (o.memory < 1 << 20)
		return err_set(err, ERR_USAGE, "--memory is less than 1 MiB");
	return 0;
}

/* A name that image_open() knows; owned */
static int backup_name(char **ret, struct err *err)
{
	const char *repo = getenv("VMKIT_REPOSITORY");
	int n;

	*ret = NULL;
	if (!o.backup)
		return 0;
	if (strncmp(o.backup, "repo:", 5) == 0)
		n = asprintf(ret, "%s", o.backup);
	else if (repo && *repo)
		n = asprintf(ret, "repo:%s#%s", repo, o.backup);
	else
		return err_set(err, ERR_USAGE,
			       "no repository: set VMKIT_REPOSITORY, or say repo:PATH#NAME@WHEN");
	if (n < 0) {
		*ret = NULL;
		return err_nomem(err);
	}
	return 0;
}

/* The daemon needs whole names. */
static int whole_name(const char *file, char **ret, struct err *err)
{
	*ret = NULL;
	if (!file)
		return 0;
	*ret = realpath(file, NULL);
	if (*ret)
		return 0;
	err_sys(err, "cannot open");
	return err_object(err, file);
}

static int make_disk(struct creation *c, struct err *err)
{
	struct copy_opts opts = {.target_format = "qcow2", .progress = &c->cli->progress};
	const struct image_open_opts how = {
		.format = o.format, .allow_dirs = o.allow.items, .n_allow_dirs = o.allow.count};
	struct copy_stats stats;
	struct image *img;
	int rc;

	opts.params.size = o.size;
	if (!c->image) {
		rc = image_create(c->disk, &opts, err);
	} else if (image_open(&img, c->image, &how, err) < 0) {
		return -1;
	} else {
		if (o.size && !image_is_stream(img) && o.size < image_size(img))
			rc = err_set(err, ERR_USAGE, "--size is less than the image has");
		else
			rc = image_copy(img, c->disk, &opts, &stats, err);
		image_close(img);
	}
	c->made_disk = rc == 0;
	return rc;
}

static int read_text(const char *file, char **ret, struct err *err)
{
	size_t len;

	*ret = NULL;
	return file && io_read_file(file, TEXT_MAX, ret, &len, err) < 0 ? err_object(err, file) : 0;
}

static int read_keys(char **keys, struct err *err)
{
	for (size_t i = 0; i < o.keys.count; i++) {
		if (read_text(o.keys.items[i], &keys[i], err) < 0)
			return -1;
		keys[i][strcspn(keys[i], "\r\n")] = '\0';
		if (strncmp(keys[i], "-----", 5) == 0 || !strchr(keys[i], ' ')) {
			err_set(err, ERR_USAGE, "is no public key");
			return err_object(err, o.keys.items[i]);
		}
	}
	return 0;
}

static int make_seed(struct creation *c, struct err *err)
{
	CLEANUP_FREE char *user_data = NULL, *network = NULL;
	CLEANUP_FREE char **keys = calloc(o.keys.count + 1, sizeof(*keys));
	struct seed seed = {.instance_id = c->m.uuid,
			    .hostname = o.hostname ? o.hostname : c->m.name,
			    .user = o.user,
			    .n_ssh_keys = o.keys.count};
	int rc;

	if (!keys)
		return err_nomem(err);
	seed.ssh_keys = (const char *const *)keys;
	rc = read_keys(keys, err);
	if (rc == 0)
		rc = read_text(o.user_data, &user_data, err);
	if (rc == 0)
		rc = read_text(o.network_config, &network, err);
	seed.user_data = user_data;
	seed.network_config = network;
	if (rc == 0)
		rc = seed_write(c->seed, &seed, false, err);
	c->made_seed = rc == 0;
	for (size_t i = 0; i < o.keys.count; i++)
		free(keys[i]);
	return rc;
}

/* What vmrun has not is said before a disk is copied. */
static int check_builtin(const struct creation *c, struct err *err)
{
	if (!place_is_builtin(c->host))
		return 0;
	if (strcmp(c->network, "none") != 0 && strcmp(c->network, "user") != 0)
		return err_set(err, ERR_UNSUPPORTED,
			       "vmrun's machines have the network user, or none");
	if (o.accel && strcmp(o.accel, "tcg") == 0)
		return err_set(err, ERR_UNSUPPORTED, "vmrun runs on KVM alone");
	return 0;
}

static int plan(struct creation *c, struct err *err)
{
	struct domain *other;
	struct err why = ERR_INIT;

	if (check_builtin(c, err) < 0)
		return -1;
	if (host_find(c->host, c->m.name, &other, &why) == 0) {
		domain_close(other);
		err_set(err, ERR_EXISTS, "there is a machine of this name");
		return err_object(err, c->m.name);
	}
	if (why.code != ERR_NOT_FOUND) {
		*err = why;
		return -1;
	}
	if (((c->image || o.size) &&
	     place_disk(c->host, o.dir, c->m.name, "qcow2", &c->disk, err) < 0) ||
	    (wants_seed() && place_disk(c->host, o.dir, c->m.name, "seed.iso", &c->seed, err) < 0))
		return -1;
	if (c->disk)
		c->m.disks[c->m.n_disks++] = (struct new_disk){.file = c->disk, .bus = "virtio"};
	c->m.seed = c->seed;
	if (strcmp(c->network, "none") != 0) {
		c->m.nics[0] = (struct new_nic){.network = c->network, .model = "virtio"};
		if (place_mac(c->m.nics[0].mac, err) < 0)
			return -1;
		c->m.n_nics = 1;
	}
	if (o.accel && strcmp(o.accel, "auto") != 0) {
		c->m.type = strdup(strcmp(o.accel, "kvm") == 0 ? "kvm" : "qemu");
		if (!c->m.type)
			return err_nomem(err);
	} else if (place_accel(c->host, &c->m.type, err) < 0) {
		return -1;
	}
	return place_uuid(c->m.uuid, err);
}

static int tell(struct creation *c, struct err *err)
{
	if (!c->cli->json)
		return 0;
	return cli_print_json(c->cli,
			      json_pack("{s:o, s:s, s:s, s:o, s:o, s:b}", "name",
					cli_json_string(c->m.name), "uuid", c->m.uuid, "accel",
					strcmp(c->m.type, "kvm") == 0 ? "kvm" : "tcg", "disk",
					c->disk ? cli_json_string(c->disk) : json_null(), "seed",
					c->seed ? cli_json_string(c->seed) : json_null(), "started",
					(int)o.start),
			      err);
}

static int define(struct creation *c, const char *xml, struct err *err)
{
	struct domain *d;
	int rc = 0;

	if (host_define(c->host, xml, &d, err) < 0)
		return -1;
	if (o.start)
		rc = domain_act(d, DOMAIN_START, err);
	if (rc < 0)
		(void)domain_act(d, DOMAIN_UNDEFINE, NULL);
	domain_close(d);
	return rc;
}

static int create(struct creation *c, struct err *err)
{
	CLEANUP_FREE char *xml = NULL;
	int rc = plan(c, err);

	if (rc == 0 && !(xml = new_machine_xml(&c->m)))
		rc = err_nomem(err);
	if (rc == 0 && o.dry_run) {
		(void)fputs(xml, stdout);
		return 0;
	}
	if (rc == 0 && c->disk)
		rc = make_disk(c, err);
	if (rc == 0 && c->seed)
		rc = make_seed(c, err);
	if (rc == 0)
		rc = define(c, xml, err);
	if (rc == 0)
		return tell(c, err);
	if (c->made_disk)
		(void)unlink(c->disk);
	if (c->made_seed)
		(void)unlink(c->seed);
	return -1;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *kernel = NULL, *initrd = NULL;
	struct creation c = {.cli = cli};
	int rc;

	(void)argc;
	if (check_options(err) < 0 || whole_name(o.kernel, &kernel, err) < 0 ||
	    whole_name(o.initrd, &initrd, err) < 0)
		return -1;
	if (o.dry_run && cli->json)
		return err_set(err, ERR_USAGE, "--dry-run prints XML, not JSON");
	c.m = (struct new_machine){.name = argv[0],
				   .memory = o.memory,
				   .cpus = o.cpus,
				   .kernel = kernel,
				   .initrd = initrd,
				   .append = o.append};
	if (backup_name(&c.image, err) < 0 || (o.image && !(c.image = strdup(o.image))) ||
	    vmctl_connect(&c.host, false, err) < 0) {
		free(c.image);
		return o.image && !c.image ? err_nomem(err) : -1;
	}
	c.network = o.network;
	if (!c.network)
		c.network = place_network(c.host);
	rc = create(&c, err);
	host_close(c.host);
	free(c.disk);
	free(c.image);
	free(c.seed);
	free(c.m.type);
	return rc;
}

const struct verb verb_create = {
	.name = "create",
	.usage = "[OPTIONS] NAME",
	.summary = "define a new machine from an image, or from a kernel",
	.details =
		"The image is copied into a qcow2 disk of the machine's own, converted when it is "
		"anything else. --user, --ssh-key, --hostname, --user-data and --network-config "
		"go into a NoCloud seed, which stays beside the disk. The machine has a serial "
		"console and the guest agent's channel. auto takes KVM where the processor has "
		"it. When anything fails nothing is left.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 done, 4 no such image, 5 the machine or a file exists, 7 no connection, 9 not "
		"on a host elsewhere, 13 no space",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.progress = true,
	.run = run,
};
