/* vmbackup show: one snapshot. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/size.h"

static struct {
	bool machine;
} o;

static const struct opt options[] = {
	{.name = "machine",
	 .type = OPT_FLAG,
	 .value = &o.machine,
	 .help = "print the machine's description alone, as it was given to backup"},
	OPT_END,
};

static const char *const examples[] = {
	"vmbackup -r /backup/vms show web@latest",
	"vmbackup -r /backup/vms show 4f2a91c0 --json",
	"vmbackup -r /backup/vms show web --machine > web.xml",
	NULL,
};

static int print_head(const struct snapshot *s, struct err *err)
{
	char hex[65], when[32], took[SIZE_TEXT_MAX];
	CLEANUP_FREE char *tags = join_names(s, true);
	CLEANUP_FREE char *tags_shown = tags ? cli_printable(tags) : NULL;
	CLEANUP_FREE char *host = cli_printable(s->host);

	CLEANUP_FREE char *description = cli_printable(s->description ? s->description : "");
	const char *consistency = snapshot_consistency(s);

	if (!tags_shown || !host || !description)
		return err_nomem(err);
	hex_encode(s->id.bytes, sizeof(s->id.bytes), hex);
	(void)printf("snapshot  %s\nmachine   %s\ntime      %s (%s)\nhost      %s\ntook      %s\n",
		     hex, s->vm, local_time(s->time, when), s->time, host,
		     duration_format(s->seconds, took));
	if (s->n_tags)
		(void)printf("tags      %s\n", tags_shown);
	if (consistency)
		(void)printf("state     %s\n", consistency);
	if (s->description)
		(void)printf("about     %s\n", description);
	if (s->machine)
		(void)printf("described in %zu bytes: show --machine prints them\n",
			     strlen(s->machine));
	return 0;
}

static int print_disks(const struct snapshot *s, struct err *err)
{
	static const char *const headers[] = {"DISK",	"SIZE",	  "DATA",  "NEW",
					      "STORED", "FORMAT", "STATE", "CHANGES",
					      "KIND",	"SOURCE", NULL};
	struct table *t = table_new(headers, "lrrrrlllll");

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < s->n_disks; i++) {
		const struct snapshot_disk *d = &s->disks[i];
		char size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX], fresh[SIZE_TEXT_MAX],
			stored[SIZE_TEXT_MAX];
		const char *const cells[] = {
			d->name,
			size_format(d->size, size),
			size_format(d->data_bytes, data),
			size_format(d->new_bytes, fresh),
			size_format(d->stored_bytes, stored),
			d->format,
			d->consistency ? d->consistency : "",
			d->change_source,
			d->source_kind ? d->source_kind : "",
			d->source ? d->source : "",
		};

		table_row(t, cells);
	}
	(void)printf("\n");
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static int print_machine(const struct snapshot *s, struct err *err)
{
	if (!s->machine)
		return err_set(err, ERR_NOT_FOUND,
			       "the snapshot has no description of the machine");
	(void)fputs(s->machine, stdout);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct snapshot *s;
	struct repo *repo;
	int rc;

	(void)argc;
	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = repo_find(repo, argv[0], &s, err);
	repo_close(repo);
	if (rc < 0)
		return -1;
	if (o.machine) {
		rc = print_machine(s, err);
	} else if (cli->json) {
		rc = cli_print_json(cli, snapshot_json(s), err);
	} else {
		rc = print_head(s, err);
		if (rc == 0)
			rc = print_disks(s, err);
	}
	snapshots_free(s, 1);
	return rc;
}

const struct verb verb_show = {
	.name = "show",
	.usage = "[OPTIONS] NAME@WHEN",
	.summary = "show one snapshot: its disks, sizes and where they came from",
	.details = "WHEN is \"latest\" (also when it is left out), at least four digits of a "
		   "snapshot's id, or a date or "
		   "time: the newest snapshot not after it. 2026-11-23 and 2026-11-23T10:00 are in "
		   "local time, "
		   "2026-11-23T10:00Z in UTC.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no such snapshot, 12 wrong passphrase",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_SNAPSHOT,
	.run = run,
};
