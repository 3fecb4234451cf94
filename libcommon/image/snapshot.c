/* Internal snapshots: what is common to all formats. */
#include "libcommon/image/snapshot.h"

#include "libcommon/image/format.h"

bool image_can_snapshot(const struct image *img)
{
	return img->format->snapshots;
}

static int check(const struct image *img, struct err *err)
{
	if (!img->format->snapshots) {
		err_set(err, ERR_UNSUPPORTED, "%s images have no internal snapshots",
			img->format->name);
		return err_object(err, img->name);
	}
	if (!(img->flags & IMAGE_RDWR))
		return err_set(err, ERR_USAGE, "the image is open for reading only");
	return 0;
}

int image_snapshot_create(struct image *img, const char *name, uint32_t sec, uint32_t nsec,
			  struct err *err)
{
	if (check(img, err) < 0)
		return -1;
	return img->format->snapshots->create(img, name, sec, nsec, err) < 0
		       ? err_object(err, img->name)
		       : 0;
}

int image_snapshot_remove(struct image *img, const char *name, struct err *err)
{
	if (check(img, err) < 0)
		return -1;
	return img->format->snapshots->remove(img, name, err) < 0 ? err_object(err, img->name) : 0;
}

int image_snapshot_revert(struct image *img, const char *name, struct err *err)
{
	if (check(img, err) < 0)
		return -1;
	return img->format->snapshots->revert(img, name, err) < 0 ? err_object(err, img->name) : 0;
}
