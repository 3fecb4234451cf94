/* Limits of machines that vmrun runs: in their files, in XML, and what sets them. cgroup.c and pin.c see that they hold. */
#include "libcommon/host/limits.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/host/xmldoc.h"

enum { SHARES_MIN = 2, SHARES_MAX = 262144, PERIOD_US = 100000 };

void builtin_limits_release(struct builtin_limits *l)
{
	for (size_t i = 0; i < l->n_pins; i++)
		free(l->pins[i].cpus);
	*l = (struct builtin_limits){0};
}

/* ---- pins */

/* Replaces that of the same processor; @cpus NULL: it has none */
static int set_pin(struct builtin_limits *l, int vcpu, const char *cpus, struct err *err)
{
	char *copy = NULL;
	size_t i = 0;

	if (cpus && !(copy = strdup(cpus)))
		return err_nomem(err);
	while (i < l->n_pins && l->pins[i].vcpu != vcpu)
		i++;
	if (i < l->n_pins)
		free(l->pins[i].cpus);
	if (copy) {
		l->n_pins += i == l->n_pins;
		l->pins[i] = (struct builtin_pin){vcpu, copy};
	} else if (i < l->n_pins) {
		l->pins[i] = l->pins[--l->n_pins];
	}
	return 0;
}

static int set_pin_named(struct builtin_limits *l, const char *vcpu, const char *cpus,
			 struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct pin p;

	if (asprintf(&text, "%s=%s", vcpu, cpus) < 0) {
		text = NULL;
		return err_nomem(err);
	}
	if (pin_parse(text, &p, err) < 0)
		return -1;
	if (p.vcpu == PIN_ALL || p.vcpu >= BUILTIN_CPUS_MAX || p.any)
		return err_set(err, ERR_USAGE,
			       "pin '%.40s': one of processors 0 to %d, or emulator", text,
			       BUILTIN_CPUS_MAX - 1);
	return set_pin(l, p.vcpu, cpus, err);
}

static const char *vcpu_name(const struct builtin_pin *p, char buf[16])
{
	if (p->vcpu == PIN_EMULATOR)
		return "emulator";
	(void)snprintf(buf, 16, "%d", p->vcpu);
	return buf;
}

/* ---- their file */

static int read_pins(const json_t *v, struct builtin_limits *l, struct err *err)
{
	const char *key;
	const json_t *e;

	if (!json_is_object(v))
		return err_set(err, ERR_CORRUPT, "\"pins\" is no object");
	json_object_foreach((json_t *)(uintptr_t)v, key, e)
	{
		if (!json_is_string(e))
			return err_set(err, ERR_CORRUPT, "a pin is no string");
		if (set_pin_named(l, key, json_string_value(e), err) < 0) {
			if (err)
				err->code = ERR_CORRUPT;
			return -1;
		}
	}
	return 0;
}

int builtin_limits_read(const json_t *v, struct builtin_limits *l, struct err *err)
{
	const char *key;
	const json_t *e;
	int rc = 0;

	if (!json_is_object(v))
		return err_set(err, ERR_CORRUPT, "\"limits\" is no object");
	json_object_foreach((json_t *)(uintptr_t)v, key, e)
	{
		if (rc == 0 && strcmp(key, "cpu_percent") == 0)
			rc = builtin_get_uint(e, key, 1, 100 * BUILTIN_CPUS_MAX, &l->cpu_percent,
					      err);
		else if (rc == 0 && strcmp(key, "cpu_shares") == 0)
			rc = builtin_get_uint(e, key, SHARES_MIN, SHARES_MAX, &l->cpu_shares, err);
		else if (rc == 0 && strcmp(key, "memory") == 0)
			rc = builtin_get_size(e, key, &l->memory, err);
		else if (rc == 0 && strcmp(key, "pins") == 0)
			rc = read_pins(e, l, err);
		else if (rc == 0)
			rc = err_set(err, ERR_CORRUPT, "\"limits\" has no \"%.40s\"", key);
	}
	return rc;
}

json_t *builtin_limits_json(const struct builtin_limits *l)
{
	json_t *o = json_object(), *pins = json_object();
	char name[16];

	if (l->cpu_percent)
		(void)json_object_set_new(o, "cpu_percent", json_integer(l->cpu_percent));
	if (l->cpu_shares)
		(void)json_object_set_new(o, "cpu_shares", json_integer(l->cpu_shares));
	if (l->memory)
		(void)json_object_set_new(o, "memory", json_integer((json_int_t)l->memory));
	for (size_t i = 0; i < l->n_pins; i++)
		(void)json_object_set_new(pins, vcpu_name(&l->pins[i], name),
					  json_string(l->pins[i].cpus));
	if (l->n_pins)
		(void)json_object_set(o, "pins", pins);
	json_decref(pins);
	return o;
}

/* ---- as libvirt says them */

void builtin_limits_to_xml(FILE *f, const struct builtin_limits *l)
{
	if (l->memory)
		builtin_put(f,
			    "  <memtune>\n    <hard_limit unit='KiB'>%" PRIu64
			    "</hard_limit>\n  </memtune>\n",
			    l->memory >> 10);
	if (!l->cpu_percent && !l->cpu_shares && !l->n_pins)
		return;
	(void)fputs("  <cputune>\n", f);
	if (l->cpu_shares)
		builtin_put(f, "    <shares>%u</shares>\n", l->cpu_shares);
	if (l->cpu_percent)
		builtin_put(f,
			    "    <global_period>%d</global_period>\n"
			    "    <global_quota>%u</global_quota>\n",
			    PERIOD_US, l->cpu_percent * (PERIOD_US / 100));
	for (size_t i = 0; i < l->n_pins; i++) {
		char name[16];

		if (l->pins[i].vcpu == PIN_EMULATOR)
			builtin_put(f, "    <emulatorpin cpuset='%s'/>\n", l->pins[i].cpus);
		else
			builtin_put(f, "    <vcpupin vcpu='%s' cpuset='%s'/>\n",
				    vcpu_name(&l->pins[i], name), l->pins[i].cpus);
	}
	(void)fputs("  </cputune>\n", f);
}

static int get_number(const struct xmldoc *x, const char *path, uint64_t most, uint64_t *ret,
		      struct err *err)
{
	CLEANUP_FREE char *text = xmldoc_get(x, path);
	char *end;
	unsigned long long n;

	if (!text)
		return 0;
	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || end[strspn(end, " \t\n")] || n > most)
		return err_set(err, ERR_USAGE, "%s is '%.40s'", strrchr(path, '/') + 1, text);
	*ret = n;
	return 0;
}

static int get_pins(const struct xmldoc *x, struct builtin_limits *l, struct err *err)
{
	static const char pins[] = "/domain/cputune/vcpupin";
	CLEANUP_FREE char *emulator = xmldoc_get(x, "/domain/cputune/emulatorpin/@cpuset");

	for (size_t i = 0, n = xmldoc_count(x, pins); i < n; i++) {
		CLEANUP_FREE char *vcpu = xmldoc_get_nth(x, pins, i, "@vcpu"),
				  *cpus = xmldoc_get_nth(x, pins, i, "@cpuset");

		if (set_pin_named(l, vcpu ? vcpu : "", cpus ? cpus : "", err) < 0)
			return -1;
	}
	return emulator ? set_pin_named(l, "emulator", emulator, err) : 0;
}

int builtin_limits_from_xml(const struct xmldoc *x, struct builtin_limits *l, struct err *err)
{
	uint64_t quota = 0, period = PERIOD_US, shares = 0;

	/* "-1" is libvirt's word for no quota */
	if (!xmldoc_count(x, "/domain/cputune/global_quota[starts-with(., '-')]") &&
	    get_number(x, "/domain/cputune/global_quota", UINT32_MAX, &quota, err) < 0)
		return -1;
	if (get_number(x, "/domain/cputune/global_period", 1000000, &period, err) < 0 ||
	    get_number(x, "/domain/cputune/shares", SHARES_MAX, &shares, err) < 0 ||
	    get_pins(x, l, err) < 0)
		return -1;
	l->cpu_percent =
		period ? (unsigned)min_u64(quota * 100 / period, 100 * BUILTIN_CPUS_MAX) : 0;
	l->cpu_shares = (unsigned)max_u64(shares, shares ? SHARES_MIN : 0);
	return 0;
}

/* ---- setting them */

/* *@ret: the machine, builtin_release() on success */
static int load(struct domain *d, unsigned where, struct builtin_machine *ret, struct err *err)
{
	if (where & DOMAIN_LIVE) {
		err_set(err, ERR_UNSUPPORTED,
			"vmrun does not change limits of a machine that runs");
		return err_hint(err, "--config: from its next start on");
	}
	return builtin_load(builtin_of(d->host), d->name, ret, err);
}

/* @m is consumed. */
static int save(struct domain *d, struct builtin_machine *m, int rc, struct err *err)
{
	if (rc == 0)
		rc = builtin_save(builtin_of(d->host), m, err);
	builtin_release(m);
	return rc;
}

int builtin_limit_cpu(struct domain *d, const struct cpu_limits *l, unsigned where, struct err *err)
{
	struct builtin_machine m;

	if (l->percent > 100 * BUILTIN_CPUS_MAX)
		return err_set(err, ERR_USAGE, "more than %d %% is no limit",
			       100 * BUILTIN_CPUS_MAX);
	if (load(d, where, &m, err) < 0)
		return -1;
	if (l->percent >= 0)
		m.limits.cpu_percent = (unsigned)l->percent;
	if (l->shares >= 0)
		m.limits.cpu_shares = (unsigned)l->shares;
	return save(d, &m, 0, err);
}

/* Less than its guest's memory, and the kernel would end it once the guest has touched that. */
int builtin_limit_memory(struct domain *d, uint64_t bytes, unsigned where, struct err *err)
{
	struct builtin_machine m;
	int rc = 0;

	if (load(d, where, &m, err) < 0)
		return -1;
	m.limits.memory = bytes;
	if (bytes && bytes <= m.memory)
		rc = err_set(err, ERR_USAGE, "a limit that is not above its memory would kill it");
	return save(d, &m, rc, err);
}

static int check_host(const struct pin *p, struct err *err)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	for (long i = n; n > 0 && !p->any && i < PIN_CPUS_MAX; i++)
		if (p->cpus[i / 8] & 1U << i % 8)
			return err_set(err, ERR_USAGE,
				       "processor %ld: the host has processors 0 to %ld", i, n - 1);
	return 0;
}

int builtin_pin(struct domain *d, const struct pin *p, unsigned where, struct err *err)
{
	CLEANUP_FREE char *cpus = NULL;
	struct builtin_machine m;
	int rc = 0;

	if (check_host(p, err) < 0)
		return -1;
	if (!p->any && !(cpus = pin_cpus_text(p)))
		return err_nomem(err);
	if (load(d, where, &m, err) < 0)
		return -1;
	if (p->vcpu >= (int)m.cpus)
		rc = err_set(err, ERR_USAGE, "it has processors 0 to %u", m.cpus - 1);
	else if (p->vcpu != PIN_ALL)
		rc = set_pin(&m.limits, p->vcpu, cpus, err);
	for (unsigned i = 0; rc == 0 && p->vcpu == PIN_ALL && i < m.cpus; i++)
		rc = set_pin(&m.limits, (int)i, cpus, err);
	return save(d, &m, rc, err);
}
