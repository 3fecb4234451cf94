/* New images over a backing file: finding it as the finished image would, and empty images. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/image/copy/parts.h"
#include "libcommon/image/layers.h"
#include "libcommon/image/preset.h"

int base_open(struct image **ret, const char *target, const struct copy_opts *opts,
	      struct bulk_params *params, struct err *err)
{
	const struct image_open_opts open_opts = {.format = params->backing_format,
						  .allow_dirs = opts->allow_dirs,
						  .n_allow_dirs = opts->n_allow_dirs};
	CLEANUP_FREE char *name = strdup(target);
	CLEANUP_FREE char *path = NULL;
	struct bfile *file;

	if (!name)
		return err_nomem(err);

	/* The rule for names in headers, asked before such a name is written: an image that could not be
	 * opened afterwards must not be made. */
	struct image named_by = {.name = name, .path = name};

	if (trust_open(&named_by, &open_opts, params->backing_name, false, &file, &path, err) < 0)
		return err_prefix(err, "backing file");
	bfile_close(file);
	if (image_open(ret, path, &open_opts, err) < 0)
		return err_prefix(err, "backing file");
	if (params->backing_format)
		return 0;

	/* Probing said raw: a guest could write a qcow2 header into its disk later. */
	if (strcmp(image_format_name(*ret), "raw") == 0) {
		image_close(*ret);
		*ret = NULL;
		err_set(err, ERR_USAGE, "the format of backing file %s is not certain",
			params->backing_name);
		return err_hint(err, "-F raw says that it is a raw disk");
	}
	params->backing_format = image_format_name(*ret);
	return 0;
}

int image_create(const char *target, const struct copy_opts *opts, struct err *err)
{
	struct target t;
	struct copy_stats stats;
	uint64_t size = opts->params.size;
	int rc;

	if (opts->preset && image_preset_size(opts->preset, size, &size, err) < 0)
		return -1;
	if (target_open(&t, NULL, target, opts, size, err) < 0)
		return -1;
	progress_begin(opts->progress, "create", t.params.size);
	rc = target_finish(&t, NULL, &stats, err);
	target_close(&t);
	return rc;
}
