/* vmimg: virtual disk images. The table of verbs; each is a file of its own. */
#include <jansson.h>
#include <openssl/crypto.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "cmd/vmimg/vmimg.h"
#include "libcommon/image/format.h"

static const struct verb *const verbs[] = {
	&verb_info, &verb_convert, &verb_create, &verb_check, &verb_compare,
	&verb_map,  &verb_measure, &verb_digest, NULL,
};

static void complete(enum complete_kind kind, const char *prefix, FILE *out)
{
	if (kind != COMPLETE_FORMAT)
		return;
	for (size_t i = 0; image_formats[i]; i++)
		if (!strncmp(image_formats[i]->name, prefix, strlen(prefix)))
			(void)fprintf(out, "%s\n", image_formats[i]->name);
}

static void versions(FILE *out)
{
	(void)fprintf(out, "jansson %s\n", jansson_version_str());
	(void)fprintf(out, "%s\n", OpenSSL_version(OPENSSL_VERSION));
	(void)fprintf(out, "zlib %s\n", zlibVersion());
	(void)fprintf(out, "zstd %s\n", ZSTD_versionString());
}

static const struct program program = {
	.name = "vmimg",
	.summary = "virtual disk images: convert, inspect, check, compare",
	.verbs = verbs,
	.complete = complete,
	.versions = versions,
};

int main(int argc, char **argv)
{
	return cli_main(&program, argc, argv);
}
