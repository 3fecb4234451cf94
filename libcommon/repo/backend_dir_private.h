/* What backend_dir.c and backend_dir_session.c share; for them alone. */
#ifndef VMKIT_REPO_BACKEND_DIR_PRIVATE_H
#define VMKIT_REPO_BACKEND_DIR_PRIVATE_H

#include <stdint.h>

#include "libcommon/repo/backend.h"

struct dir_backend {
	struct backend base;
	int fd;	     /* the folder */
	int session; /* config, with the lock; -1 */
	uint64_t epoch;
	int collector; /* likewise */
};

/* See backend_session(), backend_sessions_before(), backend_collector(). */
int dir_session(struct backend *b, uint64_t epoch, struct err *err);
int dir_sessions_before(struct backend *b, uint64_t epoch, bool *ret_any, struct err *err);
int dir_collector(struct backend *b, struct err *err);
void dir_sessions_end(struct dir_backend *d);

#endif
