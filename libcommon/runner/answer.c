/* What a running machine tells and does when its control socket is asked. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libcommon/runner/machine_private.h"

enum { STATS_MS = 1000 /* a guest that is busy tells late */ };

static void add(json_t *o, const char *key, json_t *value)
{
	(void)json_object_set_new(o, key, value); /* without memory: a field less */
}

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static uint64_t memory_size(const struct guest_memory *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->regions; i++)
		sum += m->region[i].size;
	return sum;
}

static void add_state(struct machine *m, json_t *answer)
{
	add(answer, "state", json_string(atomic_load(&m->paused) ? "paused" : "running"));
	add(answer, "memory", number(memory_size(&m->mem)));
}

static void info(struct machine *m, json_t *answer)
{
	add_state(m, answer);
	add(answer, "cpus", number(m->vcpus));
	add(answer, "power_button", json_boolean(legacy_power_wanted(&m->legacy)));
}

static double cpu_seconds(struct vcpu *v)
{
	struct timespec t = {0};
	clockid_t clock;

	if (atomic_load(&v->spent_ns))
		return (double)atomic_load(&v->spent_ns) / 1e9;

	if (pthread_getcpuclockid(v->thread, &clock) || clock_gettime(clock, &t) < 0)
		return 0; /* its thread has ended */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static json_t *one_disk(const struct virtio_blk *b, unsigned i)
{
	char guest_name[] = "vda";
	json_t *o = json_object(), *image = json_string(disk_name(b->disk));

	guest_name[2] = (char)('a' + i);
	add(o, "name", json_string(guest_name));
	add(o, "image", image ? image : json_null()); /* a path that is not UTF-8 */
	add(o, "size", number(disk_size(b->disk)));
	add(o, "reads", number(atomic_load(&b->reads)));
	add(o, "read_bytes", number(atomic_load(&b->read_bytes)));
	add(o, "writes", number(atomic_load(&b->writes)));
	add(o, "written_bytes", number(atomic_load(&b->written_bytes)));
	add(o, "flushes", number(atomic_load(&b->flushes)));
	add(o, "discards", number(atomic_load(&b->discards)));
	add(o, "errors", number(atomic_load(&b->errors)));
	return o;
}

static json_t *one_net(const struct virtio_net *v, unsigned i)
{
	char name[16], mac[32];
	const uint8_t *a = v->net->mac;
	json_t *o = json_object();

	(void)snprintf(name, sizeof(name), "net%u", i);
	(void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3],
		       a[4], a[5]);
	add(o, "name", json_string(name));
	add(o, "kind", json_string(v->net->kind));
	add(o, "mac", json_string(mac));
	add(o, "link", json_boolean(!atomic_load(&v->net->gone)));
	add(o, "rx_packets", number(atomic_load(&v->rx_packets)));
	add(o, "rx_bytes", number(atomic_load(&v->rx_bytes)));
	add(o, "rx_dropped", number(atomic_load(&v->rx_dropped)));
	add(o, "tx_packets", number(atomic_load(&v->tx_packets)));
	add(o, "tx_bytes", number(atomic_load(&v->tx_bytes)));
	add(o, "tx_dropped", number(atomic_load(&v->tx_dropped)));
	return o;
}

static json_t *balloon(struct machine *m)
{
	static const char *const names[BALLOON_STATS] = {
		[BALLOON_SWAP_IN] = "swap_in",
		[BALLOON_SWAP_OUT] = "swap_out",
		[BALLOON_MAJOR_FAULTS] = "major_faults",
		[BALLOON_MINOR_FAULTS] = "minor_faults",
		[BALLOON_FREE] = "free",
		[BALLOON_TOTAL] = "total",
		[BALLOON_AVAILABLE] = "available",
		[BALLOON_CACHES] = "caches",
		[BALLOON_HUGE_PAGES] = "huge_pages",
		[BALLOON_HUGE_FAILURES] = "huge_failures",
	};
	bool still = atomic_load(&m->paused) || atomic_load(&m->ended);
	json_t *o = json_object(), *guest = json_object();
	uint64_t target, actual, stat[BALLOON_STATS];
	uint32_t known = virtio_balloon_stats(m->balloon, still ? 0 : STATS_MS, stat);

	virtio_balloon_size(m->balloon, &target, &actual);
	add(o, "target", number(target));
	add(o, "actual", number(actual));
	add(o, "reported", number(atomic_load(&m->balloon->reported)));
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		if ((known & 1U << i) && stat[i] <= INT64_MAX)
			add(guest, names[i], number(stat[i]));
	add(o, "guest", guest);
	return o;
}

void machine_figures(struct machine *m, json_t *answer)
{
	json_t *cpus = json_array(), *disks = json_array(), *nets = json_array();

	add_state(m, answer);
	add(answer, "memory_resident", number(guest_memory_resident(&m->mem)));
	for (unsigned i = 0; i < m->vcpus; i++) {
		json_t *o = json_object();

		add(o, "cpu_seconds", json_real(cpu_seconds(&m->vcpu[i])));
		add(o, "thread", json_integer(atomic_load(&m->vcpu[i].tid)));
		add(o, "exits", number(atomic_load(&m->vcpu[i].exits)));
		(void)json_array_append_new(cpus, o);
	}
	for (unsigned i = 0; i < m->opts->n_disks; i++)
		(void)json_array_append_new(disks, one_disk(m->blk[i], i));
	if (m->balloon)
		add(answer, "balloon", balloon(m));
	add(answer, "cpus", cpus);
	for (unsigned i = 0; i < m->opts->n_nets; i++)
		(void)json_array_append_new(nets, one_net(m->net[i], i));
	add(answer, "disks", disks);
	add(answer, "nets", nets);
}

/* A guest that is paused hears nothing, so it goes on; one that does not listen to the button is ended at once. */
static void stop(struct machine *m, json_t *answer)
{
	bool listens = legacy_power_wanted(&m->legacy);

	if (listens) {
		legacy_press_power(&m->legacy);
		machine_resume(m);
	} else {
		machine_ends(m, MACHINE_STOPPED, NULL);
	}
	add(answer, "method", json_string(listens ? "acpi" : "destroy"));
}

static int save(struct machine *m, int fd, bool compress, json_t *answer, struct err *err)
{
	bool paused = atomic_load(&m->paused);
	int rc;

	if (fd < 0)
		return err_set(err, ERR_USAGE, "no file came with the request");
	rc = machine_save(m, fd, compress, err);
	atomic_store(&m->saved, rc == 0);
	if (rc < 0 && !paused)
		machine_resume(m);
	add(answer, "was", json_string(paused ? "paused" : "running"));
	return rc;
}

static int set_balloon(struct machine *m, uint64_t bytes, struct err *err)
{
	if (!m->balloon)
		return err_set(err, ERR_UNSUPPORTED, "it was started without --balloon");
	if (bytes >= memory_size(&m->mem))
		return err_set(err, ERR_USAGE, "it cannot give up all of its memory");
	virtio_balloon_set(m->balloon, bytes);
	return 0;
}

int machine_answer(void *ctx, const struct control_request *r, json_t *answer, struct err *err)
{
	struct machine *m = ctx;

	/* Who holds its memory in a file wants to know whether it goes on, or goes */
	if (atomic_load(&m->ended) && r->verb != CONTROL_INFO && r->verb != CONTROL_KILL)
		return err_set(err, ERR_BUSY, "the machine is ending: try later");
	switch (r->verb) {
	case CONTROL_INFO:
		info(m, answer);
		return 0;
	case CONTROL_STATS:
		machine_figures(m, answer);
		return 0;
	case CONTROL_PAUSE:
		machine_pause(m);
		return 0;
	case CONTROL_RESUME:
		machine_resume(m);
		return 0;
	case CONTROL_STOP:
		stop(m, answer);
		return 0;
	case CONTROL_KILL:
		machine_ends(m, atomic_load(&m->saved) ? MACHINE_SAVED : MACHINE_STOPPED, NULL);
		add(answer, "method", json_string("destroy"));
		return 0;
	case CONTROL_CONSOLE:
		return attach_is_full(&m->attach)
			       ? err_set(err, ERR_BUSY, "%d others are at its console", ATTACH_MAX)
			       : 0;
	case CONTROL_SAVE:
	case CONTROL_SAVE_COMPRESSED:
		return save(m, r->fd, r->verb == CONTROL_SAVE_COMPRESSED, answer, err);
	case CONTROL_BALLOON:
		return set_balloon(m, r->bytes, err);
	default:
		return err_set(err, ERR_USAGE, "the request is of no known kind");
	}
}

void machine_take_peer(void *ctx, int fd)
{
	struct machine *m = ctx;

	attach_add(&m->attach, fd);
	machine_wake(m);
}
