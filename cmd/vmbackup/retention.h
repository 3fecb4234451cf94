/* Which snapshots `forget` and `prune` remove: by name, or by what no rule keeps. */
#ifndef VMKIT_CMD_VMBACKUP_RETENTION_H
#define VMKIT_CMD_VMBACKUP_RETENTION_H

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/base/retain.h"

/** struct retention - the options; one a process, filled by the option table of the verb that runs */
struct retention {
	struct retain_policy keep;
	struct opt_list tags, machines;
	unsigned max_delete; /* 0: no bound */
	bool dry_run;
};
extern struct retention retention;

#define RETENTION_RULE(name_, field_, what_)                                                       \
	{                                                                                          \
		.name = "keep-" name_, .type = OPT_UINT, .value = &retention.keep.field_,          \
		.arg = "N", .help = (what_)                                                        \
	}

/* The part of an option table that both verbs share */
#define RETENTION_OPTIONS                                                                          \
	RETENTION_RULE("last", last, "keep the newest N of each machine"),                         \
		RETENTION_RULE("hourly", hourly,                                                   \
			       "keep the newest of each of the last N hours that have one"),       \
		RETENTION_RULE("daily", daily,                                                     \
			       "keep the newest of each of the last N days that have one"),        \
		RETENTION_RULE("weekly", weekly,                                                   \
			       "keep the newest of each of the last N weeks that have one"),       \
		RETENTION_RULE("monthly", monthly,                                                 \
			       "keep the newest of each of the last N months that have one"),      \
		RETENTION_RULE("yearly", yearly,                                                   \
			       "keep the newest of each of the last N years that have one"),       \
		{.name = "keep-within",                                                            \
		 .type = OPT_DURATION,                                                             \
		 .value = &retention.keep.within_ms,                                               \
		 .arg = "TIME",                                                                    \
		 .help = "keep all that are not older, as 7d or 36h"},                             \
		{.name = "keep-tag",                                                               \
		 .type = OPT_LIST,                                                                 \
		 .value = &retention.tags,                                                         \
		 .arg = "TAG",                                                                     \
		 .help = "keep all with this tag; more than once: with any of them"},              \
		{.name = "vm",                                                                     \
		 .type = OPT_LIST,                                                                 \
		 .value = &retention.machines,                                                     \
		 .arg = "NAME",                                                                    \
		 .help = "only snapshots of this machine; more than once: of any of them"},        \
		{.name = "max-delete",                                                             \
		 .type = OPT_UINT,                                                                 \
		 .value = &retention.max_delete,                                                   \
		 .arg = "N",                                                                       \
		 .help = "remove nothing at all when more than N snapshots would go",              \
		 .min = 1},                                                                        \
	{                                                                                          \
		.name = "dry-run", .type = OPT_FLAG, .value = &retention.dry_run,                  \
		.help = "say what would be removed and why, change nothing"                        \
	}

/** struct retention_plan - all snapshots of the repository, and what becomes of them; owned: retention_plan_free() */
struct retention_plan {
	struct snapshot *list;
	size_t n, unreadable;
	bool *considered, *remove;
	int64_t *locked; /* until when a lock keeps what would go; 0: none does */
	size_t n_locked;
	unsigned *why; /* enum retain_reason; 0 for those that are named */
	size_t n_keep, n_remove;
	bool named;
};

/** retention_plan() - @names: as given to the verb, none: by the rules. ERR_USAGE when both or (with @needed) neither
 *  are given */
int retention_plan(struct retention_plan *ret, struct repo *repo, int n_names, char **names,
		   bool needed, struct err *err);
void retention_plan_free(struct retention_plan *p);

/** retention_refused() - more would go than --max-delete allows */
bool retention_refused(const struct retention_plan *p);

/** retention_apply() - remove what the plan says, unless --dry-run; refuses before anything is touched when
 *  --max-delete is exceeded */
int retention_apply(const struct retention_plan *p, struct repo *repo, struct err *err);

/** retention_print() - a line a snapshot with the reason, with --dry-run or -v */
void retention_print(const struct cli *cli, const struct retention_plan *p);

/** retention_json() - owned; NULL without memory */
json_t *retention_json(const struct retention_plan *p);

enum { LOCK_END_MAX = 32 };
/** retention_lock_end() - when a lock ends, for people */
const char *retention_lock_end(int64_t until, char ret[LOCK_END_MAX]);

/** retention_end() - ERR_DIFFERS when there are snapshots that cannot be read, or ones that were named and are locked */
int retention_end(const struct retention_plan *p, struct err *err);

#endif
