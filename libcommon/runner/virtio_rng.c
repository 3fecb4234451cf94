/* virtio-rng: see virtio_rng.h. */
#include "libcommon/runner/virtio_rng.h"

#include <sys/random.h>

enum { REQUEST_MAX = 4096 }; /* bytes an answer: the driver asks again when it wants more */

static int64_t request(struct virtio_dev *d, unsigned queue, struct virtq_chain *c)
{
	int64_t done = 0;

	(void)d;
	(void)queue;
	if (c->readable || !c->writable)
		return VIRTIO_BAD;
	for (unsigned i = 0; i < c->writable && done < REQUEST_MAX; i++) {
		size_t want = c->iov[i].iov_len;
		ssize_t n;

		if (want > (size_t)(REQUEST_MAX - done))
			want = (size_t)(REQUEST_MAX - done);
		n = getrandom(c->iov[i].iov_base, want, 0);
		if (n <= 0)
			break;
		done += n;
	}
	return done;
}

static const struct virtio_type type = {
	.id = VIRTIO_RNG, .class_code = 0x00ff00, .request = request};

int virtio_rng_init(struct virtio_dev *d, const struct guest_memory *mem, struct err *err)
{
	return virtio_init(d, &type, 1, mem, err);
}
