/* --help: everything that a user of a verb needs, in 80 columns, from the tables. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/cli/internal.h"

enum { OPTION_COLUMN = 28 };

const struct opt *common_options(struct common *c, bool json, bool progress)
{
	static struct opt
		table[8]; /* one command line a process; refilled for help of another verb */
	size_t n = 0;

	if (json)
		table[n++] = (struct opt){
			.name = "json",
			.type = OPT_OPTIONAL,
			.value = &c->json,
			.arg = "lines",
			.choices = "lines",
			.help = "print the result as JSON, or as one JSON object a line"};
	if (progress)
		table[n++] = (struct opt){.letter = 'p',
					  .name = "progress",
					  .type = OPT_OPTIONAL,
					  .value = &c->progress,
					  .choices = "bar|json|none",
					  .help = "show progress on a terminal (the default once "
						  "it takes long), as JSON "
						  "lines on standard error, or never"};
	table[n++] =
		(struct opt){'q', "quiet", OPT_FLAG, &c->quiet, .help = "no warnings, no progress"};
	table[n++] = (struct opt){'v', "verbose", OPT_COUNT, &c->verbose,
				  .help = "say what is going on; -vv says more"};
	table[n++] = (struct opt){'h', "help", OPT_FLAG, &c->help, .help = "show this help"};
	table[n++] = (struct opt){.name = "version",
				  .type = OPT_FLAG,
				  .value = &c->version,
				  .help = "show the version; with -v those of the libraries too"};
	table[n++] = (struct opt){.name = "debug-stderr-is-tty",
				  .type = OPT_FLAG,
				  .value = &c->stderr_is_tty,
				  .help = "treat standard error as a terminal",
				  .hidden = true};
	table[n] = (struct opt)OPT_END;
	return table;
}

static void blanks(FILE *out, unsigned n)
{
	(void)fprintf(out, "%*s", (int)n, "");
}

void help_wrap(FILE *out, unsigned col, unsigned indent, unsigned width, const char *text)
{
	bool empty = true; /* nothing on this line yet */

	if (col > indent) {
		(void)fputc('\n', out);
		col = 0;
	}
	while (*text) {
		size_t len = strcspn(text, " \n");

		if (*text == '\n' && !empty && text[1] && !strchr("\n ", text[1])) {
			text++; /* where the source's lines end says nothing */
			continue;
		}
		if (*text == '\n') { /* an empty line, or one that is set in, stays */
			(void)fputc('\n', out);
			col = 0;
			empty = true;
			text++;
			continue;
		}
		if (len == 0) {
			text++;
			continue;
		}
		if (!empty && col + 1 + len > width) {
			(void)fputc('\n', out);
			col = 0;
			empty = true;
		}
		if (empty) {
			blanks(out, indent - col);
			col = indent;
		} else {
			(void)fputc(' ', out);
			col++;
		}
		(void)fwrite(text, 1, len, out);
		col += (unsigned)len;
		text += len;
		empty = false;
	}
	(void)fputc('\n', out);
}

void help_option_form(const struct opt *o, char *buf, size_t len)
{
	const char *arg = o->arg ? o->arg : o->choices ? o->choices : "VALUE";
	bool none = o->type == OPT_FLAG || o->type == OPT_COUNT;
	char letter[5] = "    ";

	if (o->letter)
		(void)snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	if (none)
		(void)snprintf(buf, len, "%s--%s", letter, o->name);
	else if (o->type == OPT_OPTIONAL)
		(void)snprintf(buf, len, "%s--%s[=%s]", letter, o->name, arg);
	else
		(void)snprintf(buf, len, "%s--%s %s", letter, o->name, arg);
}

static void print_options(const struct opt *table, FILE *out)
{
	for (const struct opt *o = table; o && o->name; o++) {
		char form[256], text[1024];

		if (o->hidden)
			continue;
		help_option_form(o, form, sizeof(form));
		(void)snprintf(text, sizeof(text), "%s%s%s", o->help, o->env ? "; default: $" : "",
			       o->env ? o->env : "");

		int n = fprintf(out, "  %s", form);

		if (n + 2 > OPTION_COLUMN) {
			(void)fputc('\n', out);
			n = 0;
		}
		help_wrap(out, (unsigned)n, OPTION_COLUMN, HELP_WIDTH, text);
	}
}

static bool any_visible(const struct opt *table)
{
	for (const struct opt *o = table; o && o->name; o++)
		if (!o->hidden)
			return true;
	return false;
}

static void print_section(const char *title, const struct opt *table, FILE *out)
{
	if (!any_visible(table))
		return;
	(void)fprintf(out, "\n%s:\n", title);
	print_options(table, out);
}

bool help_next_status(const char **pos, char *buf, size_t len)
{
	const char *s = *pos, *end;

	while (s && (*s == ' ' || *s == ','))
		s++;
	if (!s || !*s)
		return false;
	/* A comma ends a meaning only when a number follows. */
	for (end = s; *end; end++)
		if (*end == ',' && end[1] == ' ' && end[2] >= '0' && end[2] <= '9')
			break;
	(void)snprintf(buf, len, "%.*s", (int)(end - s), s);
	*pos = end;
	return true;
}

const char *const help_statuses =
	"0 done, 1 failed, for none of the reasons below, 2 usage: nothing was touched, "
	"3 done, but the answer is no, or only a part is done, 4 not found, 5 exists already, "
	"6 busy or locked, 7 no connection, 8 corrupt, 9 unsupported, 10 time ran out, "
	"11 the base of an incremental is gone, 12 wrong key or no permission, 13 no space, "
	"128+N ended by signal N";

static void print_statuses(const char *statuses, FILE *out)
{
	const char *pos = statuses;
	char text[256];

	(void)fputs("\nExit status:\n", out);
	while (help_next_status(&pos, text, sizeof(text))) {
		size_t n = strcspn(text, " ");

		(void)fprintf(out, "  %-6.*s", (int)n, text);
		help_wrap(out, 8, 9, HELP_WIDTH, text + n);
	}
}

/* A command that is too long for the line goes on behind a backslash, as a shell would have it. */
static void print_example(const char *s, FILE *out)
{
	size_t indent = 2;

	while (strlen(s) > HELP_WIDTH - indent) {
		size_t cut = HELP_WIDTH - indent - 2;

		while (cut && s[cut] != ' ')
			cut--;
		if (!cut)
			break;
		(void)fprintf(out, "%*s%.*s \\\n", (int)indent, "", (int)cut, s);
		s += cut + 1;
		indent = 6;
	}
	(void)fprintf(out, "%*s%s\n", (int)indent, "", s);
}

void help_verb(const struct program *p, const struct verb *v, FILE *out)
{
	struct common c = {0};

	int n = fprintf(out, "Usage: %s %s ", p->name, v->name);

	if ((size_t)n + strlen(v->usage) <= HELP_WIDTH)
		(void)fprintf(out, "%s\n\n", v->usage);
	else {
		(void)fputc('\n', out);
		help_wrap(out, 0, 7, HELP_WIDTH, v->usage);
		(void)fputc('\n', out);
	}
	help_wrap(out, 0, 0, HELP_WIDTH, v->summary);
	if (v->details) {
		(void)fputc('\n', out);
		help_wrap(out, 0, 0, HELP_WIDTH, v->details);
	}
	print_section("Options", v->options, out);
	print_section("Options of every verb", p->options, out);
	print_section("Common options", common_options(&c, v->json, v->progress), out);
	(void)fputs("\nExamples:\n", out);
	for (size_t i = 0; v->examples && v->examples[i]; i++)
		print_example(v->examples[i], out);
	print_statuses(v->statuses, out);
}

void help_usage(const struct program *p, FILE *out)
{
	(void)fprintf(out, "Usage: %s VERB [OPTIONS] ARGUMENTS\n", p->name);
	if (p->main_verb)
		(void)fprintf(out, "       %s %s\n", p->name, p->main_verb->usage);
	(void)fputs("\nVerbs:\n", out);
	for (size_t i = 0; p->verbs[i]; i++) {
		if (p->verbs[i]->hidden)
			continue;
		(void)fprintf(out, "  %-12s", p->verbs[i]->name);
		help_wrap(out, 14, 16, HELP_WIDTH, p->verbs[i]->summary);
	}
	(void)fprintf(out, "\n%s VERB --help tells more.\n", p->name);
}

void help_program(const struct program *p, FILE *out)
{
	struct common c = {0};

	help_wrap(out, 0, 0, HELP_WIDTH, p->summary);
	(void)fputc('\n', out);
	help_usage(p, out);
	print_section("Options of every verb", p->options, out);
	print_section("Common options", common_options(&c, false, false), out);
	(void)fputs("\nExamples:\n", out);
	for (size_t i = 0, n = 0; p->verbs[i] && n < 4; i++)
		if (!p->verbs[i]->hidden && p->verbs[i]->examples && p->verbs[i]->examples[0]) {
			print_example(p->verbs[i]->examples[0], out);
			n++;
		}
	print_statuses(help_statuses, out);
}
