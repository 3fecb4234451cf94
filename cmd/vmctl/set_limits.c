/* Limits of a machine: see set_limits.h. */
#include "cmd/vmctl/set_limits.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/size.h"

enum { PERCENT_MAX = 100 * 4096 };

/* "150", "150%", "none" */
static int percent_parse(const char *text, int64_t *ret, struct err *err)
{
	char *end = NULL;
	unsigned long v;

	if (strcmp(text, "none") == 0) {
		*ret = 0;
		return 0;
	}
	v = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
	if (!end || (*end && strcmp(end, "%") != 0) || v < 1 || v > PERCENT_MAX)
		return err_set(err, ERR_USAGE,
			       "--cpu-limit '%s': percent of one processor, 1 to %d, or none", text,
			       PERCENT_MAX);
	*ret = (int64_t)v;
	return 0;
}

/* A copy that a parser may cut up */
static char *text_of(struct set_limits *l, const char *item)
{
	char *copy = strdup(item);

	if (copy)
		l->texts[l->n_texts++] = copy;
	return copy;
}

int set_limits_parse(struct set_limits *l, struct err *err)
{
	l->cpu = (struct cpu_limits){-1, l->cpu_shares ? (int64_t)l->cpu_shares : -1};
	l->pins = calloc(l->pin.count + 1, sizeof(*l->pins));
	l->disks = calloc(l->disk.count + 1, sizeof(*l->disks));
	l->nets = calloc(l->net.count + 1, sizeof(*l->nets));
	l->texts = calloc(l->disk.count + l->net.count + 1, sizeof(*l->texts));
	if (!l->pins || !l->disks || !l->nets || !l->texts)
		return err_nomem(err);
	if (l->cpu_limit && percent_parse(l->cpu_limit, &l->cpu.percent, err) < 0)
		return -1;
	if (l->memory_limit && strcmp(l->memory_limit, "none") != 0 &&
	    size_parse(l->memory_limit, &l->memory, err) < 0)
		return err_prefix(err, "--memory-limit");
	if (l->memory_limit && strcmp(l->memory_limit, "none") != 0 && l->memory < 1 << 20)
		return err_set(err, ERR_USAGE, "--memory-limit is less than 1 MiB");
	for (size_t i = 0; i < l->pin.count; i++)
		if (pin_parse(l->pin.items[i], &l->pins[i], err) < 0)
			return err_prefix(err, "--pin");
	for (size_t i = 0; i < l->disk.count; i++) {
		char *text = text_of(l, l->disk.items[i]);

		if (!text)
			return err_nomem(err);
		if (disk_limits_parse(text, &l->disks[i], err) < 0)
			return err_prefix(err, "--disk-limit");
	}
	for (size_t i = 0; i < l->net.count; i++) {
		char *text = text_of(l, l->net.items[i]);

		if (!text)
			return err_nomem(err);
		if (net_limits_parse(text, &l->nets[i], err) < 0)
			return err_prefix(err, "--net-limit");
	}
	return 0;
}

void set_limits_release(struct set_limits *l)
{
	for (size_t i = 0; i < l->n_texts; i++)
		free(l->texts[i]);
	free(l->texts);
	free(l->pins);
	free(l->disks);
	free(l->nets);
	l->texts = NULL;
	l->n_texts = 0;
	l->pins = NULL;
	l->disks = NULL;
	l->nets = NULL;
}

int set_limits_apply(const struct set_limits *l, struct domain *d, unsigned where, struct err *err)
{
	if ((l->cpu.percent >= 0 || l->cpu.shares >= 0) &&
	    domain_limit_cpu(d, &l->cpu, where, err) < 0)
		return -1;
	if (l->memory_limit && domain_limit_memory(d, l->memory, where, err) < 0)
		return -1;
	for (size_t i = 0; i < l->pin.count; i++)
		if (domain_pin(d, &l->pins[i], where, err) < 0)
			return -1;
	for (size_t i = 0; i < l->disk.count; i++)
		if (domain_limit_disk(d, &l->disks[i], where, err) < 0)
			return -1;
	for (size_t i = 0; i < l->net.count; i++)
		if (domain_limit_net(d, &l->nets[i], where, err) < 0)
			return -1;
	return 0;
}

/* ---- for people */

static void print_rates(const char *when, const json_t *o, const char *name)
{
	const char *key;
	const json_t *v;
	char text[SIZE_TEXT_MAX];

	(void)printf("%-12s %s:", when, json_string_value(json_object_get(o, name)));
	json_object_foreach((json_t *)(uintptr_t)o, key, v)
	{
		if (!json_is_integer(v))
			continue;
		if (strstr(key, "iops"))
			(void)printf(" %s %" JSON_INTEGER_FORMAT "/s", key, json_integer_value(v));
		else
			(void)printf(" %s %s/s", key,
				     size_format((uint64_t)json_integer_value(v), text));
	}
	(void)putchar('\n');
}

void set_limits_print(const char *when, const json_t *limits)
{
	const json_t *percent = json_object_get(limits, "cpu_percent"),
		     *shares = json_object_get(limits, "cpu_shares"),
		     *memory = json_object_get(limits, "memory"), *list;
	char text[SIZE_TEXT_MAX];

	if (json_is_integer(percent))
		(void)printf("%-12s at most %" JSON_INTEGER_FORMAT " %% of a processor\n", when,
			     json_integer_value(percent));
	if (json_is_integer(shares))
		(void)printf("%-12s weight %" JSON_INTEGER_FORMAT "\n", when,
			     json_integer_value(shares));
	if (json_is_integer(memory))
		(void)printf("%-12s at most %s of the host's memory\n", when,
			     size_format((uint64_t)json_integer_value(memory), text));
	list = json_object_get(limits, "pins");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);

		(void)printf("%-12s processor %s on %s\n", when,
			     json_string_value(json_object_get(one, "vcpu")),
			     json_string_value(json_object_get(one, "cpus")));
	}
	list = json_object_get(limits, "disks");
	for (size_t i = 0; i < json_array_size(list); i++)
		print_rates(when, json_array_get(list, i), "target");
	list = json_object_get(limits, "nets");
	for (size_t i = 0; i < json_array_size(list); i++)
		print_rates(when, json_array_get(list, i), "mac");
}
