/* Freezing a guest's file systems, and the process that thaws them, and ends a backup job, whatever happens to us.
 *
 *	guard_start(&g, uri, NULL, err)		first of all: before the first host_open(), before any thread
 *	...
 *	guard_freeze(g, domain, max_ms, err)	the guest's file systems stand still
 *	... the one short thing that needs it ...
 *	guard_thaw(g, &freeze, err)		they go on; how long they stood, and whether all the time
 *	guard_end(g)
 *
 * The guard is a child with a connection of its own. It thaws when we are gone (killed, crashed) and when @max_ms have
 * passed, and goes on trying while the daemon is away. Of a job that guard_job() named it sees to the end in the same way. It ignores the signals that end us, and has a session of its own.
 */
#ifndef VMKIT_HOST_GUARD_H
#define VMKIT_HOST_GUARD_H

#include "libcommon/host/host.h"

struct guard;

enum { GUARD_MAX_MS = 30000, GUARD_SOCKET_MAX = 107 };

/** struct freeze - what guard_thaw() knows */
struct freeze {
	unsigned file_systems; /* that were frozen */
	double window_ms;      /* from the order to freeze to the answer to the thaw */
	bool held; /* they stood still until we let them go: nobody thawed them before, the guest's own clock neither */
};

/**
 * guard_start() - the child; it does nothing until guard_freeze()
 * @uri: as for host_open(); borrowed until guard_end(); NULL: libvirt's default
 * @left: called in the child with the socket of a job that it ended because we are gone: what else we left goes. NULL:
 *	nothing does
 *
 * To be called while the process has one thread: the child uses the memory it was forked with.
 */
int guard_start(struct guard **ret, const char *uri, void (*left)(const char *socket),
		struct err *err);

/** guard_end() - thaws when that is still due; NULL is fine */
void guard_end(struct guard *g);

/**
 * guard_freeze() - @d: borrowed until guard_thaw()
 * @max_ms: the guard thaws after this at the latest; 0: GUARD_MAX_MS
 *
 * Return: 0, or -1 with nothing frozen: ERR_CONNECTION (no agent, the guard has no connection), ERR_FAILED (the guest
 * refuses), ...
 */
int guard_freeze(struct guard *g, struct domain *d, unsigned max_ms, struct err *err);

/**
 * guard_job() - from now on, when we are gone, the backup job of the machine that serves on @socket (live.h) is ended, and no other
 * @socket: at most GUARD_SOCKET_MAX bytes; NULL: there is no job any more
 *
 * Return: 0, or -1: the guard does not answer
 */
int guard_job(struct guard *g, const char *uuid, const char *socket, struct err *err);

/** guard_thaw() - Return: 0; -1 when neither we nor the guard could thaw: it goes on trying in the background. *@ret
 *  is set either way */
int guard_thaw(struct guard *g, struct freeze *ret, struct err *err);

#endif
