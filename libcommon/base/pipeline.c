/* The ordered parallel pipeline: see pipeline.h.
 *
 * One mutex guards the states of all units; every stage function runs outside of it. A unit costs two to
 * four lock rounds and holds 1 MiB or more of work, so the lock is never what limits.
 */
#include "libcommon/base/pipeline.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/err.h"
#include "libcommon/base/stop.h"

enum unit_state { UNIT_FREE, UNIT_WORKED, UNIT_TO_STORE, UNIT_RUNNING };

struct slot {
	void *unit;
	uint64_t seq;
	enum unit_state state;
};

struct pipeline {
	const struct pipeline_ops *ops;
	void *ctx;
	unsigned depth;
	struct slot *slots; /* guarded by lock, as all below */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t next_seq;   /* the next unit to produce */
	uint64_t commit_seq; /* the next unit to commit */
	unsigned busy;	     /* slots not free */
	bool producing, committing, ended, failed;
	uint64_t failed_seq;
	struct err failure;
};

static void fail(struct pipeline *p, uint64_t seq, const struct err *err)
{
	if (!p->failed || seq < p->failed_seq) {
		p->failed = true;
		p->failed_seq = seq;
		p->failure = *err;
	}
}

static struct slot *find(struct pipeline *p, enum unit_state state)
{
	struct slot *best = NULL;

	for (unsigned i = 0; i < p->depth; i++) {
		struct slot *s = &p->slots[i];

		if (s->state == state && (!best || s->seq < best->seq))
			best = s;
	}
	return best;
}

static struct slot *find_committable(struct pipeline *p)
{
	if (p->committing)
		return NULL;
	for (unsigned i = 0; i < p->depth; i++)
		if (p->slots[i].state == UNIT_WORKED && p->slots[i].seq == p->commit_seq)
			return &p->slots[i];
	return NULL;
}

static void release(struct pipeline *p, struct slot *s)
{
	s->state = UNIT_FREE;
	p->busy--;
}

/* Each run_* is called with the lock held, drops it around the stage and takes it again. */
static void run_stage(struct pipeline *p, struct slot *s,
		      int (*stage)(void *, void *, struct err *), bool *ret_ok)
{
	struct err err = ERR_INIT;
	int rc;

	pthread_mutex_unlock(&p->lock);
	rc = stage ? stage(p->ctx, s->unit, &err) : 0;
	pthread_mutex_lock(&p->lock);
	if (rc < 0)
		fail(p, s->seq, &err);
	*ret_ok = rc >= 0;
}

static void run_store(struct pipeline *p, struct slot *s)
{
	bool ok;

	s->state = UNIT_RUNNING;
	run_stage(p, s, p->ops->store, &ok);
	release(p, s);
}

static void run_commit(struct pipeline *p, struct slot *s)
{
	bool ok;

	p->committing = true;
	s->state = UNIT_RUNNING;
	run_stage(p, s, p->ops->commit, &ok);
	p->committing = false;
	p->commit_seq++;
	if (ok && p->ops->store)
		s->state = UNIT_TO_STORE;
	else
		release(p, s);
}

static void run_produce(struct pipeline *p, struct slot *s)
{
	struct err err = ERR_INIT;
	bool ok;
	int rc;

	p->producing = true;
	s->state = UNIT_RUNNING;
	s->seq = p->next_seq;
	p->busy++;
	pthread_mutex_unlock(&p->lock);
	rc = stop_check(&err);
	if (rc == 0)
		rc = p->ops->produce(p->ctx, s->unit, &err);
	pthread_mutex_lock(&p->lock);
	p->producing = false;
	if (rc <= 0) {
		if (rc < 0)
			fail(p, s->seq, &err);
		p->ended = true;
		release(p, s);
		return;
	}
	p->next_seq++;
	pthread_cond_broadcast(&p->changed); /* someone else may produce the next one */
	run_stage(p, s, p->ops->work, &ok);
	if (ok)
		s->state = UNIT_WORKED;
	else
		release(p, s);
}

static void *pipeline_thread(void *arg)
{
	struct pipeline *p = arg;
	struct slot *s;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		/* Nearest to the end first: that frees units and keeps memory low. */
		if (p->failed && p->busy == 0)
			break;
		if (!p->failed && (s = find(p, UNIT_TO_STORE)))
			run_store(p, s);
		else if (!p->failed && (s = find_committable(p)))
			run_commit(p, s);
		else if (!p->failed && !p->ended && !p->producing && (s = find(p, UNIT_FREE)))
			run_produce(p, s);
		else if (p->failed && ((s = find(p, UNIT_TO_STORE)) || (s = find(p, UNIT_WORKED))))
			release(p, s);
		else if (p->ended && p->busy == 0)
			break;
		else {
			pthread_cond_wait(&p->changed, &p->lock);
			continue;
		}
		pthread_cond_broadcast(&p->changed);
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Run @threads copies of @fn, the last in the caller's thread; fewer when the system gives no more. */
static void run_threads(unsigned threads, void *(*fn)(void *), void *arg)
{
	pthread_t *ids = calloc(threads, sizeof(*ids));
	unsigned started = 0;

	while (ids && started + 1 < threads && pthread_create(&ids[started], NULL, fn, arg) == 0)
		started++;
	fn(arg);
	for (unsigned i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	free(ids);
}

static int make_units(struct pipeline *p, struct err *err)
{
	p->slots = calloc(p->depth, sizeof(*p->slots));
	if (!p->slots)
		return err_nomem(err);
	for (unsigned i = 0; i < p->depth; i++) {
		p->slots[i].unit = calloc(1, p->ops->unit_size);
		if (!p->slots[i].unit)
			return err_nomem(err);
		if (p->ops->unit_init && p->ops->unit_init(p->ctx, p->slots[i].unit, err) < 0)
			return -1;
	}
	return 0;
}

static void free_units(struct pipeline *p)
{
	for (unsigned i = 0; p->slots && i < p->depth; i++) {
		if (p->slots[i].unit && p->ops->unit_free)
			p->ops->unit_free(p->ctx, p->slots[i].unit);
		free(p->slots[i].unit);
	}
	free(p->slots);
}

int pipeline_run(const struct pipeline_ops *ops, void *ctx, unsigned threads, unsigned depth,
		 struct err *err)
{
	struct pipeline p = {.ops = ops, .ctx = ctx};
	int rc = -1;

	if (threads == 0)
		threads = threads_default();
	p.depth = depth ? depth : 2 * threads + 2;
	pthread_mutex_init(&p.lock, NULL);
	pthread_cond_init(&p.changed, NULL);
	if (make_units(&p, err) == 0) {
		run_threads(threads, pipeline_thread, &p);
		if (p.failed && err)
			*err = p.failure;
		rc = p.failed ? -1 : 0;
	}
	free_units(&p);
	pthread_cond_destroy(&p.changed);
	pthread_mutex_destroy(&p.lock);
	return rc;
}

struct parallel {
	int (*fn)(void *, size_t, unsigned, struct err *);
	void *ctx;
	size_t count;
	atomic_size_t next;
	atomic_uint next_worker;
	atomic_bool failed;
	pthread_mutex_t lock; /* guards the two below */
	size_t failed_i;
	struct err failure;
};

static void *parallel_thread(void *arg)
{
	struct parallel *p = arg;
	unsigned worker = atomic_fetch_add(&p->next_worker, 1);
	struct err err = ERR_INIT;

	while (!atomic_load(&p->failed)) {
		size_t i = atomic_fetch_add(&p->next, 1);

		if (i >= p->count)
			break;
		if (stop_check(&err) == 0 && p->fn(p->ctx, i, worker, &err) == 0)
			continue;
		pthread_mutex_lock(&p->lock);
		if (!atomic_load(&p->failed) || i < p->failed_i) {
			p->failed_i = i;
			p->failure = err;
		}
		atomic_store(&p->failed, true);
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

int parallel_for(size_t count, unsigned threads,
		 int (*fn)(void *ctx, size_t i, unsigned worker, struct err *err), void *ctx,
		 struct err *err)
{
	struct parallel p = {.fn = fn, .ctx = ctx, .count = count};

	if (threads == 0)
		threads = threads_default();
	pthread_mutex_init(&p.lock, NULL);
	run_threads(threads, parallel_thread, &p);
	pthread_mutex_destroy(&p.lock);
	if (!p.failed)
		return 0;
	if (err)
		*err = p.failure;
	return -1;
}

/* "MAX PERIOD" of this process's cgroup v2, so that a container with half a processor gets one thread. */
static unsigned cgroup_limit(void)
{
	unsigned long long quota, period;
	FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
	int n = f ? fscanf(f, "%llu %llu", &quota, &period) : 0;

	if (f)
		(void)fclose(f);
	if (n != 2 || period == 0)
		return UINT32_MAX;
	return quota < period ? 1 : (unsigned)(quota / period);
}

unsigned threads_default(void)
{
	cpu_set_t set;
	unsigned n = 1;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = (unsigned)CPU_COUNT(&set);

	unsigned limit = cgroup_limit();

	if (n > limit)
		n = limit;
	return n ? n : 1;
}
