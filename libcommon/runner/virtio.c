/* What all virtio devices share, whatever the transport: see virtio.h. */
#include "libcommon/runner/virtio.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libcommon/runner/confine.h"

enum { REQUESTS_AN_INTERRUPT = 16 };

int virtio_init(struct virtio_dev *d, const struct virtio_type *type, unsigned queues,
		const struct guest_memory *mem, struct err *err)
{
	memset(d, 0, sizeof(*d));
	d->type = type;
	d->queues = queues;
	d->features = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT;
	atomic_store(&d->config_vector, VIRTIO_NO_VECTOR);
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_mutex_init(&d->intx_lock, NULL);
	for (unsigned i = 0; i < queues; i++) {
		struct virtio_queue *q = &d->queue[i];

		q->dev = d;
		q->index = i;
		q->ring.mem = mem;
		q->source = -1;
		virtq_reset(&q->ring);
		(void)pthread_mutex_init(&q->lock, NULL);
		atomic_store(&q->vector, VIRTIO_NO_VECTOR);
		q->kick = eventfd(0, EFD_CLOEXEC);
		if (q->kick < 0) {
			d->queues = i;
			return err_sys(err, "cannot make an eventfd");
		}
	}
	virtio_pci_init(d);
	return 0;
}

bool virtio_has(const struct virtio_dev *d, uint64_t feature)
{
	return d->driver_features & feature;
}

void virtio_wake(struct virtio_dev *d, unsigned queue)
{
	uint64_t one = 1;

	if (queue >= d->queues)
		return;
	while (write(d->queue[queue].kick, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void needs_reset(struct virtio_dev *d)
{
	atomic_fetch_or(&d->status, VIRTIO_NEEDS_RESET);
	virtio_raise(d, -1);
}

/* One request, with the queue's lock. Return: 1 served, 0 none, -1 the queue broke just now */
static int serve_one(struct virtio_queue *q)
{
	struct virtio_dev *d = q->dev;
	bool was_broken = q->ring.broken;
	int64_t written;
	int rc;

	if (!(atomic_load(&d->status) & VIRTIO_DRIVER_OK))
		return 0;
	rc = virtq_pop(&q->ring, &q->chain);
	if (rc <= 0)
		return was_broken ? 0 : rc;
	written = d->type->request(d, q->index, &q->chain);
	if (written == VIRTIO_LATER) {
		virtq_unpop(&q->ring);
		return 0;
	}
	if (written < 0) {
		q->ring.broken = true;
		return -1;
	}
	virtq_push(&q->ring, q->chain.head, (uint32_t)written);
	return 1;
}

/* By a type that does it itself; in turns, so that a reset gets the lock */
static unsigned serve_type(struct virtio_queue *q)
{
	struct virtio_dev *d = q->dev;
	unsigned served = 0;
	int rc;

	do {
		bool ready, tell;

		(void)pthread_mutex_lock(&q->lock);
		ready = (atomic_load(&d->status) & VIRTIO_DRIVER_OK) && q->ring.enabled &&
			!q->ring.broken;
		q->events = 0;
		q->again = false;
		rc = ready ? d->type->serve(d, q) : 0;
		if (rc < 0)
			q->ring.broken = true;
		tell = rc > 0 && virtq_wants_interrupt(&q->ring);
		(void)pthread_mutex_unlock(&q->lock);
		served += rc > 0 ? (unsigned)rc : 0;
		if (tell)
			virtio_raise(d, (int)q->index);
		if (d->type->served)
			d->type->served(d);
	} while (rc >= 0 && q->again && !atomic_load(&d->stop));
	if (rc < 0)
		needs_reset(d);
	return served;
}

unsigned virtio_serve(struct virtio_queue *q)
{
	unsigned served = 0, untold = 0;
	int rc;

	if (q->dev->type->serve)
		return serve_type(q);

	do {
		bool tell;

		(void)pthread_mutex_lock(&q->lock);
		rc = serve_one(q);
		untold += rc > 0;
		served += rc > 0;
		tell = untold && (rc <= 0 || untold == REQUESTS_AN_INTERRUPT);
		if (tell)
			tell = virtq_wants_interrupt(&q->ring);
		if (rc <= 0 || untold == REQUESTS_AN_INTERRUPT)
			untold = 0;
		(void)pthread_mutex_unlock(&q->lock);
		if (tell)
			virtio_raise(q->dev, (int)q->index);
	} while (rc > 0 && !atomic_load(&q->dev->stop) &&
		 !(q->dev->type->enough && q->dev->type->enough(q->dev)));
	if (rc < 0)
		needs_reset(q->dev);
	return served;
}

/* Return: false when there can be no more */
static bool wait_for_work(struct virtio_queue *q)
{
	struct pollfd p[2] = {{.fd = q->kick, .events = POLLIN},
			      {.fd = q->events ? q->source : -1, .events = q->events}};
	uint64_t n;

	if (q->events && poll(p, 2, -1) < 0)
		return errno == EINTR;
	if (q->events && !p[0].revents)
		return true;
	return read(q->kick, &n, sizeof(n)) > 0 || errno == EINTR;
}

bool virtio_freeze(struct virtio_dev *d, const struct timespec *until)
{
	for (unsigned i = 0; i < d->queues; i++) {
		if (pthread_mutex_timedlock(&d->queue[i].lock, until) == 0)
			continue;
		while (i-- > 0)
			(void)pthread_mutex_unlock(&d->queue[i].lock);
		return false;
	}
	return true;
}

void virtio_thaw(struct virtio_dev *d)
{
	for (unsigned i = 0; i < d->queues; i++)
		(void)pthread_mutex_unlock(&d->queue[i].lock);
}

static void *queue_thread(void *arg)
{
	struct virtio_queue *q = arg;

	confine_thread();
	while (!atomic_load(&q->dev->stop)) {
		if (!wait_for_work(q))
			break;
		(void)virtio_serve(q);
	}
	return NULL;
}

int virtio_start(struct virtio_dev *d, struct err *err)
{
	for (unsigned i = 0; i < d->queues; i++) {
		int rc = pthread_create(&d->queue[i].thread, NULL, queue_thread, &d->queue[i]);

		if (rc) {
			errno = rc;
			return err_sys(err, "cannot start a thread");
		}
		d->queue[i].running = true;
	}
	return 0;
}

void virtio_stop(struct virtio_dev *d)
{
	atomic_store(&d->stop, true);
	for (unsigned i = 0; i < d->queues; i++) {
		if (d->queue[i].running) {
			virtio_wake(d, i);
			(void)pthread_join(d->queue[i].thread, NULL);
		}
		(void)close(d->queue[i].kick);
	}
	d->queues = 0;
	pci_bus_remove(&d->pci);
}

void virtio_set_config(struct virtio_dev *d, unsigned off, const void *bytes, size_t len)
{
	(void)pthread_mutex_lock(&d->lock);
	memcpy(d->config + off, bytes, len);
	(void)pthread_mutex_unlock(&d->lock);
	virtio_raise(d, -1);
}

/* With the device's lock. Each queue's lock waits for the request that is under way. */
static void reset(struct virtio_dev *d)
{
	atomic_store(&d->status, 0);
	for (unsigned i = 0; i < d->queues; i++) {
		(void)pthread_mutex_lock(&d->queue[i].lock);
		virtq_reset(&d->queue[i].ring);
		atomic_store(&d->queue[i].vector, VIRTIO_NO_VECTOR);
		(void)pthread_mutex_unlock(&d->queue[i].lock);
	}
	d->driver_features = 0;
	d->feature_select = d->driver_feature_select = 0;
	d->queue_select = 0;
	atomic_store(&d->config_vector, VIRTIO_NO_VECTOR);
	(void)virtio_take_isr(d);
}

void virtio_set_status(struct virtio_dev *d, uint8_t status)
{
	unsigned now;

	if (!status && d->type->before_reset)
		d->type->before_reset(d);
	(void)pthread_mutex_lock(&d->lock);
	now = atomic_load(&d->status);
	if (!status) {
		reset(d);
	} else {
		/* Features that were not offered, or a driver of before 1.0: it reads back that we do not agree. */
		if ((status & VIRTIO_FEATURES_OK) && !(now & VIRTIO_FEATURES_OK) &&
		    ((d->driver_features & ~d->features) || !virtio_has(d, VIRTIO_F_VERSION_1)))
			status &= (uint8_t)~VIRTIO_FEATURES_OK;
		if (!((status | now) & VIRTIO_FEATURES_OK))
			status &= (uint8_t)~VIRTIO_DRIVER_OK;
		atomic_store(&d->status, status | now);
	}
	now = atomic_load(&d->status);
	(void)pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; (now & VIRTIO_DRIVER_OK) && i < d->queues; i++)
		virtio_wake(d, i);
}

void virtio_enable_queue(struct virtio_dev *d)
{
	struct virtio_queue *q = &d->queue[d->queue_select];
	bool good;

	(void)pthread_mutex_lock(&q->lock);
	good = q->ring.enabled || virtq_enable(&q->ring);
	(void)pthread_mutex_unlock(&q->lock);
	if (!good)
		needs_reset(d);
}
