/* NoCloud seeds: the small ISO image that cloud-init looks for, with user-data, meta-data and network-config. */
#ifndef VMKIT_PACKAGE_SEED_H
#define VMKIT_PACKAGE_SEED_H

#include <stdbool.h>
#include <stddef.h>

#include "libcommon/base/err.h"

/** struct seed - texts are borrowed; NULL: left out */
struct seed {
	const char *instance_id; /* another one makes cloud-init begin anew */
	const char *hostname;
	const char *user; /* gets sudo without a password */
	const char *const *ssh_keys;
	size_t n_ssh_keys;
	const char *user_data;	    /* a file's text, instead of what the fields above would give */
	const char *network_config; /* a file's text */
};

/** seed_user_data() / seed_meta_data() - the two texts; owned (free); NULL without memory */
char *seed_user_data(const struct seed *s);
char *seed_meta_data(const struct seed *s);

/** seed_write() - the image at @path, appears when it is whole; @force: replace. ERR_EXISTS, ERR_NO_SPACE, ... */
int seed_write(const char *path, const struct seed *s, bool force, struct err *err);

#endif
