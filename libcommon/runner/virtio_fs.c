/* virtio-fs: see virtio_fs.h. */
#include "libcommon/runner/virtio_fs.h"

#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/share.h"

enum { QUEUES = 2 /* what must not wait, and requests */ };

static int64_t request(struct virtio_dev *d, unsigned queue, struct virtq_chain *c)
{
	struct virtio_fs *f = d->priv;
	int64_t n;

	(void)queue;
	n = share_serve(f->share, c->iov, c->readable, c->readable_len, c->iov + c->readable,
			c->writable, c->writable_len);
	return n == SHARE_BAD ? VIRTIO_BAD : n;
}

static void save(struct virtio_dev *d, struct state_out *o)
{
	share_save(((struct virtio_fs *)d->priv)->share, o);
}

static void load(struct virtio_dev *d, struct state_in *in)
{
	share_load(((struct virtio_fs *)d->priv)->share, in);
}

static int can_save(struct virtio_dev *d, struct err *err)
{
	return share_can_save(((struct virtio_fs *)d->priv)->share, err);
}

static const struct virtio_type type = {.id = VIRTIO_FS,
					.class_code = 0x018000,
					.request = request,
					.save = save,
					.load = load,
					.can_save = can_save};

int virtio_fs_init(struct virtio_fs *f, struct share *share, const char *tag,
		   const struct guest_memory *mem, struct err *err)
{
	struct virtio_dev *d = &f->dev;

	if (virtio_init(d, &type, QUEUES, mem, err) < 0)
		return -1;
	f->share = share;
	d->priv = f;
	d->config_len = VIRTIO_FS_TAG_MAX + 4;
	memcpy(d->config, tag, strnlen(tag, VIRTIO_FS_TAG_MAX));
	put_le32(d->config + VIRTIO_FS_TAG_MAX, QUEUES - 1);
	return 0;
}
