/* vmbackup unlock: there is nothing to unlock; say who is at work. */
#include <inttypes.h>
#include <stdio.h>

#include "cmd/vmbackup/vmbackup.h"

static const struct opt options[] = {OPT_END};

static const char *const examples[] = {
	"vmbackup -r /backup/vms unlock",
	"vmbackup -r /backup/vms unlock --json",
	NULL,
};

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct repo_users u;
	struct repo *repo;
	int rc;

	(void)argc;
	(void)argv;
	if (vmbackup_open(&repo, err) < 0)
		return -1;
	rc = repo_get_users(repo, &u, err);
	repo_close(repo);
	if (rc < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli,
				      json_pack("{s:b, s:b, s:I, s:I}", "in_use", (int)u.others,
						"prune_running", (int)u.prune, "condemned_packs",
						(json_int_t)u.condemned_packs, "grace_seconds",
						(json_int_t)u.grace_s),
				      err);
	(void)printf("%s\n", u.prune	? "a prune is at work; it ends with its process"
			     : u.others ? "other processes use the repository, and nothing else "
					  "holds anything in it"
					: "no process uses the repository: nothing is locked");
	if (u.grace_s && (u.prune || u.others))
		(void)printf("(or was killed less than %" PRIu64
			     " minutes ago: after that it no longer counts)\n",
			     (u.grace_s + 59) / 60);
	return 0;
}

const struct verb verb_unlock = {
	.name = "unlock",
	.usage = "[OPTIONS]",
	.summary = "say who uses the repository; nothing ever needs to be unlocked",
	.details =
		"What vmbackup holds in a folder are locks of the kernel, which end with the "
		"process "
		"that has them, however it ends; on an S3 API, leases that the living renew, and "
		"that run out two hours after the death of a process that could not give its own "
		"back. So nothing of the dead stays in the way, and nothing of the living is "
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
