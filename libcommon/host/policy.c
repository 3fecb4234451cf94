/* Decisions about machines: see policy.h. */
#include "libcommon/host/policy.h"

#include "libcommon/base/checked.h"

bool backoff_due(const struct backoff *b, const struct backoff_opts *o, uint64_t now_ms)
{
	return b->tries < o->tries && now_ms >= b->next_ms;
}

void backoff_tried(struct backoff *b, const struct backoff_opts *o, uint64_t now_ms)
{
	uint64_t delay = o->delay_ms;

	for (unsigned i = 0; i < b->tries && delay < o->max_delay_ms; i++)
		delay *= 2;
	b->tries++;
	b->next_ms = now_ms + min_u64(delay, max_u64(o->max_delay_ms, o->delay_ms));
	b->good_since_ms = 0;
	b->told = false;
}

bool backoff_gave_up(struct backoff *b, const struct backoff_opts *o, uint64_t now_ms)
{
	if (b->told || b->tries < o->tries || now_ms < b->next_ms)
		return false;
	b->told = true;
	return true;
}

void backoff_good(struct backoff *b, const struct backoff_opts *o, uint64_t now_ms)
{
	if (!b->good_since_ms)
		b->good_since_ms = now_ms ? now_ms : 1;
	if (b->tries && now_ms - b->good_since_ms >= o->settle_ms)
		*b = (struct backoff){.good_since_ms = b->good_since_ms};
}

uint64_t policy_memory(const struct memory_view *v)
{
	uint64_t want = v->now, used, step;

	if (!v->guest_total || v->guest_usable > v->guest_total || !v->now)
		return v->now;
	used = v->guest_total - v->guest_usable;
	if (v->guest_usable < v->guest_total / 10 && v->host_free > v->host_reserve)
		want = v->now + min_u64(v->now / 4, v->host_free - v->host_reserve);
	else if (v->host_free < v->host_reserve)
		want = min_u64(v->now, used + used / 2);
	want = min_u64(max_u64(want, v->least), v->most);
	step = want > v->now ? want - v->now : v->now - want;
	return step < v->now / 20 ? v->now : want;
}

unsigned policy_cpus(struct load *l, double cpu_seconds, unsigned cpus, unsigned least,
		     unsigned most, unsigned high, uint64_t now_ms)
{
	double used = (cpu_seconds - l->cpu_seconds) * 1000,
	       time = now_ms > l->at_ms ? (double)(now_ms - l->at_ms) : 0;
	bool known = l->at_ms && time > 0 && used >= 0 && l->cpus == cpus && cpus;

	l->cpu_seconds = cpu_seconds;
	l->at_ms = now_ms;
	l->cpus = cpus;
	if (!known) {
		l->high = l->low = 0;
		return cpus;
	}
	l->high = used * 100 >= time * cpus * high ? l->high + 1 : 0;
	l->low = cpus > 1 && used * 100 < time * (cpus - 1) * LOAD_LOW ? l->low + 1 : 0;
	if (l->high >= LOAD_HIGH_TIMES && cpus < most) {
		l->high = 0;
		return cpus + 1;
	}
	if (l->low >= LOAD_LOW_TIMES && cpus > least) {
		l->low = 0;
		return cpus - 1;
	}
	return cpus;
}
