/* vmbackup stats: what is in the repository, how large it was and what it takes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/size.h"

static const struct opt options[] = {OPT_END};

static const char *const examples[] = {
	"vmbackup -r /backup/vms stats",
	"vmbackup -r /backup/vms stats --json",
	NULL,
};

/* Sums over the snapshots of a machine, or of all. */
struct sums {
	const char *vm; /* borrowed */
	uint64_t snapshots, virtual_bytes, data_bytes, new_bytes, added_bytes;
};

static void add(struct sums *t, const struct snapshot *s)
{
	t->snapshots++;
	for (size_t i = 0; i < s->n_disks; i++) {
		t->virtual_bytes += s->disks[i].size;
		t->data_bytes += s->disks[i].data_bytes;
		t->new_bytes += s->disks[i].new_bytes;
		t->added_bytes += s->disks[i].stored_bytes;
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sums *)a)->vm, ((const struct sums *)b)->vm);
}

/* @ret: room for @n; Return: how many machines */
static size_t sum_machines(const struct snapshot *list, size_t n, struct sums *ret)
{
	size_t machines = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = machines;

		while (k > 0 && strcmp(ret[k - 1].vm, list[i].vm) != 0)
			k--;
		if (!k) {
			ret[machines] = (struct sums){.vm = list[i].vm};
			k = ++machines;
		}
		add(&ret[k - 1], &list[i]);
	}
	if (machines)
		qsort(ret, machines, sizeof(*ret), by_name);
	return machines;
}

static double ratio(uint64_t a, uint64_t b)
{
	return b ? (double)a / (double)b : 0;
}

static json_t *stats_json(const struct repo_usage *u, const struct sums *all,
			  const struct sums *machines, size_t n)
{
	char uuid[33];
	json_t *list = json_array();

	hex_encode(u->uuid, sizeof(u->uuid), uuid);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "vm", machines[i].vm,
					"snapshots", (json_int_t)machines[i].snapshots,
					"virtual_bytes", (json_int_t)machines[i].virtual_bytes,
					"data_bytes", (json_int_t)machines[i].data_bytes,
					"new_bytes", (json_int_t)machines[i].new_bytes,
					"added_bytes", (json_int_t)machines[i].added_bytes));
	return json_pack(
		"{s:s, s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, "
		"s:f, s:o}",
		"id", uuid, "encrypted", (int)u->encrypted, "compression_level",
		(int)u->compression_level, "snapshots", (json_int_t)all->snapshots, "virtual_bytes",
		(json_int_t)all->virtual_bytes, "data_bytes", (json_int_t)all->data_bytes,
		"unique_bytes", (json_int_t)u->chunk_bytes, "page_bytes", (json_int_t)u->page_bytes,
		"blobs", (json_int_t)u->blobs, "packs", (json_int_t)u->packs, "pack_bytes",
		(json_int_t)u->pack_bytes, "index_runs", (json_int_t)u->index_runs, "index_bytes",
		(json_int_t)u->index_bytes, "stored_bytes", (json_int_t)u->stored_bytes,
		"deduplication", ratio(all->data_bytes, u->chunk_bytes), "compression",
		ratio(u->chunk_bytes + u->page_bytes, u->pack_bytes), "total",
		ratio(all->data_bytes, u->stored_bytes), "machines", list);
}

static int print_machines(const struct sums *machines, size_t n, struct err *err)
{
	static const char *const headers[] = {"MACHINE", "SNAPSHOTS", "SIZE", "DATA",
					      "NEW",	 "ADDED",     NULL};
	struct table *t = table_new(headers, "lrrrrr");

	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++) {
		char count[24], size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX], fresh[SIZE_TEXT_MAX],
			added[SIZE_TEXT_MAX];
		const char *const cells[] = {
			machines[i].vm,
			count,
			size_format(machines[i].virtual_bytes, size),
			size_format(machines[i].data_bytes, data),
			size_format(machines[i].new_bytes, fresh),
			size_format(machines[i].added_bytes, added),
		};

		(void)snprintf(count, sizeof(count), "%" PRIu64, machines[i].snapshots);
		table_row(t, cells);
	}
	(void)printf("\n");
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static int print(const struct repo_usage *u, const struct sums *all, const struct sums *machines,
		 size_t n, struct err *err)
{
	char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX], c[SIZE_TEXT_MAX];

	(void)printf("snapshots   %" PRIu64 " of %zu machine%s, %s with %s of data\n",
		     all->snapshots, n, n == 1 ? "" : "s", size_format(all->virtual_bytes, a),
		     size_format(all->data_bytes, b));
	(void)printf("unique      %s (1 in %.2f), and %s of pages\n",
		     size_format(u->chunk_bytes, a), ratio(all->data_bytes, u->chunk_bytes),
		     size_format(u->page_bytes, b));
	(void)printf("packs       %" PRIu64 ", %s (1 in %.2f)\n", u->packs,
		     size_format(u->pack_bytes, a),
		     ratio(u->chunk_bytes + u->page_bytes, u->pack_bytes));
	(void)printf("index       %" PRIu64 " runs, %s for %" PRIu64 " blobs\n", u->index_runs,
		     size_format(u->index_bytes, a), u->blobs);
	(void)printf("stored      %s in all (1 in %.2f)\n", size_format(u->stored_bytes, c),
		     ratio(all->data_bytes, u->stored_bytes));
	return n ? print_machines(machines, n, err) : 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	CLEANUP_FREE struct sums *machines = NULL;
	struct sums all = {.vm = ""};
	struct snapshot *list = NULL;
	size_t n = 0, n_machines, damaged = 0;
	struct repo_usage usage;
	struct repo *repo;
	int rc;

	(void)argc;
	(void)argv;
	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = repo_list(repo, NULL, &list, &n, &damaged, err);
	if (rc == 0)
		rc = repo_get_usage(repo, &usage, err);
	repo_close(repo);
	machines = calloc(n + 1, sizeof(*machines));
	if (rc == 0 && !machines)
		rc = err_nomem(err);
	if (rc == 0) {
		n_machines = sum_machines(list, n, machines);
		for (size_t i = 0; i < n; i++)
			add(&all, &list[i]);
		rc = cli->json ? cli_print_json(cli, stats_json(&usage, &all, machines, n_machines),
						err)
			       : print(&usage, &all, machines, n_machines, err);
	}
	snapshots_free(list, n);
	if (rc == 0 && damaged)
		return err_set(err, ERR_DIFFERS, "%zu snapshot%s cannot be read", damaged,
			       damaged == 1 ? "" : "s");
	return rc;
}

const struct verb verb_stats = {
	.name = "stats",
	.usage = "[OPTIONS]",
	.summary = "how much the repository holds, and what it takes",
	.details =
		"DATA is what of the disks is not zero, summed over the snapshots; NEW what of it "
		"was not in the repository when it was backed up, ADDED what that took, "
		"compressed. "
		"Unique is what the repository holds now, each part once, also what only snapshots "
		"that are gone needed, until vmbackup prune.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 3 some snapshots cannot be read, 4 no repository, 12 wrong passphrase",
	.json = true,
	.complete_args = COMPLETE_NONE,
	.run = run,
};
