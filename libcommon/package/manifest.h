/* Manifests of packages (.mf): "SHA256(disk.vmdk)= 0123...", a line a file; certificates (.cert) begin with such a line. */
#ifndef VMKIT_PACKAGE_MANIFEST_H
#define VMKIT_PACKAGE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>

#include "libcommon/base/err.h"

#define MANIFEST_BYTES_MAX (1U << 20)
#define MANIFEST_LINES_MAX 4096U

struct manifest_line {
	const char *algorithm; /* as digest_new() takes it; static */
	char *name;	       /* owned */
	char *hex; /* owned; lower case; of the right length in manifests, a signature in a .cert */
};

struct manifest {
	struct manifest_line *lines;
	size_t n;
	bool spaced;   /* "SHA256 (name)": vSphere refuses that */
	size_t pem_at; /* certificates: where what follows the first line begins */
};

/** manifest_parse() - ERR_CORRUPT with the line's number, ERR_UNSUPPORTED; manifest_release() also after a failure */
int manifest_parse(struct manifest *ret, const char *text, size_t len, struct err *err);

/** manifest_parse_cert() - the first line alone; its value may have any length */
int manifest_parse_cert(struct manifest *ret, const char *text, size_t len, struct err *err);

void manifest_release(struct manifest *m);

/** manifest_find() - the line for @name, "%20" in the manifest decoded as well; NULL */
const struct manifest_line *manifest_find(const struct manifest *m, const char *name);

#endif
