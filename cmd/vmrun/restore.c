/* vmrun restore: a saved machine goes on. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmrun/command.h"
#include "cmd/vmrun/here.h"
#include "cmd/vmrun/net.h"
#include "cmd/vmrun/shares.h"
#include "cmd/vmrun/vmrun.h"
#include "cmd/vmrun/vsock.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/image/image.h"
#include "libcommon/runner/control.h"
#include "libcommon/runner/position.h"
#include "libcommon/runner/share.h"
#include "libcommon/runner/state.h"

static struct {
	const char *name, *format, *kvm, *workdir, *user, *vsock, *positions;
	struct opt_list disks, allow, env, nets, publish, shares;
	bool ephemeral;
	uint64_t timeout;
} o;

static const struct opt options[] = {
	{.letter = 'e',
	 .name = "ephemeral",
	 .type = OPT_FLAG,
	 .value = &o.ephemeral,
	 .help = "what the guest writes to its disks from now on is thrown away: FILE can be "
		 "restored any number of times, also at once"},
	{.letter = 'd',
	 .name = "disk",
	 .type = OPT_LIST,
	 .value = &o.disks,
	 .arg = "IMAGE",
	 .complete = COMPLETE_FILE,
	 .help = "where the disks are now, all of them in their order (default: where they were, "
		 "if "
		 "that is FILE's folder or one that --allow-backing names)"},
	{.name = "positions",
	 .type = OPT_STRING,
	 .value = &o.positions,
	 .arg = "JSON",
	 .complete = COMPLETE_FILE,
	 .help = "the disks were put elsewhere, with the same bytes: their files' sizes and times "
		 "are "
		 "those that the file JSON has, not those that FILE has",
	 .hidden = true},
	{.letter = 'f',
	 .name = "format",
	 .type = OPT_STRING,
	 .value = &o.format,
	 .arg = "FORMAT",
	 .complete = COMPLETE_FORMAT,
	 .help = "of all disks (default: probed)"},
	{.name = "allow-backing",
	 .type = OPT_LIST,
	 .value = &o.allow,
	 .arg = "DIR",
	 .complete = COMPLETE_DIR,
	 .help = "disks and folders that FILE names, and backing files, may lie below DIR too"},
	{.letter = 's',
	 .name = "share",
	 .type = OPT_LIST,
	 .value = &o.shares,
	 .arg = "DIR",
	 .complete = COMPLETE_DIR,
	 .help = "where the shared folders are now, all of them in their order, and a --root that "
		 "is "
		 "one behind them (default: as for disks)"},
	{.name = "net",
	 .type = OPT_LIST,
	 .value = &o.nets,
	 .arg = "user|tap=NAME|fd=N",
	 .help = "what its network interfaces lead to now, of the same kinds and in their order, "
		 "as for run "
		 "(default: user where it was user); they keep their addresses"},
	{.letter = 'p',
	 .name = "publish",
	 .type = OPT_LIST,
	 .value = &o.publish,
	 .arg = "[ADDRESS:]PORT[:GUESTPORT][/udp]",
	 .help = "as for run; the saved machine's ports are not published again without it"},
	{.name = "vsock",
	 .type = OPT_STRING,
	 .value = &o.vsock,
	 .arg = "PATH[,cid=N]",
	 .complete = COMPLETE_FILE,
	 .help = "as for run, for a machine that had a vsock"},
	{.letter = 'n',
	 .name = "name",
	 .type = OPT_STRING,
	 .value = &o.name,
	 .arg = "NAME",
	 .help = "of the machine, as for run"},
	{.letter = 't',
	 .name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.timeout,
	 .arg = "TIME",
	 .help = "end the machine after this: status 10 (default: never)"},
	{.name = "env",
	 .type = OPT_LIST,
	 .value = &o.env,
	 .arg = "NAME=VALUE",
	 .help = "set in the command's environment, which is PATH and HOME otherwise"},
	{.name = "workdir",
	 .type = OPT_STRING,
	 .value = &o.workdir,
	 .arg = "DIR",
	 .help = "where the command starts, in the guest (default: /)"},
	{.letter = 'u',
	 .name = "user",
	 .type = OPT_STRING,
	 .value = &o.user,
	 .arg = "NAME|UID",
	 .help = "whom the command runs as, of the guest's /etc/passwd and /etc/group (default: "
		 "root)"},
	{.name = "kvm",
	 .type = OPT_STRING,
	 .value = &o.kvm,
	 .arg = "FILE",
	 .help = "instead of /dev/kvm",
	 .hidden = true},
	OPT_END,
};

static const char *const examples[] = {
	"vmrun restore web.state",
	"for i in 1 2 3; do vmrun restore --ephemeral --name ci-$i ready.state </dev/null & done",
	"vmrun restore ready.state -- sort <unsorted >sorted",
	"vmrun restore --disk /srv/web.qcow2 web.state",
	"vmrun restore --publish 8080:80 web.state",
	NULL,
};

/* The folder of @path, without symbolic links; owned, NULL when there is none */
static char *real_folder(const char *path)
{
	char *real = realpath(path, NULL), *slash = real ? strrchr(real, '/') : NULL;

	if (slash)
		slash[slash == real] = '\0';
	return real;
}

static bool lies_below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return strncmp(path, folder, n) == 0 && (path[n] == '/' || (n == 1 && *folder == '/'));
}

/* A name in the file is not the caller's word: it may lead where that one looks anyway. *@ret is owned */
static int trusted_name(const char *file, const char *name, const char *what, const char *option,
			char **ret, struct err *err)
{
	CLEANUP_FREE char *own = real_folder(file);
	char *real = realpath(name, NULL);
	bool good = real && own && lies_below(real, own);

	for (size_t i = 0; real && !good && i < o.allow.count; i++) {
		CLEANUP_FREE char *dir = realpath(o.allow.items[i], NULL);

		good = dir && lies_below(real, dir);
	}
	if (good) {
		*ret = real;
		return 0;
	}
	free(real);
	err_set(err, ERR_DENIED, "the saved machine's %s %.200s does not lie in its folder", what,
		name);
	err_object(err, file);
	return err_hint(err, "if it is yours, name it: %s %.180s", option, name);
}

static enum disk_mode mode_of(const json_t *disk)
{
	const char *mode = json_string_value(json_object_get(disk, "mode"));

	if (strcmp(mode, "read-only") == 0)
		return DISK_READ_ONLY;
	return o.ephemeral || strcmp(mode, "ephemeral") == 0 ? DISK_EPHEMERAL : DISK_WRITE;
}

/* Of the file that --positions names: an array of what position_get() gives; else what @disk has */
static int read_position(size_t i, const json_t *disk, json_t **ret, struct err *err)
{
	enum { MOST = 1 << 20 };
	CLEANUP_FREE char *text = NULL;
	json_t *all = NULL;
	size_t len;

	if (!o.positions) {
		*ret = json_incref(json_object_get(disk, "files"));
		return 0;
	}
	if (io_read_file(o.positions, MOST, &text, &len, err) < 0)
		return err_object(err, o.positions);
	all = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	*ret = json_incref(json_array_get(all, i));
	json_decref(all);
	if (*ret)
		return 0;
	err_set(err, ERR_CORRUPT, "does not say where disk %zu stands", i + 1);
	return err_object(err, o.positions);
}

static int check_disk(struct image *img, size_t i, const json_t *disk, struct err *err)
{
	uint64_t size = (uint64_t)json_integer_value(json_object_get(disk, "size"));
	json_t *then;
	int rc;

	if (image_size(img) / 512 * 512 != size) {
		err_set(err, ERR_DIFFERS,
			"the disk has another size than when the machine was saved");
		return err_object(err, image_name(img));
	}
	if (read_position(i, disk, &then, err) < 0)
		return -1;
	rc = position_check(img, then, err);
	json_decref(then);
	return rc;
}

/* Before it is opened for writing, which may change it */
static int check_before(const char *name, const struct disk_how *how, size_t i, const json_t *disk,
			struct err *err)
{
	struct image *img;
	int rc;

	if (disks_image(&img, name, how, false, err) < 0)
		return -1;
	rc = check_disk(img, i, disk, err);
	image_close(img);
	return rc;
}

static int open_one(struct disks *d, const struct state *s, const char *file, struct err *err)
{
	const json_t *disk = state_disk(s, d->n);
	const struct disk_how how = {.format = o.format, .allow = &o.allow, .mode = mode_of(disk)};
	CLEANUP_FREE char *recorded = NULL;
	const char *mode = json_string_value(json_object_get(disk, "mode")), *name;
	unsigned i = (unsigned)d->n;

	if (!o.disks.count && trusted_name(file, json_string_value(json_object_get(disk, "image")),
					   "disk", "--disk", &recorded, err) < 0)
		return -1;
	name = o.disks.count ? o.disks.items[i] : recorded;
	if (check_before(name, &how, i, disk, err) < 0 || disks_add(d, name, &how, err) < 0)
		return -1;
	if (strcmp(mode, "ephemeral") == 0 && disk_load_layer(d->disk[i], i, s, err) < 0)
		return err_object(err, file);
	return 0;
}

static int open_disks(struct disks *d, const struct state *s, const char *file, struct err *err)
{
	if (o.disks.count && o.disks.count != s->n_disks) {
		err_set(err, ERR_USAGE, "the saved machine has %zu disks, --disk names %zu",
			s->n_disks, o.disks.count);
		return err_object(err, file);
	}
	while (d->n < s->n_disks)
		if (open_one(d, s, file, err) < 0)
			return -1;
	return 0;
}

/* ---- what joins it to this host */

static struct nets nets;
static struct vsock *vsock;
static uint32_t vsock_cid;

/* The one interface that needs no name */
static bool is_user_alone(const struct state *s)
{
	uint8_t mac[NET_MAC];

	return s->n_nets == 1 && strcmp(state_net(s, 0, mac), "user") == 0;
}

static int open_nets(const struct state *s, struct err *err)
{
	static const char *user[] = {"user"};
	struct opt_list specs = o.nets;

	if (!specs.count && is_user_alone(s))
		specs = (struct opt_list){.items = user, .count = 1};
	if (specs.count != s->n_nets)
		return err_set(err, ERR_USAGE,
			       "the saved machine has %zu network interfaces, --net names %zu",
			       s->n_nets, specs.count);
	if (!s->n_nets && o.publish.count)
		return err_set(err, ERR_USAGE,
			       "--publish: the saved machine has no network interface");
	if (nets_open(&nets, &specs, &o.publish, err) < 0)
		return -1;
	if (nets.n != s->n_nets)
		return err_set(err, ERR_USAGE, "the saved machine has a network interface");
	for (size_t i = 0; i < nets.n; i++) {
		const char *was = state_net(s, i, nets.net[i]->mac);

		if (strcmp(was, nets.net[i]->kind) != 0)
			return err_set(err, ERR_USAGE,
				       "the saved machine's network interface %zu was of another "
				       "kind than %s, and its driver relies on what that could do",
				       i + 1, nets.net[i]->kind);
	}
	return 0;
}

static struct shares shares;

static int open_share(const struct state *s, size_t i, const char *file, struct err *err)
{
	const json_t *was = state_share(s, i);
	CLEANUP_FREE char *recorded = NULL;
	const char *folder = json_string_value(json_object_get(was, "folder"));

	if (!o.shares.count &&
	    trusted_name(file, folder, "shared folder", "--share", &recorded, err) < 0)
		return -1;
	folder = o.shares.count ? o.shares.items[i] : recorded;
	if (shares_add_saved(&shares, s->n_shares, folder,
			     json_string_value(json_object_get(was, "tag")),
			     json_is_true(json_object_get(was, "read_only")), err) < 0)
		return -1;
	if (share_inode(shares.machine[i].share) ==
	    (uint64_t)json_integer_value(json_object_get(was, "inode")))
		return 0;
	err_set(err, ERR_DIFFERS,
		"the shared folder is another one than when the machine was saved");
	return err_object(err, folder);
}

static int open_shares(const struct state *s, const char *file, struct err *err)
{
	if (o.shares.count && o.shares.count != s->n_shares) {
		err_set(err, ERR_USAGE,
			"the saved machine has %zu shared folders, --share names %zu", s->n_shares,
			o.shares.count);
		return err_object(err, file);
	}
	for (size_t i = 0; i < s->n_shares; i++)
		if (open_share(s, i, file, err) < 0)
			return -1;
	return 0;
}

static int open_vsock(const struct state *s, struct err *err)
{
	bool had = json_is_true(json_object_get(s->conf, "vsock"));

	if (had != (o.vsock != NULL))
		return err_set(err, ERR_USAGE,
			       had ? "the saved machine has a vsock: --vsock PATH"
				   : "--vsock: the saved machine has none");
	return vsock_option(o.vsock, &vsock, &vsock_cid, err);
}

static struct machine_opts machine(const struct state *s, const struct disks *d,
				   struct control *control)
{
	return (struct machine_opts){
		.kvm = o.kvm,
		.restore = s,
		.memory = s->memory,
		.cpus = s->cpus,
		.disks = d->disk,
		.n_disks = d->n,
		.nets = nets.net,
		.n_nets = nets.n,
		.shares = shares.machine,
		.n_shares = shares.n,
		.vsock = vsock,
		.vsock_cid = vsock_cid,
		.input = -1,
		.output = -1,
		.balloon = json_is_true(json_object_get(s->conf, "balloon")),
		.escape = -1,
		.timeout_ms = o.timeout,
		.control = control,
		.initrd_fd = -1,
	};
}

static int run_command(struct cli *cli, const struct machine_opts *how, char **argv,
		       struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct machine_streams streams = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, NULL, 0};
	struct machine_opts opts = *how;
	struct machine_result r;

	if (command_text(argv, o.workdir, o.user, &o.env, &text, &streams.first_len, err) < 0)
		return -1;
	streams.first = text;
	opts.streams = &streams;
	opts.output = cli->verbose ? STDERR_FILENO : -1;
	if (machine_run(&opts, &r, err) < 0) {
		if (err->code == ERR_TIMEOUT)
			cli->failure_status = TIMED_OUT;
		return -1;
	}
	return machine_command_told(cli, &r, o.timeout, err);
}

static int go_on(struct cli *cli, const struct state *s, char **argv, struct control *control,
		 struct err *err)
{
	struct disks d = {.n = 0};
	struct machine_opts opts;
	struct machine_result r;
	int rc = open_disks(&d, s, argv[0], err);

	if (rc == 0)
		rc = open_nets(s, err);
	if (rc == 0)
		rc = open_shares(s, argv[0], err);
	if (rc == 0)
		rc = open_vsock(s, err);
	opts = machine(s, &d, control);
	if (rc == 0 && s->waits) {
		rc = run_command(cli, &opts, argv + 1, err);
	} else if (rc == 0) {
		rc = machine_run_here(&opts, &r, err);
		if (rc == 0)
			rc = machine_told(&r, o.timeout, err);
	}
	if (rc < 0 && (err->code == ERR_CORRUPT || err->code == ERR_UNSUPPORTED))
		err_object(err, argv[0]);
	nets_close(&nets);
	vsock_close(vsock);
	shares_close(&shares);
	disks_close(&d);
	return rc;
}

static int check_command(const struct cli *cli, const struct state *s, int argc, char **argv,
			 struct err *err)
{
	if (argc > 1 && cli->before_dashes != 1)
		return err_set(err, ERR_USAGE, "one file, and a command behind --, are wanted");
	if (s->waits == (argc > 1))
		return argc > 1 || !(o.env.count || o.workdir || o.user)
			       ? 0
			       : err_set(err, ERR_USAGE,
					 "--env, --user and --workdir are for a command");
	err_set(err, ERR_USAGE,
		s->waits ? "it waits for a command: vmrun restore FILE -- COMMAND"
			 : "it does not wait for a command: that does what run --prepare saved");
	return err_object(err, argv[0]);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct control *control = NULL;
	struct state *s;
	int rc;

	if (argc > 1 && cli->before_dashes == 1)
		cli->failure_status = OWN_FAILURE;
	if (command_check_user(o.user, err) < 0 || state_open(&s, argv[0], err) < 0)
		return -1;
	rc = check_command(cli, s, argc, argv, err);
	if (rc == 0 && o.name)
		rc = control_open(&control, o.name, err);
	if (rc == 0)
		rc = go_on(cli, s, argv, control, err);
	control_close(control);
	state_close(s);
	return rc;
}

const struct verb verb_restore = {
	.name = "restore",
	.usage = "[OPTIONS] FILE [-- COMMAND [ARGUMENT...]]",
	.summary = "go on with a machine that save wrote to a file",
	.details =
		"The guest goes on in the middle of what it did, on this terminal as with run. "
		"FILE "
		"is mapped, if it is not compressed: what the guest does not touch is never read. "
		"It "
		"stays as it is, and "
		"must stay until the machine ends.\n\n"
		"A disk that was changed since the machine was saved is refused: a guest that has "
		"another file system in mind than there is would destroy it. So is another shared "
		"folder "
		"than it had; what was changed inside of the same one the guest sees as changes by "
		"others. With --ephemeral the "
		"disks stay as they are. The guest's connections are gone: networks are joined "
		"anew, "
		"as --net says. The guest's clock goes on where it stood; its date is "
		"right "
		"again when it sets it.\n\n"
		"A machine that run --prepare saved takes a COMMAND, as run does: its streams, its "
		"status, its signals. It gets the date, and randomness of its own.",
	.options = options,
	.examples = examples,
	.statuses =
		"as those of run, and 3 a disk was changed since, 8 FILE is damaged or cut off, or "
		"no saved machine, 9 this processor is another one, 12 FILE names a disk elsewhere",
	.min_args = 1,
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
