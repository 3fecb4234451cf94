/* vmimg serve: an image as a network block device, by nbdkit with a plugin of ours (plugin/plugin.c,
 * libcommon/cli/nbdkit.c).
 *
 * This file looks at the image, so that what is wrong with it is said as every verb says it, and then becomes nbdkit.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmimg/vmimg.h"
#include "libcommon/cli/nbdkit.h"
#include "libcommon/image/image.h"

static struct {
	const char *format, *snapshot, *socket, *name;
	struct opt_list allow;
	bool shared, writable, cow, with_parent, once;
	unsigned port;
	uint64_t idle_ms;
} o;

/* What the user typed for an encrypted repository: the plugin opens it again. */
static char *passphrase;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the image; probed without it", .complete = COMPLETE_FORMAT},
	{0, "snapshot", OPT_STRING, &o.snapshot, .arg = "NAME",
	 .help = "serve this internal snapshot, by name or id"},
	{0, "socket", OPT_STRING, &o.socket, .arg = "PATH",
	 .help = "listen on this unix socket, which is removed at the end",
	 .complete = COMPLETE_FILE},
	{0, "port", OPT_UINT, &o.port, .arg = "N",
	 .help = "listen on this TCP port of 127.0.0.1: any user of this host can connect",
	 .min = 1, .max = 65535},
	{0, "name", OPT_STRING, &o.name, .arg = "EXPORT",
	 .help = "name of the export; without it the empty one"},
	{'w', "writable", OPT_FLAG, &o.writable, .help = "let clients write to the image"},
	{0, "cow", OPT_FLAG, &o.cow,
	 .help = "let clients write, into a nameless file in TMPDIR that is dropped at the end"},
	{0, "once", OPT_FLAG, &o.once, .help = "end when the last client has gone"},
	{0, "timeout", OPT_DURATION, &o.idle_ms, .arg = "TIME",
	 .help = "end when no client has been connected for so long"},
	{0, "exit-with-parent", OPT_FLAG, &o.with_parent,
	 .help = "end when the process that started it does"},
	{'U', "force-share", OPT_FLAG, &o.shared,
	 .help = "serve it even while another process writes to it"},
	{0, "allow-backing", OPT_LIST, &o.allow, .arg = "DIR",
	 .help = "folder that backing files may lie in, beside that of the image; may be repeated",
	 .complete = COMPLETE_DIR},
	OPT_END};

static const char *const examples[] = {
	"vmimg serve --socket /run/user/1000/disk.sock --timeout 10m disk.vmdk",
	"vmimg serve --cow disk.qcow2 -- nbdcopy '$uri' copy.raw",
	"vmimg serve disk.vhdx -- sh -c 'nbdinfo --map \"$uri\"'", NULL};

static int get_key(void *ctx, bool confirm, char **ret, struct err *err)
{
	(void)ctx;
	if (cli_password(NULL, "passphrase of the repository", confirm, ret, err) < 0)
		return -1;
	cli_password_free(passphrase);
	passphrase = strdup(*ret);
	return passphrase ? 0 : err_nomem(err);
}

static void release_key(void *ctx, char *text)
{
	(void)ctx;
	cli_password_free(text);
}

const struct repo_key_source vmimg_key = {.get = get_key, .release = release_key};

/* Can it be opened as it shall be served? Its locks are given back: nbdkit takes them again. */
static int look(const char *name, struct err *err)
{
	struct image_open_opts opts = {
		.format = o.format,
		.flags = (o.shared ? IMAGE_SHARED : 0) | (o.writable ? IMAGE_RDWR : 0),
		.snapshot = o.snapshot,
		.allow_dirs = o.allow.items,
		.n_allow_dirs = o.allow.count,
	};
	struct image *img;
	int rc = 0;

	if (strcmp(name, "-") == 0)
		return err_set(err, ERR_USAGE, "standard input cannot be served");
	if (image_open(&img, name, &opts, err) < 0)
		return -1;
	if (image_is_stream(img)) {
		err_set(err, ERR_UNSUPPORTED, "a stream cannot be served");
		rc = err_object(err, name);
	} else if (o.writable) {
		rc = image_write(img, "", 0, 0, err); /* does the format write in place? */
	}
	image_close(img);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct nbdkit_serve s = {
		.image = argv[0],
		.flags = (o.shared ? IMAGE_SHARED : 0) | (o.writable ? IMAGE_RDWR : 0),
		.format = o.format,
		.snapshot = o.snapshot,
		.allow = o.allow.items,
		.n_allow = o.allow.count,
		.socket = o.socket,
		.export_name = o.name,
		.port = o.port,
		.writable = o.writable,
		.cow = o.cow,
		.with_parent = o.with_parent,
		.once = o.once,
		.idle_ms = o.idle_ms,
		.command = argv + 1,
		.n_command = argc - 1,
	};

	(void)cli;
	if (nbdkit_check(&s, err) < 0 || look(argv[0], err) < 0)
		return -1;
	s.passphrase = passphrase;
	return nbdkit_exec(&s, err);
}

const struct verb verb_serve = {
	.name = "serve",
	.usage = "[OPTIONS] IMAGE [-- COMMAND [ARGUMENT]...]",
	.summary = "serve an image of any format as a network block device (NBD)",
	.details = "It serves until a signal, --once or --timeout ends it. IMAGE is what every "
		   "verb takes: any format,\n"
		   "a chain, a disk of a package or of a backup (repo:REPOSITORY#NAME@WHEN:DISK), "
		   "another NBD "
		   "export. Clients only read\n"
		   "unless --writable or --cow is given. The image is locked meanwhile.\n"
		   "With COMMAND it is served on a socket that nobody else finds, until the "
		   "command ends: its status is\n"
		   "the verb's. The command has the export's URI in its environment as uri; an "
		   "argument that is $uri is\n"
		   "replaced by it. nbdkit does the work, with a plugin of ours.",
	.options = options,
	.examples = examples,
	.statuses = "0 ended as asked, 1 nbdkit failed, 2 usage, 4 no such image, 5 or 6 the "
		    "socket is taken, 6 the image is in use, 8 damaged, 9 unknown feature, the "
		    "format cannot be written to, or no nbdkit, 12 no permission; with COMMAND "
		    "its status",
	.min_args = 1,
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
