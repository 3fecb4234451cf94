/* vmrun ps: the machines of this user that have a name. */
#include <stdlib.h>
#include <string.h>

#include "cmd/vmrun/vmrun.h"
#include "libcommon/base/size.h"
#include "libcommon/runner/control.h"

enum { INFO_MS = 1000 /* what a machine that does not answer costs */ };

static struct {
	bool names;
} o;

static const struct opt options[] = {
	{.letter = '0',
	 .name = "null",
	 .type = OPT_FLAG,
	 .value = &o.names,
	 .help = "names alone, each with a NUL behind it: for xargs -0"},
	OPT_END,
};

static const char *const examples[] = {
	"vmrun ps",
	"vmrun ps -0 | xargs -0 vmrun stop",
	"vmrun ps --json | jq -r '.[] | select(.state == \"paused\") | .name'",
	NULL,
};

/* Fields of the answer that are ours to tell; what is missing or of another kind is null. Return: NULL without memory */
static json_t *machine_json(const char *name, const json_t *answer)
{
	static const char *const texts[] = {"state", "started"};
	static const char *const numbers[] = {"pid", "cpus", "memory"};
	const json_t *seconds = json_object_get(answer, "seconds");
	json_t *m = json_pack("{s:s}", "name", name);

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const json_t *v = json_object_get(answer, texts[i]);

		(void)json_object_set_new(m, texts[i],
					  json_is_string(v) ? json_string(json_string_value(v))
							    : json_null());
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const json_t *v = json_object_get(answer, numbers[i]);

		(void)json_object_set_new(m, numbers[i],
					  json_is_integer(v) ? json_integer(json_integer_value(v))
							     : json_null());
	}
	(void)json_object_set_new(m, "seconds",
				  json_is_number(seconds) ? json_real(json_number_value(seconds))
							  : json_null());
	if (!answer)
		(void)json_object_set_new(m, "state", json_string("not answering"));
	return m;
}

static int ask_all(json_t **ret, struct err *err)
{
	json_t *list = json_array();
	char **names;
	size_t n;
	int rc = 0;

	if (!list)
		return err_nomem(err);
	if (control_list(&names, &n, err) < 0) {
		json_decref(list);
		return -1;
	}
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct err why = ERR_INIT;
		json_t *answer = NULL;

		if (control_ask(names[i], CONTROL_INFO, INFO_MS, &answer, &why) < 0 &&
		    why.code == ERR_CANCELLED) {
			*err = why;
			rc = -1;
		} else if (why.code != ERR_NOT_FOUND) { /* else it has ended meanwhile */
			rc = json_array_append_new(list, machine_json(names[i], answer)) < 0
				     ? err_nomem(err)
				     : 0;
		}
		json_decref(answer);
	}
	control_list_free(names, n);
	if (rc < 0)
		json_decref(list);
	else
		*ret = list;
	return rc;
}

static const char *number(const json_t *m, const char *key, char buf[32])
{
	const json_t *v = json_object_get(m, key);

	(void)snprintf(buf, 32, json_is_integer(v) ? "%lld" : "-",
		       (long long)json_integer_value(v));
	return buf;
}

static void row(struct table *t, const json_t *m)
{
	char pid[32], cpus[32], memory[SIZE_TEXT_MAX], age[SIZE_TEXT_MAX];
	const json_t *size = json_object_get(m, "memory"), *seconds = json_object_get(m, "seconds");
	const char *state = json_string_value(json_object_get(m, "state"));
	const char *const cells[] = {
		json_string_value(json_object_get(m, "name")),
		state ? state : "-",
		number(m, "pid", pid),
		number(m, "cpus", cpus),
		json_is_integer(size) ? size_format((uint64_t)json_integer_value(size), memory)
				      : "-",
		json_is_real(seconds) ? duration_format(json_real_value(seconds), age) : "-",
		NULL};

	table_row(t, cells);
}

static int print(const json_t *list, struct err *err)
{
	static const char *const headers[] = {"NAME",	"STATE",  "PID", "CPUS",
					      "MEMORY", "UP FOR", NULL};
	struct table *t;

	if (json_array_size(list) == 0)
		return 0;
	t = table_new(headers, "llrrrr");
	if (!t)
		return err_nomem(err);
	for (size_t i = 0; i < json_array_size(list); i++)
		row(t, json_array_get(list, i));
	table_print(t, stdout);
	table_free(t);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	json_t *list;
	int rc = 0;

	(void)argc;
	(void)argv;
	if (ask_all(&list, err) < 0)
		return -1;
	if (cli->json)
		return cli_print_json(cli, list, err);
	if (o.names)
		for (size_t i = 0; i < json_array_size(list); i++)
			(void)printf(
				"%s%c",
				json_string_value(json_object_get(json_array_get(list, i), "name")),
				0);
	else
		rc = print(list, err);
	json_decref(list);
	return rc;
}

const struct verb verb_ps = {
	.name = "ps",
	.usage = "[OPTIONS]",
	.summary = "the machines that run under a name",
	.details = "Lists this user's machines that were started with --name. One that does not "
		   "answer "
		   "within a second is \"not answering\". What machines that were killed have left "
		   "behind is removed.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, also when there is none, 6 another process has locked the folder of "
		    "the control sockets, 12 that folder is not yours alone",
	.json = true,
	.run = run,
};
