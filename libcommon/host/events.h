/* What happens to the machines of a host, told as it happens.
 *
 *	host_events_start(h, fn, ctx, &events, err)	fn is called from now on
 *	while (host_alive(h)) ...
 *	host_events_stop(events); host_close(h)
 *
 * Events are lost while there is no connection: who needs the present state asks host_list() after the start.
 */
#ifndef VMKIT_HOST_EVENTS_H
#define VMKIT_HOST_EVENTS_H

#include "libcommon/host/host.h"

enum event_kind {
	EVENT_LIFECYCLE,
	EVENT_REBOOT,
	EVENT_AGENT,
	EVENT_IO_ERROR,
	EVENT_BLOCK_JOB,
	EVENT_DEVICE,
	EVENT_KINDS
};

/** struct host_event - borrowed by the callback for the time of its call */
struct host_event {
	enum event_kind kind;
	const char *machine;
	char uuid[UUID_TEXT_MAX];
	const char *what;   /* "started", "paused", "removed"; static */
	const char *detail; /* why: "booted", "enospc", the block job's type; "" */
	const char *device; /* target ("vda") or alias ("virtio-disk0"); NULL */
	const char *path;   /* of the disk with the error; NULL */
};

const char *event_kind_name(enum event_kind kind); /* "io-error"; static */

struct host_events;
typedef void (*host_event_fn)(const struct host_event *e, void *ctx);

/**
 * host_events_start() - @fn(e, @ctx) for every event of every machine
 * @fn: runs in the thread that serves all connections: it must not wait, nor call into this layer
 * @ret: owned: host_events_stop()
 */
int host_events_start(struct host *h, host_event_fn fn, void *ctx, struct host_events **ret,
		      struct err *err);
/** host_events_stop() - @fn is not called any more once this returns; before host_close(); NULL is fine */
void host_events_stop(struct host_events *e);

/** host_alive() - false once the connection is lost; does not ask the daemon, so it does not wait */
bool host_alive(struct host *h);

#endif
