/* Hosts by URI, name or group; one of them, or all at the same time. */
#include "cmd/vmctl/hosts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmctl/vmctl.h"
#include "libcommon/base/log.h"

enum { HOSTS_MAX = 256, COMPLETE_MS = 1000 };

/* Set by main before any thread starts. */
struct opt_list vmctl_hosts_named;
const char *vmctl_hosts_default;
uint64_t vmctl_host_timeout = HOST_TIMEOUT_MS;

struct hosts {
	char *name[HOSTS_MAX];
	const char *uri[HOSTS_MAX]; /* in name, or of the configuration; NULL: libvirt's default */
	size_t n;
};

static void hosts_free(struct hosts *h)
{
	for (size_t i = 0; i < h->n; i++)
		free(h->name[i]);
	h->n = 0;
}

static const char *setting(const char *prefix, const char *name)
{
	char key[256];

	if ((size_t)snprintf(key, sizeof(key), "%s_%s", prefix, name) >= sizeof(key))
		return NULL;
	return cli_config(key);
}

static int add_host(struct hosts *h, const char *name, size_t len, struct err *err)
{
	char *copy = strndup(name, len);

	if (!copy)
		return err_nomem(err);
	if (h->n == HOSTS_MAX) {
		free(copy);
		return err_set(err, ERR_USAGE, "more than %d hosts", HOSTS_MAX);
	}
	h->uri[h->n] = strstr(copy, "://") ? copy : setting("host", copy);
	if (!h->uri[h->n] && strcmp(copy, "builtin") == 0)
		h->uri[h->n] = BUILTIN_URI;
	if (!h->uri[h->n]) {
		err_set(err, ERR_NOT_FOUND, "no host or group is called so in the configuration");
		err_object(err, copy);
		free(copy);
		return err_hint(
			err, "a libvirt URI has \"://\"; a name is host_NAME = URI below [vmctl]");
	}
	h->name[h->n++] = copy;
	return 0;
}

static int add_words(struct hosts *h, const char *words, struct err *err)
{
	for (const char *p = words; *(p += strspn(p, " \t,"));) {
		size_t len = strcspn(p, " \t,");

		if (add_host(h, p, len, err) < 0)
			return -1;
		p += len;
	}
	return 0;
}

static int add_named(struct hosts *h, const char *name, struct err *err)
{
	const char *group = strstr(name, "://") ? NULL : setting("group", name);

	return group ? add_words(h, group, err) : add_host(h, name, strlen(name), err);
}

/* hosts_free() is due on failure too */
static int find_hosts(struct hosts *ret, struct err *err)
{
	*ret = (struct hosts){0};
	for (size_t i = 0; i < vmctl_hosts_named.count; i++)
		if (add_named(ret, vmctl_hosts_named.items[i], err) < 0)
			return -1;
	if (ret->n == 0 && vmctl_hosts_default && *vmctl_hosts_default)
		return add_named(ret, vmctl_hosts_default, err);
	if (ret->n == 0) {
		ret->name[0] = strdup("");
		if (!ret->name[0])
			return err_nomem(err);
		ret->n = 1;
	}
	return 0;
}

int vmctl_connect(struct host **ret, bool read_only, struct err *err)
{
	struct hosts h;
	int rc = find_hosts(&h, err);

	if (rc == 0 && h.n != 1)
		rc = err_set(err, ERR_USAGE, "this is done on one host at a time, %zu are named",
			     h.n);
	if (rc == 0)
		rc = host_open(ret, h.uri[0], read_only ? HOST_READ_ONLY : 0, vmctl_host_timeout,
			       err);
	hosts_free(&h);
	return rc;
}

int vmctl_target(const char *name, struct host **ret, char **ret_uri, struct err *err)
{
	struct hosts h = {0};
	int rc = add_host(&h, name, strlen(name), err);

	*ret_uri = NULL;
	if (rc == 0 && !(*ret_uri = strdup(h.uri[0])))
		rc = err_nomem(err);
	if (rc == 0)
		rc = host_open(ret, h.uri[0], 0, vmctl_host_timeout, err);
	hosts_free(&h);
	if (rc < 0) {
		free(*ret_uri);
		*ret_uri = NULL;
	}
	return rc;
}

int vmctl_find(const char *name, bool read_only, struct host **ret_host, struct domain **ret,
	       struct err *err)
{
	if (vmctl_connect(ret_host, read_only, err) < 0)
		return -1;
	if (host_find(*ret_host, name, ret, err) == 0)
		return 0;
	host_close(*ret_host);
	return -1;
}

/* ---- all of them at the same time */

struct asker {
	int (*ask)(struct host *h, void *ctx, json_t **ret, struct err *err);
	void *ctx;
	struct vmctl_answer *answer; /* this thread's alone until it is joined */
	pthread_t thread;
	bool started;
};

static void *ask_one(void *arg)
{
	struct asker *a = arg;
	struct host *h;

	if (host_open(&h, a->answer->uri, HOST_READ_ONLY, vmctl_host_timeout, &a->answer->err) < 0)
		return NULL;
	if (a->ask(h, a->ctx, &a->answer->value, &a->answer->err) < 0)
		a->answer->value = NULL;
	host_close(h);
	return NULL;
}

static void ask_them(struct asker *askers, size_t n)
{
	for (size_t i = 1; i < n; i++)
		askers[i].started =
			pthread_create(&askers[i].thread, NULL, ask_one, &askers[i]) == 0;
	for (size_t i = 0; i < n; i++)
		if (!askers[i].started) /* the first, and those that got no thread */
			(void)ask_one(&askers[i]);
	for (size_t i = 0; i < n; i++)
		if (askers[i].started)
			(void)pthread_join(askers[i].thread, NULL);
}

int vmctl_hosts(struct vmctl_answer **ret, size_t *ret_n, struct err *err)
{
	struct vmctl_answer *answers = NULL;
	struct hosts h;
	int rc = find_hosts(&h, err);

	if (rc == 0 && !(answers = calloc(h.n, sizeof(*answers))))
		rc = err_nomem(err);
	if (rc < 0) {
		hosts_free(&h);
		return -1;
	}
	for (size_t i = 0; i < h.n; i++) {
		answers[i].name = h.name[i];
		answers[i].uri = h.uri[i];
	}
	*ret = answers;
	*ret_n = h.n;
	return 0;
}

int vmctl_ask_all(int (*ask)(struct host *h, void *ctx, json_t **ret, struct err *err), void *ctx,
		  struct vmctl_answer **ret, size_t *ret_n, struct err *err)
{
	struct vmctl_answer *answers;
	struct asker *askers;
	size_t n;

	if (vmctl_hosts(&answers, &n, err) < 0)
		return -1;
	askers = calloc(n, sizeof(*askers));
	if (!askers) {
		vmctl_answers_free(answers, n);
		return err_nomem(err);
	}
	for (size_t i = 0; i < n; i++)
		askers[i] = (struct asker){.ask = ask, .ctx = ctx, .answer = &answers[i]};
	ask_them(askers, n);
	free(askers);
	*ret = answers;
	*ret_n = n;
	return 0;
}

void vmctl_answers_free(struct vmctl_answer *a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		json_decref(a[i].value);
		free((char *)(uintptr_t)a[i].name);
	}
	free(a);
}

int vmctl_verdict(const struct vmctl_answer *a, size_t n, struct err *err)
{
	size_t failed = 0;

	for (size_t i = 0; i < n; i++)
		failed += !a[i].value;
	if (failed == 0)
		return 0;
	if (failed == n && n == 1) {
		if (err)
			*err = a[0].err;
		return -1;
	}
	for (size_t i = 0; i < n; i++)
		if (!a[i].value)
			log_warning("%s: %s", *a[i].name ? a[i].name : "libvirt", a[i].err.message);
	return err_set(err, failed == n ? a[0].err.code : ERR_DIFFERS,
		       "%zu of %zu hosts did not answer", failed, n);
}

/* ---- several machines */

struct tally {
	int (*fn)(struct domain *d, void *ctx, struct err *err);
	void *ctx;
	size_t done, failed, of;
};

static int one_of(struct tally *t, struct host *h, const char *name, struct err *err)
{
	struct err why = ERR_INIT;
	struct domain *d = NULL;
	int rc = host_find(h, name, &d, &why);

	if (rc == 0)
		rc = t->fn(d, t->ctx, &why);
	domain_close(d);
	t->done++;
	if (rc == 0)
		return 0;
	if (t->of == 1 || why.code == ERR_CANCELLED) {
		if (err)
			*err = why;
		return -1;
	}
	t->failed++;
	log_warning("%s: %s", name, why.message);
	return 0;
}

static int each_listed(struct tally *t, struct host *h, struct err *err)
{
	struct domain_info *list;
	size_t n;
	int rc = 0;

	if (host_list(h, &list, &n, err) < 0)
		return -1;
	t->of = n;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = one_of(t, h, list[i].uuid, err);
	host_list_free(list, n);
	return rc;
}

int vmctl_each(int argc, char **argv, bool all, bool read_only,
	       int (*fn)(struct domain *d, void *ctx, struct err *err), void *ctx, struct err *err)
{
	struct tally t = {.fn = fn, .ctx = ctx, .of = (size_t)argc};
	struct host *h;
	int rc = 0;

	if (all && argc)
		return err_set(err, ERR_USAGE, "--all and names do not go together");
	if (!all && !argc)
		return err_set(err, ERR_USAGE, "no machine is named");
	if (vmctl_connect(&h, read_only, err) < 0)
		return -1;
	if (all)
		rc = each_listed(&t, h, err);
	for (int i = 0; rc == 0 && i < argc; i++)
		rc = one_of(&t, h, argv[i], err);
	host_close(h);
	if (rc == 0 && t.failed)
		return err_set(err, ERR_DIFFERS, "%zu of %zu machines failed", t.failed, t.of);
	return rc;
}

int vmctl_where(struct domain *d, bool live, bool config, unsigned *ret, struct err *err)
{
	struct domain_info info;
	bool runs, persistent;

	if (live && config)
		return err_set(err, ERR_USAGE, "both is what happens without --live and --config");
	if (domain_info(d, &info, err) < 0)
		return -1;
	runs = info.state != DOMAIN_OFF && info.state != DOMAIN_CRASHED;
	persistent = info.persistent;
	domain_info_release(&info);
	if (live && !runs)
		return err_set(err, ERR_FAILED, "does not run");
	if (config && !persistent)
		return err_set(err, ERR_FAILED, "has no definition: it is gone when it stops");
	*ret = (runs && !config ? DOMAIN_LIVE : 0u) | (persistent && !live ? DOMAIN_CONFIG : 0u);
	return 0;
}

void vmctl_complete_machines(const char *prefix, FILE *out)
{
	struct domain_info *list;
	struct host *h;
	size_t n;

	if (vmctl_host_timeout > COMPLETE_MS)
		vmctl_host_timeout = COMPLETE_MS;
	if (vmctl_connect(&h, true, NULL) < 0)
		return;
	if (host_list(h, &list, &n, NULL) == 0) {
		for (size_t i = 0; i < n; i++)
			if (strncmp(list[i].name, prefix, strlen(prefix)) == 0)
				(void)fprintf(out, "%s\n", list[i].name);
		host_list_free(list, n);
	}
	host_close(h);
}
