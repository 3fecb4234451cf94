/* Options from tables: parsing, defaults from the environment and the configuration file. See cli.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/cli/internal.h"

size_t opt_next_choice(const char **pos, const char **ret_word)
{
	size_t len;

	if (!*pos || !**pos)
		return 0;
	*ret_word = *pos;
	len = strcspn(*pos, "|");
	*pos += len + ((*pos)[len] == '|');
	return len;
}

const struct opt *opt_find(const struct opt_set *set, char letter, const char *name, size_t len)
{
	for (size_t t = 0; t < OPT_TABLES_MAX; t++)
		for (const struct opt *o = set->tables[t]; o && o->name; o++)
			if (letter ? o->letter == letter
				   : strlen(o->name) == len && !memcmp(o->name, name, len))
				return o;
	return NULL;
}

static bool is_choice(const char *choices, const char *value)
{
	const char *pos = choices, *word;
	size_t len;

	while ((len = opt_next_choice(&pos, &word)))
		if (strlen(value) == len && !memcmp(value, word, len))
			return true;
	return false;
}

static int set_choice(const struct opt *o, const char *value, struct err *err)
{
	char list[512] = "";
	size_t used = 0, len;
	const char *pos = o->choices, *word;

	if (is_choice(o->choices, value)) {
		*(const char **)o->value = value;
		return 0;
	}
	while ((len = opt_next_choice(&pos, &word)) && used + len + 3 < sizeof(list))
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%.*s",
					 used ? ", " : "", (int)len, word);
	return err_set(err, ERR_USAGE, "--%s: '%s' is not one of: %s", o->name, value, list);
}

static int set_uint(const struct opt *o, const char *value, struct err *err)
{
	unsigned v = 0;
	const char *s = value;

	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(v, 10U, &v) ||
		    __builtin_add_overflow(v, (unsigned)(*s - '0'), &v))
			return err_set(err, ERR_USAGE, "--%s: '%s' is too large", o->name, value);
	if (s == value || *s)
		return err_set(err, ERR_USAGE, "--%s: '%s' is not a whole number", o->name, value);
	if (v < o->min || (o->max && v > o->max)) {
		if (o->max)
			return err_set(err, ERR_USAGE, "--%s: %u is not in %u to %u", o->name, v,
				       o->min, o->max);
		return err_set(err, ERR_USAGE, "--%s: %u is below %u", o->name, v, o->min);
	}
	*(unsigned *)o->value = v;
	return 0;
}

static int add_to_list(const struct opt *o, const char *value, struct err *err)
{
	struct opt_list *l = o->value;
	const char **items = realloc(l->items, (l->count + 1) * sizeof(*items));

	if (!items)
		return err_nomem(err);
	items[l->count++] = value;
	l->items = items;
	return 0;
}

/* What the command line gave, in its order: there is one a process. */
static struct given {
	const struct opt *o;
	const char *value; /* NULL: the option stood alone */
} * given;
static size_t n_given;

static int remember(const struct opt *o, const char *value, struct err *err)
{
	struct given *more = reallocarray(given, n_given + 1, sizeof(*more));

	if (!more)
		return err_nomem(err);
	given = more;
	given[n_given++] = (struct given){o, value};
	return 0;
}

int cli_each_given(const struct opt *table, int (*each)(void *ctx, const char *word, struct err *),
		   void *ctx, struct err *err)
{
	for (size_t i = 0; i < n_given; i++) {
		CLEANUP_FREE char *word = NULL;
		const struct opt *o = table;

		while (o->name && o != given[i].o)
			o++;
		if (!o->name)
			continue;
		if (asprintf(&word, "--%s%s%s", o->name, given[i].value ? "=" : "",
			     given[i].value ? given[i].value : "") < 0) {
			word = NULL;
			return err_nomem(err);
		}
		if (each(ctx, word, err) < 0)
			return -1;
	}
	return 0;
}

/* @value: NULL when the option stands alone. */
static int set_value(const struct opt_set *set, const struct opt *o, const char *value,
		     struct err *err)
{
	if (!set->rehearsal && remember(o, value, err) < 0)
		return -1;
	switch (o->type) {
	case OPT_FLAG:
		*(bool *)o->value = true;
		return 0;
	case OPT_COUNT:
		*(unsigned *)o->value += 1;
		return 0;
	case OPT_STRING:
		*(const char **)o->value = value;
		return 0;
	case OPT_LIST:
		return add_to_list(o, value, err);
	case OPT_SIZE:
		return size_parse(value, o->value, err) < 0 ? err_prefix(err, "--%s", o->name) : 0;
	case OPT_DURATION:
		return duration_parse(value, o->value, err) < 0 ? err_prefix(err, "--%s", o->name)
								: 0;
	case OPT_UINT:
		return set_uint(o, value, err);
	case OPT_CHOICE:
		return set_choice(o, value, err);
	case OPT_OPTIONAL:
		if (value && o->choices)
			return set_choice(o, value, err);
		*(const char **)o->value = value ? value : "";
		return 0;
	}
	return err_set(err, ERR_USAGE, "--%s has no known type", o->name);
}

static bool takes_none(const struct opt *o)
{
	return o->type == OPT_FLAG || o->type == OPT_COUNT;
}

static int unknown_option(const struct opt_set *set, const char *name, size_t len, struct err *err)
{
	const char *names[128];
	char word[64];
	size_t n = 0;

	(void)snprintf(word, sizeof(word), "%.*s", (int)len, name);
	for (size_t t = 0; t < OPT_TABLES_MAX; t++)
		for (const struct opt *o = set->tables[t]; o && o->name && n < 128; o++)
			if (!o->hidden)
				names[n++] = o->name;

	const char *near = cli_suggest(word, names, n);

	err_set(err, ERR_USAGE, "unknown option '--%.*s'", (int)len, name);
	return near ? err_hint(err, "did you mean --%s?", near) : -1;
}

static int need_value(const struct opt *o, struct err *err)
{
	return err_set(err, ERR_USAGE, "--%s needs a value: %s", o->name,
		       o->arg ? o->arg : "VALUE");
}

/* "--name", "--name=value", "--name value"; *@i moves on when the value is an element of its own. */
static int parse_long(const struct opt_set *set, int argc, char **argv, int *i, struct err *err)
{
	const char *name = argv[*i] + 2;
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;
	const struct opt *o = opt_find(set, 0, name, len);

	if (!o)
		return unknown_option(set, name, len, err);
	if (takes_none(o) && value)
		return err_set(err, ERR_USAGE, "--%s takes no value", o->name);
	if (!takes_none(o) && o->type != OPT_OPTIONAL && !value) {
		if (*i + 1 >= argc)
			return need_value(o, err);
		value = argv[++*i];
	}
	return set_value(set, o, value, err);
}

/* "-a", "-abc", "-ovalue", "-o value". An optional value with choices has none in the one-letter form, so
 * that -p can be bundled. */
static int parse_letters(const struct opt_set *set, int argc, char **argv, int *i, struct err *err)
{
	for (const char *s = argv[*i] + 1; *s; s++) {
		const struct opt *o = opt_find(set, *s, NULL, 0);
		const char *value = NULL;

		if (!o)
			return err_set(err, ERR_USAGE, "unknown option '-%c'", *s);
		if (takes_none(o) || (o->type == OPT_OPTIONAL && (o->choices || !s[1]))) {
			if (set_value(set, o, NULL, err) < 0)
				return -1;
			continue;
		}
		value = s[1] ? s + 1 : NULL;
		if (!value) {
			if (*i + 1 >= argc)
				return need_value(o, err);
			value = argv[++*i];
		}
		return set_value(set, o, value, err);
	}
	return 0;
}

/* One command line a process */
static int before_dashes = -1;

int opt_before_dashes(void)
{
	return before_dashes;
}

int opt_parse(const struct opt_set *set, int argc, char **argv, bool until_argument,
	      char **ret_args, int *ret_n, int *ret_used, struct err *err)
{
	int i, n = 0;

	before_dashes = -1;
	for (i = 0; i < argc; i++) {
		const char *a = argv[i];
		int rc = 0;

		if (!strcmp(a, "--")) {
			i++;
			before_dashes = n;
			while (!until_argument && i < argc)
				ret_args[n++] = argv[i++];
			break;
		}
		/* -10G is a number, unless the verb has an option of that digit */
		if (a[0] != '-' || !a[1] ||
		    (isdigit((unsigned char)a[1]) && !opt_find(set, a[1], NULL, 0))) {
			if (until_argument)
				break;
			ret_args[n++] = argv[i];
		} else if (a[1] == '-') {
			rc = parse_long(set, argc, argv, &i, err);
		} else {
			rc = parse_letters(set, argc, argv, &i, err);
		}
		if (rc < 0)
			return -1;
	}
	*ret_n = n;
	*ret_used = i;
	return 0;
}

/* password-file in the table is password_file in the configuration. */
static const char *from_config(const struct opt *o)
{
	char key[64];

	(void)snprintf(key, sizeof(key), "%s", o->name);
	for (char *s = key; *s; s++)
		if (*s == '-')
			*s = '_';
	return config_get(key);
}

void opt_defaults(const struct opt_set *set)
{
	for (size_t t = 0; t < OPT_TABLES_MAX; t++)
		for (const struct opt *o = set->tables[t]; o && o->name; o++) {
			const char *value = o->env && o->type == OPT_STRING ? getenv(o->env) : NULL;

			if (!o->env || o->type != OPT_STRING)
				continue;
			if (!value || !*value)
				value = from_config(o);
			if (value)
				*(const char **)o->value = value;
		}
}

bool opt_has_env(const struct opt_set *set)
{
	for (size_t t = 0; t < OPT_TABLES_MAX; t++)
		for (const struct opt *o = set->tables[t]; o && o->name; o++)
			if (o->env)
				return true;
	return false;
}

static size_t value_size(const struct opt *o)
{
	switch (o->type) {
	case OPT_FLAG:
		return sizeof(bool);
	case OPT_COUNT:
	case OPT_UINT:
		return sizeof(unsigned);
	case OPT_LIST:
		return sizeof(struct opt_list);
	case OPT_SIZE:
	case OPT_DURATION:
		return sizeof(uint64_t);
	case OPT_STRING:
	case OPT_CHOICE:
	case OPT_OPTIONAL:
		break;
	}
	return sizeof(const char *);
}

/* A saved value has the room of the largest kind. */
union opt_saved {
	struct opt_list list;
	uint64_t number;
	const char *text;
};

static size_t exchange(const struct opt_set *set, union opt_saved *saved, bool store)
{
	size_t n = 0;

	for (size_t t = 0; t < OPT_TABLES_MAX; t++)
		for (const struct opt *o = set->tables[t]; o && o->name; o++, n++) {
			if (saved && store)
				memcpy(&saved[n], o->value, value_size(o));
			else if (saved)
				memcpy(o->value, &saved[n], value_size(o));
			if (saved && store && o->type == OPT_LIST)
				*(struct opt_list *)o->value = (struct opt_list){0};
		}
	return n;
}

union opt_saved *opt_save(const struct opt_set *set)
{
	union opt_saved *saved = calloc(exchange(set, NULL, false) + 1, sizeof(*saved));

	if (saved)
		exchange(set, saved, true);
	return saved;
}

void opt_restore(const struct opt_set *set, union opt_saved *saved)
{
	opt_release(set);
	exchange(set, saved, false);
	free(saved);
}

void opt_release(const struct opt_set *set)
{
	for (size_t t = 0; t < OPT_TABLES_MAX; t++)
		for (const struct opt *o = set->tables[t]; o && o->name; o++)
			if (o->type == OPT_LIST) {
				struct opt_list *l = o->value;

				free(l->items);
				*l = (struct opt_list){0};
			}
}
