/* Opening a disk to look inside: see inside.h. */
#include "cmd/vmimg/inside.h"

#include "libcommon/image/image.h"

struct inside_options inside_options;

int inside_open(const char *name, struct image **ret_img, struct guest **ret, struct err *err)
{
	const struct image_open_opts opts = {.format = inside_options.format,
					     .flags = inside_options.shared ? IMAGE_SHARED : 0,
					     .snapshot = inside_options.snapshot,
					     .allow_dirs = inside_options.allow.items,
					     .n_allow_dirs = inside_options.allow.count};

	if (image_open(ret_img, name, &opts, err) < 0)
		return -1;
	if (guest_open(ret, *ret_img, err) == 0)
		return 0;
	image_close(*ret_img);
	return -1;
}

void inside_close(struct image *img, struct guest *g)
{
	guest_close(g);
	image_close(img);
}
