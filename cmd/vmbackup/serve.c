/* vmbackup serve: a disk of a snapshot as a network block device, at once. nbdkit does the work, with our plugin. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/cli/nbdkit.h"
#include "libcommon/repo/s3_opts.h"

static struct {
	const char *socket, *name;
	bool cow, with_parent, once;
	unsigned port;
	uint64_t idle_ms;
} o;

static const struct opt options[] = {
	{.name = "socket",
	 .type = OPT_STRING,
	 .value = &o.socket,
	 .arg = "PATH",
	 .help = "listen on this unix socket, which is removed at the end",
	 .complete = COMPLETE_FILE},
	{.name = "port",
	 .type = OPT_UINT,
	 .value = &o.port,
	 .arg = "N",
	 .help = "listen on this TCP port of 127.0.0.1: any user of this host can connect",
	 .min = 1,
	 .max = 65535},
	{.name = "name",
	 .type = OPT_STRING,
	 .value = &o.name,
	 .arg = "EXPORT",
	 .help = "name of the export; without it the empty one"},
	{.name = "copy-on-write",
	 .type = OPT_FLAG,
	 .value = &o.cow,
	 .help = "let clients write, into a nameless file in TMPDIR that is dropped at the end"},
	{.name = "once",
	 .type = OPT_FLAG,
	 .value = &o.once,
	 .help = "end when the last client has gone"},
	{.name = "timeout",
	 .type = OPT_DURATION,
	 .value = &o.idle_ms,
	 .arg = "TIME",
	 .help = "end when no client has been connected for so long"},
	{.name = "exit-with-parent",
	 .type = OPT_FLAG,
	 .value = &o.with_parent,
	 .help = "end when the process that started it does"},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms serve web@latest --socket /run/web.sock --timeout 1h",
	"vmbackup -r /backup/vms serve --copy-on-write web -- guestfish --add '$uri'",
	NULL,
};

static char *passphrase; /* as typed: the plugin opens the repository again */

static int get_key(void *ctx, bool confirm, char **ret, struct err *err)
{
	if (vmbackup_key.get(ctx, confirm, ret, err) < 0)
		return -1;
	cli_password_free(passphrase);
	passphrase = strdup(*ret);
	return passphrase ? 0 : err_nomem(err);
}

/* "repo:URL#ID:DISK": by the id, so that a newer snapshot changes nothing. */
static int pin(struct repo *repo, const char *url, const char *spec, char **ret, struct err *err)
{
	CLEANUP_FREE char *disk = NULL;
	char hex[2 * sizeof(((struct snapshot *)0)->id.bytes) + 1];
	struct snapshot *s;
	struct image *img;
	int rc;

	if (repo_find_disk(repo, spec, &s, &disk, err) < 0)
		return -1;
	rc = repo_open_disk(repo, s, disk, &img, err);
	if (rc == 0) {
		image_close(img);
		hex_encode(s->id.bytes, sizeof(s->id.bytes), hex);
		if (asprintf(ret, "repo:%s#%s@%s:%s", url, s->vm, hex,
			     disk ? disk : s->disks[0].name) < 0) {
			*ret = NULL;
			rc = err_nomem(err);
		}
	}
	snapshots_free(s, 1);
	return rc;
}

static void set_env(const char *name, const char *value)
{
	if (value)
		(void)setenv(name, value, 1);
}

enum { N_FIGURES = 4, FIGURE_MAX = 48 };

/* The plugin knows the environment and, of our options, figures: @ret points to @text. */
static void hand_over_s3(char text[N_FIGURES][FIGURE_MAX], const char *ret[N_FIGURES + 1])
{
	const struct repo_s3_opts *s3 = repo_s3_opts();
	const struct {
		const char *key;
		uint64_t value;
	} figures[N_FIGURES] = {
		{"s3_retries", s3->retries},
		{"s3_rate_limit", s3->rate_limit},
		{"s3_cache_size", s3->cache_size},
		{"s3_stall_ms", s3->stall_ms},
	};

	set_env("AWS_ENDPOINT_URL", s3->endpoint);
	set_env("AWS_REGION", s3->region);
	set_env("AWS_CA_BUNDLE", s3->ca_file);
	for (size_t i = 0; i < N_FIGURES; i++) {
		(void)snprintf(text[i], FIGURE_MAX, "%s=%" PRIu64, figures[i].key,
			       figures[i].value);
		ret[i] = text[i];
	}
	ret[N_FIGURES] = NULL;
}

static int look(const char *spec, char **ret, struct err *err)
{
	const struct repo_key_source key = {.get = get_key, .release = vmbackup_key.release};
	const char *url = NULL;
	struct repo *repo;
	int rc;

	if (vmbackup_url(&url, err) < 0)
		return -1;
	if (repo_open(&repo, url, &key, err) < 0)
		return err_object(err, url);
	rc = vmbackup_expect(repo, err) < 0 ? err_object(err, url) : pin(repo, url, spec, ret, err);
	repo_close(repo);
	return rc;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE char *image = NULL;
	char figures[N_FIGURES][FIGURE_MAX];
	const char *settings[N_FIGURES + 1] = {NULL};
	struct nbdkit_serve s = {
		.socket = o.socket,
		.export_name = o.name,
		.port = o.port,
		.cow = o.cow,
		.with_parent = o.with_parent,
		.once = o.once,
		.idle_ms = o.idle_ms,
		.command = argv + 1,
		.n_command = argc - 1,
		.settings = settings,
	};
	int rc;

	(void)cli;
	if (nbdkit_check(&s, err) < 0 || look(argv[0], &image, err) < 0)
		return -1;
	s.image = image;
	s.passphrase = passphrase;
	hand_over_s3(figures, settings);
	rc = nbdkit_exec(&s, err);
	cli_password_free(s.passphrase);
	return rc;
}

const struct verb verb_serve = {
	.name = "serve",
	.usage = "[OPTIONS] NAME@WHEN[:DISK] [-- COMMAND [ARGUMENT]...]",
	.summary =
		"serve a disk of a snapshot as a network block device (NBD), with nothing restored",
	.details =
		"It serves until a signal, --once or --timeout ends it. Clients only read, unless "
		"--copy-on-write keeps what they write for as long as it runs. With COMMAND it is "
		"served on a socket that nobody else finds, until the command ends: its status is "
		"the verb's. The command has the export's URI in its environment as uri; an "
		"argument that is $uri is replaced by it. nbdkit does the work, with a plugin of "
		"ours.",
	.options = options,
	.examples = examples,
	.statuses =
		"0 ended as asked, 1 nbdkit failed, 2 usage, 4 no such snapshot or disk, 5 or 6 "
		"the socket is taken, 8 damaged, 9 no nbdkit, 12 wrong passphrase; with COMMAND "
		"its status",
	.min_args = 1,
	.max_args = UINT_MAX,
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
