/* vmbackup list: the snapshots of the repository. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/size.h"

static struct {
	struct opt_list tags;
} o;

static const struct opt options[] = {
	{.letter = 't',
	 .name = "tag",
	 .type = OPT_LIST,
	 .value = &o.tags,
	 .arg = "TAG",
	 .help = "only snapshots with this tag; more than once: with all of them"},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms list",
	"vmbackup -r /backup/vms list web --json",
	NULL,
};

const char *local_time(const char *utc, char buf[32])
{
	struct tm tm;
	time_t t;

	if (clock_parse_utc(utc, &t) < 0 || !localtime_r(&t, &tm) ||
	    strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		return "?";
	return buf;
}

char *join_names(const struct snapshot *s, bool tags)
{
	size_t n = tags ? s->n_tags : s->n_disks;
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		return NULL;
	for (size_t i = 0; i < n; i++)
		(void)fprintf(f, "%s%s", i ? ", " : "", tags ? s->tags[i] : s->disks[i].name);
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

static bool has_tags(const struct snapshot *s)
{
	for (size_t i = 0; i < o.tags.count; i++) {
		bool found = false;

		for (size_t k = 0; k < s->n_tags; k++)
			found |= strcmp(s->tags[k], o.tags.items[i]) == 0;
		if (!found)
			return false;
	}
	return true;
}

static int row(struct table *t, const struct snapshot *s, struct err *err)
{
	char id[9], when[32], size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX], stored[SIZE_TEXT_MAX];
	CLEANUP_FREE char *disks = join_names(s, false);
	CLEANUP_FREE char *tags = join_names(s, true);
	uint64_t n_size = 0, n_data = 0, n_stored = 0;

	if (!disks || !tags)
		return err_nomem(err);
	for (size_t i = 0; i < s->n_disks; i++) {
		n_size += s->disks[i].size;
		n_data += s->disks[i].data_bytes;
		n_stored += s->disks[i].stored_bytes;
	}

	const char *const cells[] = {
		snapshot_short_id(&s->id, id), s->vm,
		local_time(s->time, when),     disks,
		size_format(n_size, size),     size_format(n_data, data),
		size_format(n_stored, stored), tags,
	};

	table_row(t, cells);
	return 0;
}

static int print_table(const struct snapshot *list, size_t n, struct err *err)
{
	static const char *const headers[] = {"ID",   "MACHINE", "TIME", "DISKS", "SIZE",
					      "DATA", "STORED",	 "TAGS", NULL};
	struct table *t = table_new(headers, "llllrrrl");
	int rc = t ? 0 : err_nomem(err);
	size_t rows = 0;

	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (!has_tags(&list[i]))
			continue;
		rc = row(t, &list[i], err);
		rows++;
	}
	if (rc == 0 && rows)
		table_print(t, stdout);
	table_free(t);
	return rc;
}

static int print_json(struct cli *cli, const struct snapshot *list, size_t n, struct err *err)
{
	json_t *out = json_array();

	for (size_t i = 0; out && i < n; i++)
		if (has_tags(&list[i])) {
			json_t *obj = snapshot_json(&list[i]);

			(void)json_object_del(obj, "machine"); /* up to 1 MiB: show has it */
			json_array_append_new(out, obj);
		}
	return cli_print_json(cli, out, err);
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct snapshot *list;
	size_t n, damaged;
	struct repo *repo;
	int rc;

	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = repo_list(repo, argc ? argv[0] : NULL, &list, &n, &damaged, err);
	repo_close(repo);
	if (rc < 0)
		return -1;
	rc = cli->json ? print_json(cli, list, n, err) : print_table(list, n, err);
	snapshots_free(list, n);
	if (rc == 0 && damaged)
		return err_set(err, ERR_DIFFERS, "%zu snapshot%s cannot be read", damaged,
			       damaged == 1 ? "" : "s");
	return rc;
}

const struct verb verb_list = {
	.name = "list",
	.usage = "[OPTIONS] [NAME]",
	.summary = "list the snapshots, of one machine or of all, oldest first",
	.details = "SIZE is what the guest sees, DATA what of it is not zero, STORED what this "
		   "snapshot added to the "
		   "repository. Times are local; --json has them in UTC.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some snapshots cannot be read, 4 no repository, 12 wrong passphrase",
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_NONE,
	.run = run,
};
