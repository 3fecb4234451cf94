/* Freezing a guest's file systems, and the process that thaws them, ends a backup job, and sees that a machine on its way to
 * another host runs on one of them, whatever happens to us.
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

enum { GUARD_MAX_MS = 30000, GUARD_SOCKET_MAX = 107, GUARD_URI_MAX = 511 };

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

/**
 * guard_move() - from now on, when we are gone, the machine that goes from one host to another runs on exactly one of them
 * @from, @to: their URIs, at most GUARD_URI_MAX bytes; NULL: it is over
 * @running: it runs; else it is paused, and stays so
 *
 * Between the last step of a migration that libvirt's client leads, and the one before it, a machine stands still at the source,
 * and only that client knows whether the target let it go on. The guard asks both: where the target runs it, the source's copy
 * goes, as its last step would have seen to; where the target has none, the source's goes on. While one of them does not
 * answer nothing is done. A migration that the daemons lead by themselves needs none of this.
 *
 * Return: 0, or -1: the guard does not answer, a URI is too long
 */
int guard_move(struct guard *g, const char *uuid, const char *from, const char *to, bool running,
	       struct err *err);

/** guard_thaw() - Return: 0; -1 when neither we nor the guard could thaw: it goes on trying in the background. *@ret
 *  is set either way */
int guard_thaw(struct guard *g, struct freeze *ret, struct err *err);

#endif
