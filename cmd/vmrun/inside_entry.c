/* Configurations of boot loaders, as far as they name a kernel: see inside.h. What is computed when they run (variables) is left
 * out. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmrun/inside.h"

void inside_entry_release(struct inside_entry *e)
{
	free(e->kernel);
	free(e->options);
	free(e->initrds);
	*e = (struct inside_entry){.kernel = NULL};
}

/* The next line of @*text without blanks around it; @*text moves behind it. Return: NULL at the end */
static const char *next_line(const char **text, size_t *ret_len)
{
	const char *start = *text, *end = strchr(start, '\n');
	size_t len = end ? (size_t)(end - start) : strlen(start);

	if (!*start)
		return NULL;
	*text = end ? end + 1 : start + len;
	for (; len && isspace((unsigned char)*start); len--)
		start++;
	while (len && isspace((unsigned char)start[len - 1]))
		len--;
	*ret_len = len;
	return start;
}

static bool begins(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);

	return len >= n && strncmp(line, word, n) == 0 &&
	       (len == n || isspace((unsigned char)line[n]));
}

/* The word [@start, @n) of @out: without a "(hd0,1)" or "($root)" in front, and not at all when it holds a variable.
 * Return: where it ends now */
static size_t settle_word(char *out, size_t start, size_t n)
{
	char *close = out[start] == '(' ? memchr(out + start, ')', n - start) : NULL;

	if (close) {
		size_t rest = n - (size_t)(close + 1 - out);

		memmove(out + start, close + 1, rest);
		n = start + rest;
	}
	return memchr(out + start, '$', n - start) ? start : n;
}

/* Words from @line on, with one blank between them and without quotes. Return: owned, "" when there are none; NULL without
 * memory */
static char *words(const char *line, size_t len)
{
	char *out = calloc(1, len + 2);
	size_t n = 0, i = 0;

	while (out && i < len) {
		size_t start = n + (n > 0), at = start;

		for (; i < len && isspace((unsigned char)line[i]); i++)
			;
		for (; i < len && !isspace((unsigned char)line[i]); i++)
			if (line[i] != '"' && line[i] != '\'' && line[i] != '\\')
				out[at++] = line[i];
		at = settle_word(out, start, at);
		if (at == start)
			continue;
		if (start)
			out[start - 1] = ' ';
		n = at;
	}
	if (out)
		out[n] = '\0';
	return out;
}

/* "KERNEL OPTIONS" behind the word @skip bytes long */
static bool take_kernel(struct inside_entry *e, const char *line, size_t len, size_t skip)
{
	char *all = words(line + skip, len - skip), *blank;

	if (!all)
		return false;
	blank = strchr(all, ' ');
	if (blank)
		*blank = '\0';
	inside_entry_release(e);
	e->kernel = strdup(all);
	e->options = strdup(blank ? blank + 1 : "");
	e->initrds = strdup("");
	free(all);
	return e->kernel && e->options && e->initrds && *e->kernel;
}

static void take_initrds(struct inside_entry *e, const char *line, size_t len, size_t skip)
{
	char *all = words(line + skip, len - skip);

	if (!all)
		return;
	free(e->initrds);
	e->initrds = all;
}

static const char *const linux_words[] = {"linux", "linux16", "linuxefi"};
static const char *const initrd_words[] = {"initrd", "initrd16", "initrdefi"};

static size_t matches(const char *const *list, const char *line, size_t len)
{
	for (size_t i = 0; i < 3; i++)
		if (begins(line, len, list[i]))
			return strlen(list[i]);
	return 0;
}

/* set default="2": the number, else 0 (a name, or a variable that is only known when GRUB runs) */
static long wanted_entry(const char *text)
{
	size_t len;
	long wanted = 0;

	for (const char *line; (line = next_line(&text, &len));)
		if (begins(line, len, "set") && len > 12 && !strncmp(line + 4, "default=", 8)) {
			const char *v = line + 12 + (line[12] == '"' || line[12] == '\'');

			if (isdigit((unsigned char)*v))
				wanted = strtol(v, NULL, 10);
		}
	return wanted;
}

bool inside_grub(const char *text, struct inside_entry *ret)
{
	long wanted = wanted_entry(text), at = -1;
	int depth = 0;
	bool found = false, ours = false;
	size_t len, skip;

	*ret = (struct inside_entry){.kernel = NULL};
	for (const char *line; (line = next_line(&text, &len));) {
		bool entry = begins(line, len, "menuentry") || begins(line, len, "submenu");

		if (entry && depth == 0)
			at++;
		if (entry || (begins(line, len, "function") && line[len - 1] == '{'))
			depth++;
		else if (len == 1 && *line == '}' && depth)
			depth--;
		else if ((skip = matches(linux_words, line, len)) && ours && at == wanted)
			break; /* the second kernel of a menu in the menu */
		else if (skip && (!found || at == wanted)) {
			found = take_kernel(ret, line, len, skip);
			ours = at == wanted;
		} else if (found && !*ret->initrds && (skip = matches(initrd_words, line, len)))
			take_initrds(ret, line, len, skip);
	}
	if (!found)
		inside_entry_release(ret);
	return found;
}

bool inside_bls(const char *text, struct inside_entry *ret)
{
	struct inside_entry all = {.kernel = NULL};
	char *options = NULL;
	bool found = false;
	size_t len;

	*ret = (struct inside_entry){.kernel = NULL};
	for (const char *line; (line = next_line(&text, &len));) {
		if (begins(line, len, "linux"))
			found = take_kernel(ret, line, len, 5);
		else if (begins(line, len, "options") && !options)
			options = words(line + 7, len - 7);
		else if (begins(line, len, "initrd") && !all.initrds)
			take_initrds(&all, line, len, 6);
	}
	if (found && options) {
		free(ret->options);
		ret->options = options;
		options = NULL;
	}
	if (found && all.initrds) {
		free(ret->initrds);
		ret->initrds = all.initrds;
		all.initrds = NULL;
	}
	free(options);
	inside_entry_release(&all);
	if (!found)
		inside_entry_release(ret);
	return found;
}
