/* vmimg serve: an image as a network block device, by nbdkit with a plugin of ours (plugin/plugin.c).
 *
 * This file looks at the image, so that what is wrong with it is said as every verb says it, and then becomes nbdkit.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/image/image.h"

/* Beside the folder of the programs, where make builds it and make install puts it. */
#define PLUGIN "libexec/vmkit/nbdkit-vmimg-plugin.so"

enum { MAX_ARGS = 128, PASS_FD = 9 /* one that every sh can close */ };

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

/* ---- nbdkit's command line */

struct command {
	char *argv[MAX_ARGS + 1];
	size_t n;
	bool failed; /* no memory, or no room */
};

static void __attribute__((format(printf, 2, 3))) add(struct command *c, const char *fmt, ...)
{
	va_list ap;

	if (c->n == MAX_ARGS) {
		c->failed = true;
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&c->argv[c->n], fmt, ap) < 0) {
		c->argv[c->n] = NULL;
		c->failed = true;
	} else {
		c->n++;
	}
	va_end(ap);
}

static void command_free(struct command *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->argv[i]);
}

/* One word of a shell command. */
static void quote(FILE *f, const char *word)
{
	(void)fputc('\'', f);
	for (; *word; word++)
		if (*word == '\'')
			(void)fputs("'\\''", f);
		else
			(void)fputc(*word, f);
	(void)fputc('\'', f);
}

/* What --run shall run: CMD with $uri in its environment, and in place of an argument that is just that. */
static int run_text(char **words, int n, char **ret, struct err *err)
{
	size_t size;
	FILE *f = open_memstream(ret, &size);

	if (!f)
		return err_nomem(err);
	(void)fprintf(f, "export uri; exec %d<&-; exec", PASS_FD);
	for (int i = 0; i < n; i++) {
		(void)fputc(' ', f);
		if (strcmp(words[i], "$uri") == 0)
			(void)fputs("\"$uri\"", f);
		else
			quote(f, words[i]);
	}
	return fclose(f) == 0 ? 0 : err_nomem(err);
}

static void add_listener(struct command *c, bool has_command)
{
	if (o.socket)
		add(c, "--unix=%s", o.socket);
	else if (o.port)
		add(c, "--port=%u", o.port);
	else if (has_command)
		add(c, "--unix=-");
	if (o.port)
		add(c, "--ipaddr=127.0.0.1");
}

static void add_image(struct command *c, const char *image)
{
	unsigned flags = (o.shared ? IMAGE_SHARED : 0) | (o.writable ? IMAGE_RDWR : 0);

	add(c, "image=%s", image);
	add(c, "flags=%u", flags);
	if (o.format)
		add(c, "format=%s", o.format);
	if (o.snapshot)
		add(c, "snapshot=%s", o.snapshot);
	if (o.name)
		add(c, "export=%s", o.name);
	if (o.socket)
		add(c, "socket=%s", o.socket);
	if (o.idle_ms)
		add(c, "idle_ms=%llu", (unsigned long long)o.idle_ms);
	if (o.once)
		add(c, "once=1");
	if (passphrase)
		add(c, "pass_fd=%d", PASS_FD);
	for (size_t i = 0; i < o.allow.count; i++)
		add(c, "allow=%s", o.allow.items[i]);
}

static int build(struct command *c, const char *plugin, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *text = NULL;

	add(c, "nbdkit");
	add(c, "--foreground");
	add(c, "--exportname=%s", o.name ? o.name : "");
	if (!o.writable && !o.cow)
		add(c, "--readonly");
	if (o.with_parent)
		add(c, "--exit-with-parent");
	if (o.cow)
		add(c, "--filter=cow");
	add_listener(c, argc > 1);
	if (argc > 1) {
		if (run_text(argv + 1, argc - 1, &text, err) < 0)
			return -1;
		add(c, "--run=%s", text);
	}
	add(c, "%s", plugin);
	add_image(c, argv[0]);
	if (c->failed)
		return c->n == MAX_ARGS ? err_set(err, ERR_USAGE, "too many --allow-backing")
					: err_nomem(err);
	return 0;
}

/* ---- before */

static int find_plugin(char path[PATH_MAX + sizeof(PLUGIN)], struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash = NULL;

	path[n > 0 ? n : 0] = '\0';
	for (int up = 0; up < 2; up++) { /* PREFIX/bin/vmimg */
		slash = strrchr(path, '/');
		if (slash)
			*slash = '\0';
	}
	if (slash)
		(void)memcpy(slash, "/" PLUGIN, sizeof("/" PLUGIN));
	if (slash && access(path, R_OK) == 0)
		return 0;
	err_set(err, ERR_UNSUPPORTED, "the plugin for nbdkit is not installed");
	err_hint(err, "vmkit was built without nbdkit's headers (Debian: nbdkit-plugin-dev)");
	return err_object(err, path);
}

/* A socket that a killed server left behind is in the way; one that somebody listens on is not ours. */
static int clear_socket(const char *path, struct err *err)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(path) >= sizeof(to.sun_path)) {
		err_set(err, ERR_USAGE, "the path is too long for a socket");
		return err_object(err, path);
	}
	if (lstat(path, &st) < 0)
		return 0; /* nbdkit will say what is wrong with its folder */
	if (!S_ISSOCK(st.st_mode)) {
		err_set(err, ERR_EXISTS, "exists already, and is no socket");
		return err_object(err, path);
	}

	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)memcpy(to.sun_path, path, strlen(path));
	if (fd < 0)
		return err_sys(err, "cannot make a socket");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
		err_set(err, ERR_BUSY, "another server listens on it");
		return err_object(err, path);
	}
	if (errno == ECONNREFUSED && unlink(path) < 0)
		return err_object(err, path), err_sys(err, "cannot remove the old socket");
	return 0;
}

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

static int hand_over_passphrase(struct err *err)
{
	if (!passphrase)
		return 0;

	int fd = memfd_create("passphrase", MFD_CLOEXEC);

	if (fd < 0 || io_write(fd, passphrase, strlen(passphrase), err) < 0 ||
	    (fd != PASS_FD && dup2(fd, PASS_FD) < 0))
		return err_sys(err, "cannot hand the passphrase over");
	cli_password_free(passphrase);
	return 0;
}

static int check_usage(int argc, struct err *err)
{
	if (!o.socket && !o.port && argc < 2) {
		err_set(err, ERR_USAGE, "where shall it be served?");
		return err_hint(err, "say --socket PATH, --port N, or a command after --");
	}
	if (o.socket && o.port)
		return err_set(err, ERR_USAGE, "--socket and --port exclude each other");
	if (o.writable && o.cow)
		return err_set(err, ERR_USAGE, "--writable and --cow exclude each other");
	if (argc > 1 && (o.with_parent || o.once || o.idle_ms))
		return err_set(err, ERR_USAGE,
			       "with a command the server ends when the command does");
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	char plugin[PATH_MAX + sizeof(PLUGIN)];
	struct command c = {0};

	(void)cli;
	if (check_usage(argc, err) < 0 || look(argv[0], err) < 0 ||
	    (o.socket && clear_socket(o.socket, err) < 0) || find_plugin(plugin, err) < 0)
		return -1;
	if (build(&c, plugin, argc, argv, err) == 0 && hand_over_passphrase(err) == 0) {
		/* What was ignored here would be so in nbdkit and in the command. */
		(void)signal(SIGPIPE, SIG_DFL);
		(void)signal(SIGXFSZ, SIG_DFL);
		(void)signal(SIGUSR1, SIG_DFL);
		(void)execvp(c.argv[0], c.argv);
		err_set(err, ERR_UNSUPPORTED, "cannot run nbdkit: %s", strerror(errno));
		err_hint(err, "on Debian: apt-get install nbdkit");
	}
	command_free(&c);
	return -1;
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
