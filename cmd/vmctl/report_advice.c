/* What machines used over days, and what that says of their size: see report.h.
 *
 * Samples are lines of JSON, appended as a whole; one that is torn or wrong is
 * left out.
 */
#include "cmd/vmctl/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"

enum { MACHINES_MAX = 4096, LOADS_MAX = 4096 };
#define STEP (64ULL << 20) /* memory is advised in these */

char *report_samples_path(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *path = NULL;
	int n = -1;

	if (state && state[0] == '/')
		n = asprintf(&path, "%s/vmkit/samples.ndjson", state);
	else if (home && home[0] == '/')
		n = asprintf(&path, "%s/.local/state/vmkit/samples.ndjson", home);
	return n < 0 ? NULL : path;
}

/* ---- recording */

static void make_folders(const char *path)
{
	char *copy = strdup(path);

	if (!copy)
		return;
	for (char *s = copy + 1; *s; s++)
		if (*s == '/') {
			*s = '\0';
			(void)mkdir(copy, 0700);
			*s = '/';
		}
	free(copy);
}

static void add_sample(FILE *f, const json_t *m)
{
	static const char *const keys[] = {"host",
					   "name",
					   "uuid",
					   "cpus",
					   "cpu_seconds",
					   "memory",
					   "memory_resident",
					   "guest_memory",
					   "guest_memory_usable"};
	json_t *o = json_pack("{s:I}", "at", (json_int_t)time(NULL));
	char *text;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		(void)json_object_set(o, keys[i], json_object_get(m, keys[i]));
	text = json_dumps(o, JSON_COMPACT);
	if (text)
		(void)fprintf(f, "%s\n", text);
	free(text);
	json_decref(o);
}

int report_record(const char *path, const json_t *stats, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	CLEANUP_CLOSE int fd = -1;
	const json_t *m;
	size_t len, i;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return err_nomem(err);
	json_array_foreach(stats, i, m)
	{
		const char *state = json_string_value(json_object_get(m, "state"));

		if (state && strcmp(state, "running") == 0 &&
		    !json_is_true(json_object_get(m, "stale")))
			add_sample(f, m);
	}
	if (fclose(f) != 0)
		return err_nomem(err);
	make_folders(path);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return err_sys(err, "cannot open");
	return io_write(fd, text, len, err);
}

/* ---- looking back */

struct history {
	json_t *last;		 /* sample */
	double loads[LOADS_MAX]; /* processors used between two samples; the newest */
	size_t n_loads, samples;
	uint64_t most_used; /* memory */
};

static uint64_t number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static struct history *find(struct history **all, size_t *n, const json_t *s)
{
	for (size_t i = 0; i < *n; i++)
		if (strcmp(text_of(all[i]->last, "uuid"), text_of(s, "uuid")) == 0 &&
		    strcmp(text_of(all[i]->last, "host"), text_of(s, "host")) == 0)
			return all[i];
	if (*n == MACHINES_MAX || !(all[*n] = calloc(1, sizeof(**all))))
		return NULL;
	return all[(*n)++];
}

static void take(struct history *h, json_t *s)
{
	uint64_t total = number(s, "guest_memory"), usable = number(s, "guest_memory_usable"),
		 used = total && usable <= total ? total - usable : number(s, "memory_resident");
	double seconds = h->last ? (double)number(s, "at") - (double)number(h->last, "at") : 0,
	       cpu = json_number_value(json_object_get(s, "cpu_seconds")) -
		     json_number_value(json_object_get(h->last, "cpu_seconds"));

	/* A counter that went back, or another size: it was started anew */
	if (h->last && seconds > 0 && cpu >= 0 && number(s, "cpus") == number(h->last, "cpus"))
		h->loads[h->n_loads++ % LOADS_MAX] = cpu / seconds;
	h->most_used = max_u64(h->most_used, used);
	h->samples++;
	json_decref(h->last);
	h->last = json_incref(s);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void advise(json_t *list, const struct history *h, const char *what, uint64_t now,
		   uint64_t better, double used)
{
	(void)json_array_append_new(
		list,
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:I}", "host",
			  text_of(h->last, "host"), "name", text_of(h->last, "name"), "uuid",
			  text_of(h->last, "uuid"), "what", what, "advice",
			  better < now ? "shrink" : "grow", "now", (json_int_t)now, "better",
			  (json_int_t)better, "used", used, "samples", (json_int_t)h->samples));
}

/* Of twenty intervals the busiest one does not count: a boot, a backup. A third
 * is left free. */
static void advise_cpus(json_t *list, struct history *h)
{
	size_t n = h->n_loads < LOADS_MAX ? h->n_loads : LOADS_MAX;
	uint64_t cpus = number(h->last, "cpus"), better;
	double used;

	if (!n || !cpus)
		return;
	qsort(h->loads, n, sizeof(h->loads[0]), by_size);
	used = h->loads[(n - 1) * 95 / 100];
	better = (uint64_t)(used * 1.5) + 1;
	if (used > 0.9 * (double)cpus)
		advise(list, h, "cpus", cpus, cpus + 1, used);
	else if (better <= cpus / 2)
		advise(list, h, "cpus", cpus, better, used);
}

/* A quarter is left free. */
static void advise_memory(json_t *list, const struct history *h)
{
	uint64_t memory = number(h->last, "memory"), better;

	if (!memory || !h->most_used)
		return;
	better = round_up(h->most_used + h->most_used / 4, STEP);
	if (h->most_used > memory / 10 * 9)
		advise(list, h, "memory", memory, max_u64(better, memory + STEP),
		       (double)h->most_used);
	else if (better < memory / 4 * 3)
		advise(list, h, "memory", memory, better, (double)h->most_used);
}

static void read_samples(FILE *f, uint64_t since, struct history **all, size_t *n,
			 size_t *ret_samples)
{
	CLEANUP_FREE char *line = NULL;
	size_t room = 0;
	ssize_t len;

	while ((len = getline(&line, &room, f)) > 0) {
		json_t *s = json_loadb(line, (size_t)len, 0, NULL);
		struct history *h;

		if (json_is_object(s) && number(s, "at") >= since && *text_of(s, "uuid") &&
		    (h = find(all, n, s))) {
			take(h, s);
			(*ret_samples)++;
		}
		json_decref(s);
	}
}

int report_advice(const char *path, uint64_t age_s, unsigned least, json_t **ret,
		  size_t *ret_samples, struct err *err)
{
	CLEANUP_FREE struct history **all = calloc(MACHINES_MAX, sizeof(*all));
	json_t *list = json_array();
	uint64_t now = (uint64_t)time(NULL);
	size_t n = 0;
	FILE *f;

	*ret_samples = 0;
	if (!all || !list) {
		json_decref(list);
		return err_nomem(err);
	}
	f = fopen(path, "re");
	if (!f && errno != ENOENT) {
		json_decref(list);
		return err_sys(err, "cannot open");
	}
	if (f) {
		read_samples(f, now > age_s ? now - age_s : 0, all, &n, ret_samples);
		(void)fclose(f);
	}
	for (size_t i = 0; i < n; i++) {
		if (all[i]->samples >= least) {
			advise_cpus(list, all[i]);
			advise_memory(list, all[i]);
		}
		json_decref(all[i]->last);
		free(all[i]);
	}
	*ret = list;
	return 0;
}
