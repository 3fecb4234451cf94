/* Passphrases of encrypted images: see secret.h. */
#include "libcommon/image/secret.h"

#include <stddef.h>

/* Set once at start, before there are threads; only read afterwards. */
static const struct image_secret_source *known;

void image_register_secret(const struct image_secret_source *source)
{
	known = source;
}

int image_secret_get(const char *name, bool is_new, char **ret, struct err *err)
{
	if (!known)
		return err_set(err, ERR_UNSUPPORTED, "this program takes no passphrase for it");
	return known->get(name, is_new, ret, err);
}

void image_secret_release(char *passphrase)
{
	known->release(passphrase);
}
