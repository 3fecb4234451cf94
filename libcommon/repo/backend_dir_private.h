/* What backend_dir.c, backend_dir_writer.c and backend_dir_session.c share; for them alone. */
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

/* backend_dir.c */
int dir_check_name(const char *name, struct err *err);
/** dir_open_parent() - the folder that holds @name; *@ret_leaf points into @name */
int dir_open_parent(struct dir_backend *d, const char *name, bool make, const char **ret_leaf,
		    struct err *err);

/* backend_dir_writer.c: as in backend.h */
int dir_writer_new(struct backend *b, const char *name, struct backend_writer **ret,
		   struct err *err);
int dir_write(struct backend_writer *base, uint64_t off, const void *buf, size_t len,
	      struct err *err);
int dir_writer_read(struct backend_writer *base, uint64_t off, void *buf, size_t len,
		    struct err *err);
int dir_commit(struct backend_writer *base, uint64_t size, struct err *err);
void dir_writer_close(struct backend_writer *base, bool keep);
int dir_create(struct backend *b, const char *name, const void *data, size_t len, struct err *err);
int dir_replace(struct backend *b, const char *name, const void *data, size_t len, struct err *err);
int dir_orphans(struct backend *b,
		int (*fn)(void *ctx, const char *name, struct backend_writer *w, uint64_t size,
			  struct err *err),
		void *ctx, struct err *err);

#endif
