/* What package.c, package_check.c and package_info.c share. */
#ifndef VMKIT_PACKAGE_PACKAGE_PRIVATE_H
#define VMKIT_PACKAGE_PACKAGE_PRIVATE_H

#include "libcommon/package/ova_read.h"
#include "libcommon/package/package.h"

struct package {
	char *name;
	bool ova;
	struct bfile *file; /* the OVA, or the descriptor */
	int dir;	    /* OVF: its folder; -1 */
	struct ova_member *members;
	size_t n_members;
	char *ovf_name; /* of the descriptor inside; owned */
	struct ovf ovf;
};

/** package_bytes() - a file of the package; *@ret is owned and outlives @p; ERR_NOT_FOUND */
int package_bytes(struct package *p, const char *name, struct bfile **ret, struct err *err);

/** package_file() - a file of References, its chunks put together, not decompressed; *@ret_chunks may be NULL */
int package_file(struct package *p, const struct ovf_file *f, struct bfile **ret,
		 size_t *ret_chunks, struct err *err);

/** package_text() - a small file: *@ret is owned, with a NUL behind it */
int package_text(struct package *p, const char *name, size_t most, char **ret, size_t *ret_len,
		 struct err *err);

/** package_beside() - the name of the descriptor with another suffix (".mf"), if there is such a file; owned; NULL */
int package_beside(struct package *p, const char *suffix, char **ret, struct err *err);

/** package_member() - index of a member of an OVA, or SIZE_MAX */
size_t package_member(const struct package *p, const char *name);

#endif
