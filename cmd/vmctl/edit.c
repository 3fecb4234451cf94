/* vmctl edit: a machine's definition in the user's editor, or from standard input. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/host/xmldoc.h"

enum { XML_MAX = 8 << 20, FLAGS = DOMAIN_XML_CONFIG | DOMAIN_XML_SECRETS };

static struct {
	bool from_stdin;
} o;

static const struct opt options[] = {
	{.letter = 'i',
	 .name = "input",
	 .type = OPT_FLAG,
	 .value = &o.from_stdin,
	 .help = "the new definition comes on standard input, no editor is started"},
	OPT_END,
};

static const char *const examples[] = {
	"vmctl edit web",
	"vmctl info --xml --config web | sed s/virtio/e1000e/ | vmctl edit --input web",
	NULL,
};

extern char **environ;

/* sh, so that EDITOR may have options in it: "code --wait". */
static int run_editor(const char *path, struct err *err)
{
	static const char script[] = "exec ${VISUAL:-${EDITOR:-vi}} \"$1\"";
	char sh[] = "sh", c[] = "-c", name[] = "vmctl";
	CLEANUP_FREE char *text = strdup(script), *file = strdup(path);
	char *const argv[] = {sh, c, text, name, file, NULL};
	int status, rc;
	pid_t pid;

	if (!text || !file)
		return err_nomem(err);
	rc = posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ);
	if (rc != 0) {
		errno = rc;
		return err_sys(err, "cannot start the editor");
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(err, "the editor");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(err, ERR_FAILED, "the editor failed: nothing was changed");
	return 0;
}

static int edit_text(const char *old, char **ret, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	char path[4096];
	size_t len;
	int fd, rc;

	if ((size_t)snprintf(path, sizeof(path), "%s/vmctl-XXXXXX.xml",
			     dir && *dir ? dir : "/tmp") >= sizeof(path))
		return err_set(err, ERR_USAGE, "TMPDIR is too long");
	fd = mkstemps(path, 4);
	if (fd < 0) {
		err_sys(err, "cannot create a file");
		return err_object(err, path);
	}
	rc = io_write(fd, old, strlen(old), err);
	if (io_close(fd, rc == 0 ? err : NULL) < 0)
		rc = -1;
	if (rc == 0)
		rc = run_editor(path, err);
	if (rc == 0)
		rc = io_read_file(path, XML_MAX, ret, &len, err);
	(void)unlink(path);
	return rc;
}

static int read_stdin(char **ret, struct err *err)
{
	CLEANUP_FREE char *data = malloc(XML_MAX + 1);
	ssize_t n;

	if (!data)
		return err_nomem(err);
	n = io_read_upto(STDIN_FILENO, data, XML_MAX, err);
	if (n < 0)
		return -1;
	if (n == XML_MAX)
		return err_set(err, ERR_USAGE, "standard input is no definition: it does not end");
	data[n] = '\0';
	*ret = steal_ptr(&data);
	return 0;
}

/* Another UUID would define a second machine instead of changing this one. */
static int check_same(struct domain *d, const char *xml, struct err *err)
{
	struct xmldoc *x;
	int rc = 0;

	if (xmldoc_parse(&x, xml, "definition", err) < 0)
		return -1;

	CLEANUP_FREE char *uuid = xmldoc_get(x, "/domain/uuid");
	CLEANUP_FREE char *name = xmldoc_get(x, "/domain/name");

	if (!uuid || strcasecmp(uuid, domain_uuid(d)) != 0)
		rc = err_set(err, ERR_USAGE, "the definition is of another machine: its UUID is %s",
			     uuid ? uuid : "missing");
	else if (!name || strcmp(name, domain_name(d)) != 0)
		rc = err_set(err, ERR_USAGE, "the name in it is %s: edit does not rename",
			     name ? name : "missing");
	xmldoc_free(x);
	return rc;
}

static int run_on(struct domain *d, struct err *err)
{
	CLEANUP_FREE char *old = NULL, *now = NULL, *text = NULL;

	if (domain_xml(d, FLAGS, &old, err) < 0 ||
	    (o.from_stdin ? read_stdin(&text, err) : edit_text(old, &text, err)) < 0)
		return -1;
	if (strcmp(old, text) == 0)
		return 0;
	if (check_same(d, text, err) < 0 || domain_xml(d, FLAGS, &now, err) < 0)
		return -1;
	if (strcmp(old, now) != 0)
		return err_set(err, ERR_BUSY,
			       "its definition was changed by somebody else meanwhile");
	return host_define(domain_host(d), text, NULL, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct host *h;
	struct domain *d;
	int rc;

	(void)cli;
	(void)argc;
	if (vmctl_find(argv[0], false, &h, &d, err) < 0)
		return -1;
	rc = run_on(d, err);
	if (rc < 0)
		err_object(err, argv[0]);
	domain_close(d);
	host_close(h);
	return rc;
}

const struct verb verb_edit = {
	.name = "edit",
	.usage = "[OPTIONS] NAME",
	.summary = "change a machine's definition",
	.details =
		"VISUAL or EDITOR is started on the XML that holds from the next start on. It is "
		"checked by libvirt before it replaces the old one; a definition that was changed "
		"by somebody else meanwhile is not overwritten.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, or nothing changed, 1 the editor failed, 2 not a definition of this "
		    "machine, 4 no such machine, 6 changed by somebody else, 7 no connection",
	.min_args = 1,
	.max_args = 1,
	.complete_args = COMPLETE_MACHINE,
	.run = run,
};
