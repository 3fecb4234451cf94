/* The manual page of a program, from the tables that drive its options: man(7) source on standard output. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/cli/internal.h"

/* Text of a paragraph: what roff would take for itself is escaped. */
static void text(FILE *out, const char *s)
{
	bool line_start = true;

	for (; *s; s++) {
		if (line_start && (*s == '.' || *s == '\''))
			(void)fputs("\\&", out);
		if (*s == '\\')
			(void)fputs("\\e", out);
		else if (*s == '-')
			(void)fputs("\\-", out);
		else if (s[0] == '\n' && s[1] == '\n') {
			(void)fputs("\n.PP", out);
			continue;
		} else
			(void)fputc(*s, out);
		line_start = *s == '\n';
	}
}

static void paragraph(FILE *out, const char *macro, const char *s)
{
	(void)fprintf(out, "%s\n", macro);
	text(out, s);
	(void)fputc('\n', out);
}

/* "-f, --format FORMAT" with the names in bold and the value in italics. */
static void option_head(FILE *out, const struct opt *o)
{
	const char *arg = o->arg ? o->arg : o->choices ? o->choices : "VALUE";

	(void)fputs(".TP\n", out);
	if (o->letter)
		(void)fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
	(void)fputs("\\fB\\-\\-", out);
	text(out, o->name);
	(void)fputs("\\fR", out);
	if (o->type != OPT_FLAG && o->type != OPT_COUNT) {
		(void)fputs(o->type == OPT_OPTIONAL ? "[=\\fI" : " \\fI", out);
		text(out, arg);
		(void)fputs(o->type == OPT_OPTIONAL ? "\\fR]" : "\\fR", out);
	}
	(void)fputc('\n', out);
}

static void options(FILE *out, const struct opt *table)
{
	for (const struct opt *o = table; o && o->name; o++) {
		if (o->hidden)
			continue;
		option_head(out, o);
		text(out, o->help);
		if (o->env) {
			(void)fputs("; default: $", out);
			text(out, o->env);
		}
		(void)fputs(".\n", out);
	}
}

static void statuses(FILE *out, const char *list)
{
	const char *pos = list;
	char buf[256];

	while (help_next_status(&pos, buf, sizeof(buf))) {
		size_t n = strcspn(buf, " ");

		(void)fprintf(out, ".TP\n\\fB%.*s\\fR\n", (int)n, buf);
		text(out, buf[n] ? buf + n + 1 : "");
		(void)fputc('\n', out);
	}
}

static void example(FILE *out, const char *s)
{
	text(out, s);
	(void)fputc('\n', out);
}

static void examples(FILE *out, const char *const *list)
{
	(void)fputs(".PP\n.RS 4\n.nf\n", out);
	for (size_t i = 0; list && list[i]; i++)
		example(out, list[i]);
	(void)fputs(".fi\n.RE\n", out);
}

static void verb(FILE *out, const struct program *p, const struct verb *v)
{
	(void)fputs(".SS ", out);
	text(out, v->name);
	(void)fprintf(out, "\n.B %s ", p->name);
	text(out, v->name);
	(void)fputc('\n', out);
	text(out, v->usage);
	(void)fputc('\n', out);
	paragraph(out, ".PP", v->summary);
	if (v->details)
		paragraph(out, ".PP", v->details);
	options(out, v->options);
	(void)fputs(".PP\nExit status:\n", out);
	statuses(out, v->statuses);
	(void)fputs(".PP\nExamples:\n", out);
	examples(out, v->examples);
}

/* Reproducible: the date is SOURCE_DATE_EPOCH's or none. */
static void head(FILE *out, const struct program *p)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	char date[32] = "";
	struct tm tm;

	if (epoch && *epoch) {
		time_t t = (time_t)strtoll(epoch, NULL, 10);

		if (gmtime_r(&t, &tm))
			(void)strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	}
	(void)fputs(".TH ", out);
	for (const char *s = p->name; *s; s++)
		(void)fputc(*s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s, out);
	(void)fprintf(out, " 1 \"%s\" \"vmkit %s\" \"vmkit\"\n.SH NAME\n%s \\- ", date,
		      VMKIT_VERSION, p->name);
	text(out, p->summary);
	(void)fprintf(out,
		      "\n.SH SYNOPSIS\n.B %s\n\\fIVERB\\fR [\\fIOPTIONS\\fR] \\fIARGUMENTS\\fR\n",
		      p->name);
	(void)fprintf(out,
		      ".PP\n\\fB%s\\fR \\fIVERB\\fR \\fB\\-\\-help\\fR\n.SH DESCRIPTION\n"
		      "Options and arguments come in any order; \\fB\\-\\-\\fR ends options. "
		      "\\fB\\-\\fR is standard input "
		      "or output.\nSizes are written 4096, 512M, 10G; multiples are binary.\n",
		      p->name);
}

static void environment(FILE *out, const struct opt *table)
{
	for (const struct opt *o = table; o && o->name; o++) {
		if (!o->env)
			continue;
		(void)fprintf(out, ".TP\n.B %s\nDefault of \\fB\\-\\-", o->env);
		text(out, o->name);
		(void)fputs("\\fR.\n", out);
	}
}

static bool in_environment(const struct opt *table)
{
	while (table && table->name && !table->env)
		table++;
	return table && table->name;
}

/* What the layers below the options look at */
static const char *const variables =
	".TP\n.B VMKIT_HOLES\nWhen set (to \\fBread\\fR, say), files are read whole, whatever the "
	"file system "
	"says about holes. ZFS before 2.1.14 and 2.2.2, which is known to take new data for holes, "
	"is "
	"never asked.\n"
	".TP\n.B VMKIT_NBD_TIMEOUT\nSeconds that an NBD server may take for an answer.\n";

static void tail(FILE *out, const struct program *p)
{
	bool files = in_environment(p->options);

	(void)fputs(".SH EXIT STATUS\n", out);
	statuses(out, help_statuses);
	(void)fputs(".SH ENVIRONMENT\n", out);
	environment(out, p->options);
	for (size_t i = 0; p->verbs[i]; i++) {
		if (p->verbs[i]->hidden)
			continue;
		environment(out, p->verbs[i]->options);
		files = files || in_environment(p->verbs[i]->options);
	}
	(void)fputs(variables, out);
	if (files)
		(void)fputs(".SH FILES\n.TP\n.I /etc/vmkit.conf\n.TQ\n.I ~/.config/vmkit.conf\n"
			    "Lines of the form \\fIkey = value\\fR: defaults of the options that "
			    "the environment can give "
			    "too,\nwith \\fB_\\fR for \\fB\\-\\fR in their names. What follows a "
			    "line [PROGRAM] holds for that "
			    "program only.\nThe command line beats the environment, the "
			    "environment beats these files.\n",
			    out);
	(void)fputs(".SH EXAMPLES\n.nf\n", out);
	for (size_t i = 0; p->verbs[i]; i++)
		if (!p->verbs[i]->hidden && p->verbs[i]->examples && p->verbs[i]->examples[0])
			example(out, p->verbs[i]->examples[0]);
	(void)fputs(".fi\n", out);
	(void)fputs(".SH SEE ALSO\n", out);
	(void)fputs("\\fBvmimg\\fR(1), \\fBvmbackup\\fR(1), \\fBqemu\\-img\\fR(1)\n", out);
}

int man_page(const struct program *p, FILE *out)
{
	struct common c = {0};

	head(out, p);
	(void)fputs(".SH VERBS\n", out);
	for (size_t i = 0; p->verbs[i]; i++)
		if (!p->verbs[i]->hidden)
			verb(out, p, p->verbs[i]);
	if (p->options) {
		(void)fputs(".SH OPTIONS OF EVERY VERB\n", out);
		options(out, p->options);
	}
	(void)fputs(".SH COMMON OPTIONS\n\\fB\\-\\-json\\fR and \\fB\\-\\-progress\\fR where they "
		    "make sense.\n",
		    out);
	options(out, common_options(&c, true, true));
	if (p->man)
		p->man(out);
	tail(out, p);
	return 0;
}
