/* vmimg put: files of this host into a file system of a disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/vmimg/inside.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/guest/put.h"
#include "libcommon/image/image.h"

static struct {
	const char *format, *mode, *owner;
	bool force, dry_run;
} o;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &o.format, .arg = "FORMAT",
	 .help = "format of the image; without it the image is probed",
	 .complete = COMPLETE_FORMAT},
	{'m', "mode", OPT_STRING, &o.mode, .arg = "OCTAL",
	 .help = "permissions of the new files, as 0755; default: the files' own, without set-id "
		 "bits"},
	{0, "owner", OPT_STRING, &o.owner, .arg = "UID:GID",
	 .help = "numbers of the new files' owner and group (0:0)"},
	{0, "force", OPT_FLAG, &o.force, .help = "replace files that exist"},
	{0, "dry-run", OPT_FLAG, &o.dry_run, .help = "try all of it, write nothing"},
	OPT_END};

static const char *const examples[] = {
	"vmimg put disk.qcow2 id.pub /root/.ssh/authorized_keys --mode 0600",
	"echo web2 | vmimg put --force disk.raw - /etc/hostname",
	"vmimg put --owner 1000:1000 disk.vmdk a.conf b.conf 2:/srv/conf/", NULL};

static int number(const char **p, int base, unsigned long most, uint32_t *ret)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(*p, &end, base);
	if (end == *p || **p < '0' || **p > '9' || errno || v > most)
		return -1;
	*p = end;
	*ret = (uint32_t)v;
	return 0;
}

static int parse(struct put_opts *opts, struct err *err)
{
	const char *p = o.mode;

	opts->force = o.force;
	opts->dry_run = o.dry_run;
	if (p) {
		if (number(&p, 8, 07777, &opts->mode) < 0 || *p)
			return err_set(err, ERR_USAGE, "--mode: '%s' is no octal number up to 7777",
				       o.mode);
		opts->has_mode = true;
	}
	p = o.owner;
	if (p && (number(&p, 10, UINT32_MAX, &opts->uid) < 0 || *p++ != ':' ||
		  number(&p, 10, UINT32_MAX, &opts->gid) < 0 || *p))
		return err_set(err, ERR_USAGE,
			       "--owner: '%s' is not of the form UID:GID, in numbers", o.owner);
	return 0;
}

/* Where the files go: a folder, and the new file's name when it is not the old one */
struct destination {
	int volume;
	uint64_t dir;
	char *name; /* NULL: each file's own */
};

static int find_destination(struct guest *g, const char *spec, size_t files,
			    struct destination *ret, struct err *err)
{
	CLEANUP_FREE char *parent = NULL;
	const char *slash = strrchr(spec, '/');
	struct err ignored = ERR_INIT;
	struct guest_place p;

	*ret = (struct destination){.volume = -1};
	if (guest_find(g, spec, 0, &p, &ignored) == 0 && p.node.type != FS_DIR) {
		guest_place_release(&p);
	} else if (ignored.code == ERR_NONE) {
		ret->volume = p.volume;
		ret->dir = p.node.id;
		guest_place_release(&p);
		return 0;
	} else if (ignored.code != ERR_NOT_FOUND || !slash || !slash[1]) {
		*err = ignored;
		return -1;
	}
	if (files > 1 || !slash) {
		err_set(err, ERR_NOT_FOUND, "several files need a folder that is there");
		return err_object(err, spec);
	}
	parent = strndup(spec, (size_t)(slash - spec) + 1);
	ret->name = strdup(slash + 1);
	if (!parent || !ret->name || guest_find(g, parent, 0, &p, err) < 0) {
		if (!parent || !ret->name)
			err_nomem(err);
		free(ret->name);
		return -1;
	}
	ret->volume = p.volume;
	ret->dir = p.node.id;
	guest_place_release(&p);
	return 0;
}

/* A pipe has neither size nor holes: it goes through a nameless file */
static int open_source(const char *file, int *ret, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;
	CLEANUP_FREE uint8_t *buf = NULL;
	ssize_t n;

	if (strcmp(file, "-") != 0) {
		fd = open(file, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return err_sys(err, "cannot open");
		*ret = steal_fd(&fd);
		return 0;
	}
	buf = malloc(1 << 20);
	if (!buf)
		return err_nomem(err);
	if (io_nameless(&fd, err) < 0)
		return -1;
	do {
		n = io_read_upto(STDIN_FILENO, buf, 1 << 20, err);
		if (n < 0 || io_write(fd, buf, (size_t)n, err) < 0)
			return -1;
	} while (n);
	*ret = steal_fd(&fd);
	return 0;
}

static const char *base_name(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash ? slash + 1 : file;
}

static int put_one(struct put_target *t, const struct destination *d, const char *file,
		   const struct put_opts *opts, struct err *err)
{
	const char *name = d->name ? d->name : base_name(file);
	CLEANUP_CLOSE int fd = -1;

	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    (!d->name && strcmp(file, "-") == 0))
		err_set(err, ERR_USAGE, "say the name of the new file");
	else if (open_source(file, &fd, err) == 0 && put_file(t, d->dir, name, fd, opts, err) == 0)
		return 0;
	return err_object(err, file);
}

static int put_all(struct image *img, char **files, size_t n, const char *spec,
		   const struct put_opts *opts, struct err *err)
{
	struct put_target *t = NULL;
	struct destination d;
	struct volume v;
	struct guest *g;
	int rc;

	if (guest_open(&g, img, err) < 0)
		return -1;
	rc = find_destination(g, spec, n, &d, err);
	if (rc == 0)
		v = g->volumes[d.volume].v;
	if (rc < 0) {
		guest_close(g);
		return -1;
	}
	/* Each file is opened for by itself: a transaction that is done is forgotten */
	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = put_open(&t, &v, err);
		if (rc == 0)
			rc = put_one(t, &d, files[i], opts, err);
		put_close(t);
		t = NULL;
	}
	guest_close(g); /* a logical volume is its own */
	free(d.name);
	return rc < 0 ? err_object(err, spec) : 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	const struct image_open_opts open_opts = {.format = o.format,
						  .flags = o.dry_run ? 0 : IMAGE_RDWR};
	struct put_opts opts = {.progress = &cli->progress};
	struct image *img;
	int rc;

	if (parse(&opts, err) < 0 || image_open(&img, argv[0], &open_opts, err) < 0)
		return -1;
	progress_begin(&cli->progress, "put", 0);
	rc = put_all(img, argv + 1, (size_t)argc - 2, argv[argc - 1], &opts, err);
	image_close(img);
	return rc;
}

const struct verb verb_put = {
	.name = "put",
	.usage = "[OPTIONS] IMAGE FILE... [PARTITION:]PATH",
	.summary = "copy files into a file system of a disk",
	.details =
		"PATH is a folder that is there, or the new name of one FILE; - is standard input. "
		"The "
		"system's fstab\n"
		"counts as for ls. Written is to ext3 and ext4 alone, that were unmounted cleanly "
		"and have "
		"their journal\n"
		"inside: each file is one transaction of it, so that a machine that stops at any "
		"moment "
		"finds the file\n"
		"whole, or as it was. The image must not be in use. Labels of SELinux are not set. "
		"Folders that\n"
		"are encrypted, fold case, are immutable or append-only are left alone (status 9).",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 no such image, partition or folder, 5 the file exists (see "
		    "--force), 6 in use, 8 damaged, 9 no file system or folder that is written to "
		    "here, or it was not unmounted, 13 the file system is full",
	.min_args = 3,
	.max_args = 1000,
	.progress = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
