/* Limits as people write them, and as a machine's XML has them: see limits.h. */
#include "libcommon/host/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/host/xmldoc.h"

/* Digits up to @most at *@p, which moves behind them. Return: false when there are none, or they are too many */
static bool number(const char **p, unsigned most, unsigned *ret)
{
	char *end;
	unsigned long v;

	if (**p < '0' || **p > '9')
		return false;
	v = strtoul(*p, &end, 10);
	*p = end;
	*ret = (unsigned)v;
	return v <= most;
}

/* "2-3,7" */
static bool cpu_list(const char *p, struct pin *ret)
{
	do {
		unsigned first, last;

		if (!number(&p, PIN_CPUS_MAX - 1, &first))
			return false;
		last = first;
		if (*p == '-' && (p++, !number(&p, PIN_CPUS_MAX - 1, &last)))
			return false;
		if (last < first)
			return false;
		for (unsigned i = first; i <= last; i++)
			ret->cpus[i / 8] |= (uint8_t)(1U << i % 8);
	} while (*p++ == ',');
	return p[-1] == '\0';
}

int pin_parse(const char *text, struct pin *ret, struct err *err)
{
	const char *equals = strchr(text, '='), *p = text;
	size_t n = equals ? (size_t)(equals - text) : 0;
	unsigned vcpu;

	memset(ret, 0, sizeof(*ret));
	if (n == 3 && strncmp(text, "all", n) == 0)
		ret->vcpu = PIN_ALL;
	else if (n == 8 && strncmp(text, "emulator", n) == 0)
		ret->vcpu = PIN_EMULATOR;
	else if (n && number(&p, PIN_CPUS_MAX - 1, &vcpu) && p == equals)
		ret->vcpu = (int)vcpu;
	else
		return err_set(err, ERR_USAGE, "'%s': VCPU=CPUS: 0=2-3, all=0,4-7, emulator=any",
			       text);
	ret->any = strcmp(equals + 1, "any") == 0;
	if (!ret->any && !cpu_list(equals + 1, ret))
		return err_set(err, ERR_USAGE, "'%s': processors are 0-3,7 or any", text);
	return 0;
}

char *pin_cpus_text(const struct pin *p)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	const char *comma = "";
	char part[32];

	if (!f)
		return NULL;
	for (unsigned i = 0, end; i < PIN_CPUS_MAX; i = end + 1) {
		for (end = i; end < PIN_CPUS_MAX && p->cpus[end / 8] & 1U << end % 8; end++)
			;
		if (end == i)
			continue;
		(void)snprintf(part, sizeof(part), end - i > 1 ? "%s%u-%u" : "%s%u", comma, i,
			       end - 1);
		(void)fputs(part, f);
		comma = ",";
	}
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

struct word {
	const char *name;
	uint64_t *value;
	bool *set;
	bool bytes; /* "10M"; else a plain number */
};

static int one_word(const char *text, const struct word *words, size_t n, char separator,
		    struct err *err)
{
	const char *value = strchr(text, separator);

	for (size_t i = 0; value && i < n; i++) {
		if (strlen(words[i].name) != (size_t)(value - text) ||
		    strncmp(words[i].name, text, (size_t)(value - text)) != 0)
			continue;
		*words[i].set = true;
		if (strcmp(value + 1, "none") == 0) {
			*words[i].value = 0;
			return 0;
		}
		if (size_parse(value + 1, words[i].value, err) < 0)
			return -1;
		if (!words[i].bytes && strspn(value + 1, "0123456789") != strlen(value + 1))
			return err_set(err, ERR_USAGE, "%s: '%s' is no number", words[i].name,
				       value + 1);
		if (*words[i].value > INT64_MAX)
			return err_set(err, ERR_USAGE, "%s: %s is too much", words[i].name,
				       value + 1);
		return 0;
	}
	return err_set(err, ERR_USAGE, "'%s' is no limit: %s%c%s, ...", text, words[0].name,
		       separator, words[0].bytes ? "10M" : "500");
}

/* Return: 0 when all of "a=1,b=2" was understood */
static int each_word(char *text, const struct word *words, size_t n, char separator,
		     struct err *err)
{
	char *rest = text, *one;

	while ((one = strsep(&rest, ",")))
		if (one_word(one, words, n, separator, err) < 0)
			return -1;
	return 0;
}

static int total_or_parts(const char *kind, uint64_t total, uint64_t read, uint64_t write,
			  struct err *err)
{
	if (total && (read || write))
		return err_set(err, ERR_USAGE, "%s, or read-%s and write-%s: not both", kind, kind,
			       kind);
	return 0;
}

int disk_limits_parse(char *text, struct disk_limits *ret, struct err *err)
{
	const struct word words[] = {
		{"iops", &ret->total_iops, &ret->iops, false},
		{"read-iops", &ret->read_iops, &ret->iops, false},
		{"write-iops", &ret->write_iops, &ret->iops, false},
		{"bytes", &ret->total_bytes, &ret->bytes, true},
		{"read-bytes", &ret->read_bytes, &ret->bytes, true},
		{"write-bytes", &ret->write_bytes, &ret->bytes, true},
	};
	char *colon = strchr(text, ':');

	memset(ret, 0, sizeof(*ret));
	if (!colon || colon == text)
		return err_set(err, ERR_USAGE, "'%s': DISK:LIMITS: vda:iops=500,bytes=50M", text);
	*colon = '\0';
	ret->target = text;
	if (strcmp(colon + 1, "none") == 0) {
		ret->bytes = ret->iops = true;
		return 0;
	}
	if (each_word(colon + 1, words, sizeof(words) / sizeof(words[0]), '=', err) < 0 ||
	    total_or_parts("bytes", ret->total_bytes, ret->read_bytes, ret->write_bytes, err) < 0)
		return -1;
	return total_or_parts("iops", ret->total_iops, ret->read_iops, ret->write_iops, err);
}

int net_limits_parse(char *text, struct net_limits *ret, struct err *err)
{
	uint64_t in = 0, out = 0;
	bool in_set = false, out_set = false;
	const struct word words[] = {{"in", &in, &in_set, true}, {"out", &out, &out_set, true}};
	char *equals = strchr(text, '=');

	*ret = (struct net_limits){.mac = text, .in = -1, .out = -1};
	if (!equals || equals == text)
		return err_set(err, ERR_USAGE, "'%s': MAC=LIMITS: 52:54:00:01:02:03=in:10M,out:1M",
			       text);
	*equals = '\0';
	if (strcmp(equals + 1, "none") == 0)
		in_set = out_set = true;
	else if (each_word(equals + 1, words, 2, ':', err) < 0)
		return -1;
	if ((in | out) >> 10 > UINT32_MAX)
		return err_set(err, ERR_USAGE, "more than 4 TiB a second is no limit");
	ret->in = in_set ? (int64_t)in : -1;
	ret->out = out_set ? (int64_t)out : -1;
	return 0;
}

/* ---- as the machine has them */

static void set_number(json_t *o, const char *key, const char *text, json_int_t unit)
{
	(void)json_object_set_new(o, key,
				  text ? json_integer((json_int_t)strtoll(text, NULL, 10) * unit)
				       : json_null());
}

static json_t *cpu_json(const struct xmldoc *x, json_t *o)
{
	CLEANUP_FREE char *quota = xmldoc_get(x, "/domain/cputune/global_quota"),
			  *period = xmldoc_get(x, "/domain/cputune/global_period"),
			  *shares = xmldoc_get(x, "/domain/cputune/shares");
	long long q = quota ? strtoll(quota, NULL, 10) : 0,
		  p = period ? strtoll(period, NULL, 10) : 100000;

	(void)json_object_set_new(o, "cpu_percent",
				  q > 0 && p > 0 ? json_integer(q * 100 / p) : json_null());
	set_number(o, "cpu_shares", shares, 1);
	return o;
}

static void add_pin(json_t *list, const char *vcpu, const char *cpus)
{
	if (vcpu && cpus)
		(void)json_array_append_new(list,
					    json_pack("{s:s, s:s}", "vcpu", vcpu, "cpus", cpus));
}

static json_t *pins_json(const struct xmldoc *x)
{
	static const char pins[] = "/domain/cputune/vcpupin";
	CLEANUP_FREE char *emulator = xmldoc_get(x, "/domain/cputune/emulatorpin/@cpuset");
	json_t *list = json_array();

	for (size_t i = 0, n = xmldoc_count(x, pins); list && i < n; i++) {
		CLEANUP_FREE char *vcpu = xmldoc_get_nth(x, pins, i, "@vcpu"),
				  *cpus = xmldoc_get_nth(x, pins, i, "@cpuset");

		add_pin(list, vcpu, cpus);
	}
	if (list)
		add_pin(list, "emulator", emulator);
	return list;
}

static json_t *disks_json(const struct xmldoc *x)
{
	static const char disks[] = "/domain/devices/disk[iotune]";
	static const struct {
		const char *key, *path;
	} parts[] = {
		{"bytes", "iotune/total_bytes_sec"},	   {"read_bytes", "iotune/read_bytes_sec"},
		{"write_bytes", "iotune/write_bytes_sec"}, {"iops", "iotune/total_iops_sec"},
		{"read_iops", "iotune/read_iops_sec"},	   {"write_iops", "iotune/write_iops_sec"}};
	json_t *list = json_array();

	for (size_t i = 0, n = xmldoc_count(x, disks); list && i < n; i++) {
		CLEANUP_FREE char *target = xmldoc_get_nth(x, disks, i, "target/@dev");
		json_t *one = json_pack("{s:s}", "target", target ? target : "");

		for (size_t k = 0; one && k < sizeof(parts) / sizeof(parts[0]); k++) {
			CLEANUP_FREE char *v = xmldoc_get_nth(x, disks, i, parts[k].path);

			set_number(one, parts[k].key, v && strcmp(v, "0") != 0 ? v : NULL, 1);
		}
		(void)json_array_append_new(list, one);
	}
	return list;
}

static json_t *nets_json(const struct xmldoc *x)
{
	static const char nets[] = "/domain/devices/interface[bandwidth]";
	json_t *list = json_array();

	for (size_t i = 0, n = xmldoc_count(x, nets); list && i < n; i++) {
		CLEANUP_FREE char *mac = xmldoc_get_nth(x, nets, i, "mac/@address"),
				  *in = xmldoc_get_nth(x, nets, i, "bandwidth/inbound/@average"),
				  *out = xmldoc_get_nth(x, nets, i, "bandwidth/outbound/@average");
		json_t *one = json_pack("{s:s}", "mac", mac ? mac : "");

		if (one) {
			set_number(one, "in", in, 1024);
			set_number(one, "out", out, 1024);
		}
		(void)json_array_append_new(list, one);
	}
	return list;
}

json_t *domain_limits_json(const struct xmldoc *x)
{
	CLEANUP_FREE char *memory = xmldoc_get(x, "/domain/memtune/hard_limit");
	json_t *o = json_object();

	if (!o)
		return NULL;
	(void)json_object_set_new(cpu_json(x, o), "pins", pins_json(x));
	set_number(o, "memory", memory, 1024);
	(void)json_object_set_new(o, "disks", disks_json(x));
	(void)json_object_set_new(o, "nets", nets_json(x));
	return o;
}
