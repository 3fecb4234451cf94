/* Options that describe a new image: -o KEY=VALUE and -c ALGORITHM:LEVEL, for convert, create and measure. */
#ifndef VMKIT_VMIMG_NEWIMAGE_H
#define VMKIT_VMIMG_NEWIMAGE_H

#include "libcommon/cli/cli.h"
#include "libcommon/image/bulk.h"
#include "libcommon/image/preset.h"

struct new_options {
	struct image_option_value *values;
	size_t count;
	char **texts; /* what values point into */
	size_t n_texts;
};

/**
 * new_options_parse() - "KEY=VALUE[,KEY=VALUE]..." of each -o; ",," is a comma inside a value, KEY alone is KEY=on
 * @ret: zeroed before; new_options_free() also after a failure
 */
int new_options_parse(const struct opt_list *list, struct new_options *ret, struct err *err);
/**
 * new_preset() - --for @name: into @params and *@format, options of its own behind those of @o
 * @name: NULL: nothing is done, *@ret is NULL; @target: the new file's name or NULL
 */
int new_preset(const char *name, const char *target, struct new_options *o,
	       struct bulk_params *params, const char **format, const struct image_preset **ret,
	       struct err *err);
void new_options_free(struct new_options *o);

/** new_compression_parse() - the value of -c: "", "zstd", "zlib:9" into @ret's compress fields; NULL: not given */
int new_compression_parse(const char *text, struct bulk_params *ret, struct err *err);

#endif
