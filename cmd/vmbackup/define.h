/* restore --define: a snapshot's machine, with all of its disks, defined in libvirt. */
#ifndef VMKIT_CMD_VMBACKUP_DEFINE_H
#define VMKIT_CMD_VMBACKUP_DEFINE_H

#include "cmd/vmbackup/vmbackup.h"
#include "libcommon/image/copy/engine.h"

struct define_args {
	bool define;
	const char *uri, *name; /* NULL: libvirt's default; as in the snapshot */
};

/** restore_define() - disks to files in @dir, then the definition. The files are removed when it is refused */
int restore_define(struct cli *cli, struct repo *repo, const struct snapshot *s, const char *dir,
		   const struct define_args *a, const struct copy_opts *opts, struct err *err);

#endif
