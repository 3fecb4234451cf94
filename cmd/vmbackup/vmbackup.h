/* What the verbs of vmbackup share: the repository option, the key source, opening. One file a verb. */
#ifndef VMKIT_CMD_VMBACKUP_H
#define VMKIT_CMD_VMBACKUP_H

#include "libcommon/cli/cli.h"
#include "libcommon/repo/repo.h"

extern const struct verb verb_init, verb_backup, verb_list, verb_show, verb_restore, verb_verify,
	verb_diff, verb_copy, verb_repair, verb_forget, verb_ls, verb_get, verb_prune, verb_key,
	verb_stats, verb_unlock, verb_serve, verb_mount, verb_run;

/** vmbackup_key - asks the user; for repo_init(), repo_open() and repo_register() */
extern const struct repo_key_source vmbackup_key;

/** vmbackup_url() - the repository that -r or VMKIT_REPOSITORY names; ERR_USAGE when neither does, or when options make no
 *  sense for it; borrowed */
int vmbackup_url(const char **ret, struct err *err);

/** vmbackup_open() - that repository, open, as --expect-at-least wants it; *@ret is owned: repo_close() */
int vmbackup_open(struct repo **ret, struct err *err);
/** vmbackup_open_beside() - as vmbackup_open(), to be read from: what is written to is @other */
int vmbackup_open_beside(struct repo **ret, const char *other, struct err *err);

/** vmbackup_expect() - what --expect-at-least says of an open repository */
int vmbackup_expect(struct repo *repo, struct err *err);

/** vmbackup_each_given() - cli_each_given() of the options that every verb has: -r and others */
int vmbackup_each_given(int (*each)(void *ctx, const char *word, struct err *), void *ctx,
			struct err *err);

/** local_time() - "2026-11-23 11:00" of a snapshot's time, in the zone of the user; returns @buf */
const char *local_time(const char *utc, char buf[32]);

/** holders_json(), holders_print() - who may still use the repository; unlock.c */
json_t *holders_json(const struct repo_holder *h, size_t n);
void holders_print(const struct repo_holder *h, size_t n);

/** join_names() - "vda, vdb"; owned, NULL without memory */
char *join_names(const struct snapshot *s, bool tags);

#endif
