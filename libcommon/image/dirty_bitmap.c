/* Persistent dirty bitmaps: see dirty_bitmap.h. */
#include "libcommon/image/dirty_bitmap.h"

#include "libcommon/image/format.h"

int image_dirty_bitmap(struct image *img, const char *name, struct changes *ret, struct err *err)
{
	if (!img->format->dirty_bitmap)
		return err_set(err, ERR_UNSUPPORTED, "%s images have no dirty bitmaps",
			       img->format->name);
	return img->format->dirty_bitmap(img, name, ret, err);
}
