/* vmbackup unlock: there is nothing to unlock; say who is at work. */
#include <inttypes.h>
#include <stdio.h>

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/cleanup.h"

static const struct opt options[] = {OPT_END};

static const char *const examples[] = {
	"vmbackup -r /backup/vms unlock",
	"vmbackup -r /backup/vms unlock --json",
	NULL,
};

static json_t *holder_json(const struct repo_holder *h)
{
	return json_pack("{s:o, s:o, s:o, s:I, s:I}", "host",
			 h->host ? cli_json_string(h->host) : json_null(), "pid",
			 h->pid ? json_integer(h->pid) : json_null(), "began",
			 h->began ? cli_json_string(h->began) : json_null(), "silent_seconds",
			 (json_int_t)h->silent_s, "grace_seconds", (json_int_t)h->grace_s);
}

json_t *holders_json(const struct repo_holder *h, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < n; i++)
		json_array_append_new(list, holder_json(&h[i]));
	return list;
}

void holders_print(const struct repo_holder *h, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *host = cli_printable(h[i].host ? h[i].host : "");
		CLEANUP_FREE char *began = cli_printable(h[i].began ? h[i].began : "");

		if (h[i].host && h[i].began && host && began)
			(void)printf("process %" PRId64 " of %s, since %s", h[i].pid, host, began);
		else
			(void)printf("a process that does not say whose it is");
		(void)printf(": last heard of %" PRIu64 " minutes ago, dead after %" PRIu64 "\n",
			     h[i].silent_s / 60, (h[i].grace_s + 59) / 60);
	}
}

static int say(struct cli *cli, const struct repo_users *u, const struct repo_holder *h, size_t n,
	       struct err *err)
{
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:b, s:b, s:I, s:I, s:o}", "in_use",
						(int)u->others, "prune_running", (int)u->prune,
						"condemned_packs", (json_int_t)u->condemned_packs,
						"grace_seconds", (json_int_t)u->grace_s, "holders",
						holders_json(h, n)),
				      err);
	(void)printf("%s\n", u->prune	 ? "a prune is at work; it ends with its process"
			     : u->others ? "other processes use the repository, and nothing else "
					   "holds anything in it"
					 : "no process uses the repository: nothing is locked");
	if (u->grace_s && (u->prune || u->others))
		(void)printf("(or was killed on another machine less than %" PRIu64
			     " minutes ago: after that it no longer counts)\n",
			     (u->grace_s + 59) / 60);
	holders_print(h, n);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct repo_holder *holders = NULL;
	struct repo_users u;
	struct repo *repo;
	size_t n = 0;
	int rc;

	(void)argc;
	(void)argv;
	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = repo_get_users(repo, &u, err);
	if (rc == 0)
		rc = repo_get_holders(repo, true, &holders, &n, err);
	if (rc == 0)
		rc = say(cli, &u, holders, n, err);
	repo_close(repo);
	repo_holders_free(holders, n);
	return rc;
}

const struct verb verb_unlock = {
	.name = "unlock",
	.usage = "[OPTIONS]",
	.summary = "say who uses the repository; nothing ever needs to be unlocked",
	.details = "What vmbackup holds in a folder are locks of the kernel, which end with the "
		   "process "
		   "that has them, however it ends; on an S3 API, leases that the living renew. A "
		   "process of this machine and user that was killed no longer counts at once, if "
		   "nothing that it sent can still arrive; any other after half an hour. "
		   "There, the host, the process and how long ago it was heard of are "
		   "shown. So nothing of the dead stays in the way, and nothing of the living is "
		   "broken. "
		   "What killed writers left is finished here, as the next backup would do.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no repository, 7 no connection to it, 8 it is damaged, 9 it is of a "
		    "newer "
		    "version or of a kind that does not tell, 12 wrong passphrase or no permission",
	.json = true,
	.complete_args = COMPLETE_NONE,
	.run = run,
};
