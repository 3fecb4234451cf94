/* Passphrases of encrypted images: the program says at its start who knows them. */
#ifndef VMKIT_IMAGE_SECRET_H
#define VMKIT_IMAGE_SECRET_H

#include <stdbool.h>

#include "libcommon/base/err.h"

struct image_secret_source {
	/* For the image @name, which is new or exists; *@ret is owned by the source: release */
	int (*get)(const char *name, bool is_new, char **ret, struct err *err);
	void (*release)(char *passphrase);
};

/** image_register_secret() - at start only; @source is borrowed for ever */
void image_register_secret(const struct image_secret_source *source);

/**
 * image_secret_get() - ERR_DENIED: nobody knows it; image_secret_release() after success
 * @is_new: of an image that is being made: who types it types it twice
 */
int image_secret_get(const char *name, bool is_new, char **ret, struct err *err);
void image_secret_release(char *passphrase);

#endif
