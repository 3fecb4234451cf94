/* The verbs of vmsnap, one file each; main.c names them in its table. */
#ifndef VMKIT_CMD_VMSNAP_H
#define VMKIT_CMD_VMSNAP_H

#include "libcommon/cli/cli.h"
#include "libcommon/snap/snap.h"

extern const struct verb verb_create, verb_list, verb_show, verb_diff, verb_revert, verb_delete,
	verb_export, verb_prune, verb_recover, verb_merge, verb_check, verb_clone;

/** split_name() - "DISK@NAME", "DOMAIN:TARGET@NAME": *@ret_disk (a file) is owned, *@ret_name borrowed from @text; ERR_USAGE without a name */
int split_name(const char *text, char **ret_disk, const char **ret_name, struct err *err);

/** entry_json() - an object as in docs/schema/vmsnap-list.json; NULL without memory */
json_t *entry_json(const struct snap_entry *e, const char *disk);

/** utc_time() / local_time() - for JSON and for people; return @buf */
const char *utc_time(time_t t, char buf[32]);
const char *local_time(time_t t, char buf[32]);

/** own_bytes() - storage of a snapshot's own file; shared blocks count too; 0 when it has none */
uint64_t own_bytes(const struct snap_entry *e);

#endif
