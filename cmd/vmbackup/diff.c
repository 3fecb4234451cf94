/* vmbackup diff: what changed between two snapshots, or between a snapshot's disk and an image. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/size.h"
#include "libcommon/image/copy/diff.h"

static struct {
	bool extents, shared;
	const char *format;
	struct opt_list allow;
} o;

static const struct opt options[] = {
	{.letter = 'x',
	 .name = "extents",
	 .type = OPT_FLAG,
	 .value = &o.extents,
	 .help = "list the ranges: disk, offset and length in bytes"},
	{.letter = 'f',
	 .name = "format",
	 .type = OPT_STRING,
	 .value = &o.format,
	 .arg = "FORMAT",
	 .help = "format of the image (default: probed)",
	 .complete = COMPLETE_FORMAT},
	{.letter = 'U',
	 .name = "force-share",
	 .type = OPT_FLAG,
	 .value = &o.shared,
	 .help = "read an image that is in use"},
	{.name = "allow-backing",
	 .type = OPT_LIST,
	 .value = &o.allow,
	 .arg = "DIR",
	 .help = "backing files of the image may lie below this folder too",
	 .complete = COMPLETE_DIR},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms diff web@2026-11-22 web@latest",
	"vmbackup -r /backup/vms diff --json --extents web@4f2a:vda web@latest:vda",
	"vmbackup -r /backup/vms diff web@latest:vda /var/lib/libvirt/images/web.qcow2",
	NULL,
};

/* One side: a snapshot, and the disk of it that was named; or an image. */
struct side {
	struct snapshot *snap;
	char *disk;
	struct image *image;
};

/* One line of the answer. */
struct pair {
	const struct snapshot_disk *a,
		*b; /* NULL: the disk is not there, or an image is compared */
	const char *name, *status;
	uint64_t size_a, size_b, bytes, ranges;
	json_t *list; /* NULL: printed */
};

static void side_clear(struct side *s)
{
	if (s->snap)
		snapshots_free(s->snap, 1);
	free(s->disk);
	image_close(s->image);
}

/* A snapshot when it can be one; else the image of that name. Names of snapshots have no '/'. */
static int open_second(struct repo *repo, const char *spec, struct side *ret, struct err *err)
{
	const struct image_open_opts opts = {
		.format = o.format,
		.flags = o.shared ? IMAGE_SHARED : 0,
		.allow_dirs = o.allow.items,
		.n_allow_dirs = o.allow.count,
	};
	struct err why = ERR_INIT;
	bool file = strchr(spec, '/') || o.format;

	if (!file && repo_find_disk(repo, spec, &ret->snap, &ret->disk, err) == 0)
		return 0;
	if (!file && err->code != ERR_NOT_FOUND && err->code != ERR_USAGE)
		return -1;
	if (image_open(&ret->image, spec, &opts, &why) == 0)
		return 0;
	if (!file && why.code == ERR_NOT_FOUND)
		return -1; /* neither: it was meant as a snapshot */
	*err = why;
	return err_object(err, spec);
}

static const struct snapshot_disk *find_disk(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->n_disks; i++)
		if (strcmp(s->disks[i].name, name) == 0)
			return &s->disks[i];
	return NULL;
}

/* The disk that was named, else the only one */
static int the_disk(const struct side *s, const char *spec, const struct snapshot_disk **ret,
		    struct err *err)
{
	*ret = s->disk ? find_disk(s->snap, s->disk) : s->snap->disks;
	if (!s->disk && s->snap->n_disks != 1) {
		err_set(err, ERR_USAGE, "the snapshot has %zu disks", s->snap->n_disks);
		err_object(err, spec);
		return err_hint(err, "name one: %s:DISK", spec);
	}
	if (*ret)
		return 0;
	err_set(err, ERR_NOT_FOUND, "the snapshot has no disk %s", s->disk);
	return err_object(err, spec);
}

static int changed(void *ctx, uint64_t off, uint64_t len, struct err *err)
{
	struct pair *p = ctx;

	p->bytes += len;
	p->ranges++;
	if (!o.extents)
		return 0;
	if (!p->list) {
		(void)printf("%s %" PRIu64 " %" PRIu64 "\n", p->name, off, len);
		return 0;
	}
	return json_array_append_new(p->list, json_pack("{s:I, s:I}", "offset", (json_int_t)off,
							"length", (json_int_t)len)) < 0
		       ? err_nomem(err)
		       : 0;
}

static int compare_image(struct cli *cli, struct repo *repo, const struct side *a, struct side *b,
			 struct pair *p, struct err *err)
{
	struct image *img;
	int rc;

	if (repo_open_disk(repo, a->snap, p->a->name, &img, err) < 0)
		return -1;
	p->size_a = image_size(img);
	p->size_b = image_size(b->image);
	rc = image_diff(img, b->image, &cli->progress, changed, p, err);
	image_close(img);
	return rc;
}

static int compare_pair(struct cli *cli, struct repo *repo, const struct side *a, struct side *b,
			struct pair *p, struct err *err)
{
	p->name = p->a ? p->a->name : p->b->name;
	p->list = cli->json && o.extents ? json_array() : NULL;
	if (b->image) {
		if (compare_image(cli, repo, a, b, p, err) < 0)
			return -1;
	} else if (p->a && p->b) {
		p->size_a = p->a->size;
		p->size_b = p->b->size;
		if (repo_diff(repo, a->snap, p->a, b->snap, p->b, &cli->progress, changed, p, err) <
		    0)
			return -1;
	} else {
		p->size_a = p->a ? p->a->size : 0;
		p->size_b = p->b ? p->b->size : 0;
		p->status = p->a ? "removed" : "added";
		return 0;
	}
	p->status = p->bytes || p->size_a != p->size_b ? "changed" : "same";
	return 0;
}

static json_t *pair_json(const struct pair *p)
{
	json_t *v = json_pack(
		"{s:s, s:s, s:o, s:o, s:I, s:I}", "name", p->name, "status", p->status, "size_a",
		p->status[0] == 'a' ? json_null() : json_integer((json_int_t)p->size_a), "size_b",
		p->status[0] == 'r' ? json_null() : json_integer((json_int_t)p->size_b),
		"changed_bytes", (json_int_t)p->bytes, "ranges", (json_int_t)p->ranges);

	if (v && p->list)
		json_object_set(v, "extents", p->list);
	return v;
}

static json_t *snapshot_id(const struct side *s)
{
	char hex[65];

	if (!s->snap)
		return json_null();
	hex_encode(s->snap->id.bytes, sizeof(s->snap->id.bytes), hex);
	return json_string(hex);
}

static json_t *result_json(const struct side *a, const struct side *b, const struct pair *pairs,
			   size_t n, bool equal)
{
	json_t *disks = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(disks, pair_json(&pairs[i]));
	return json_pack("{s:b, s:o, s:o, s:o}", "equal", (int)equal, "snapshot_a", snapshot_id(a),
			 "snapshot_b", snapshot_id(b), "disks", disks);
}

static int print_pairs(const struct pair *pairs, size_t n, struct err *err)
{
	static const char *const headers[] = {"DISK", "STATUS", "SIZE", "CHANGED", "RANGES", NULL};
	struct table *t = table_new(headers, "llrrr");

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		const struct pair *p = &pairs[i];
		char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], size[2 * SIZE_TEXT_MAX + 4],
			bytes[SIZE_TEXT_MAX], ranges[24];
		const char *const cells[] = {p->name, p->status, size, size_format(p->bytes, bytes),
					     ranges};

		(void)snprintf(ranges, sizeof(ranges), "%" PRIu64, p->ranges);
		if (p->size_a != p->size_b && p->status[0] == 'c')
			(void)snprintf(size, sizeof(size), "%s -> %s", size_format(p->size_a, a),
				       size_format(p->size_b, b));
		else
			(void)snprintf(size, sizeof(size), "%s",
				       size_format(p->size_a ? p->size_a : p->size_b, a));
		table_row(t, cells);
	}
	table_print(t, stdout);
	table_free(t);
	return 0;
}

/* @pairs has room for the disks of both. Return: how many there are, or -1 */
static int pair_up(const struct side *a, const struct side *b, char **argv, struct pair *pairs,
		   struct err *err)
{
	int n = 0;

	if (b->image || a->disk || b->disk) {
		if (the_disk(a, argv[0], &pairs[0].a, err) < 0 ||
		    (b->snap && the_disk(b, argv[1], &pairs[0].b, err) < 0))
			return -1;
		return 1;
	}
	for (size_t i = 0; i < a->snap->n_disks; i++, n++) {
		pairs[n].a = &a->snap->disks[i];
		pairs[n].b = find_disk(b->snap, pairs[n].a->name);
	}
	for (size_t i = 0; i < b->snap->n_disks; i++)
		if (!find_disk(a->snap, b->snap->disks[i].name))
			pairs[n++].b = &b->snap->disks[i];
	return n;
}

static int compare(struct cli *cli, struct repo *repo, struct side *a, struct side *b, char **argv,
		   struct err *err)
{
	size_t room = a->snap->n_disks + (b->snap ? b->snap->n_disks : 0) + 1;
	CLEANUP_FREE struct pair *pairs = calloc(room, sizeof(*pairs));
	int n = pairs ? pair_up(a, b, argv, pairs, err) : err_nomem(err), rc = n < 0 ? -1 : 0;
	bool equal = true;

	for (int i = 0; i < n && rc == 0; i++) {
		rc = compare_pair(cli, repo, a, b, &pairs[i], err);
		equal &= rc == 0 && strcmp(pairs[i].status, "same") == 0;
	}
	if (rc == 0 && cli->json)
		rc = cli_print_json(cli, result_json(a, b, pairs, (size_t)n, equal), err);
	else if (rc == 0 && !equal && !o.extents && !cli->quiet)
		rc = print_pairs(pairs, (size_t)n, err);
	for (int i = 0; i < n; i++)
		json_decref(pairs[i].list);
	if (rc < 0)
		return -1;
	return equal ? 0 : err_set(err, ERR_DIFFERS, "%s", "");
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct side a = {0}, b = {0};
	struct repo *repo;
	int rc;

	(void)argc;
	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = repo_find_disk(repo, argv[0], &a.snap, &a.disk, err);
	if (rc == 0)
		rc = open_second(repo, argv[1], &b, err);
	if (rc == 0)
		rc = compare(cli, repo, &a, &b, argv, err);
	side_clear(&a);
	side_clear(&b);
	repo_close(repo);
	return rc;
}

const struct verb verb_diff = {
	.name = "diff",
	.usage = "[OPTIONS] NAME@WHEN[:DISK] NAME@WHEN[:DISK]|IMAGE",
	.summary = "say what changed between two snapshots, or between one and an image",
	.details = "Disks of the same name are compared in blocks of 4 KiB, or the two disks that "
		   "are named; only what the "
		   "repository does not know to be the same is read. The second argument is a "
		   "snapshot when there is one "
		   "of that name, else an image; with a '/' in it or with --format it is an image. "
		   "Nothing is printed when nothing changed.",
	.options = options,
	.examples = examples,
	.statuses = "0 nothing changed, 3 something did, 4 no such snapshot, disk or image, 8 "
		    "damaged, 12 wrong passphrase",
	.min_args = 2,
	.max_args = 2,
	.json = true,
	.progress = true,
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
