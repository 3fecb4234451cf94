/* The zsh completion script: one _arguments call a verb. */
#include <string.h>

#include "libcommon/cli/complete.h"

/* Inside of 'single quotes' and of [descriptions] and :messages: of _arguments. */
static void quoted(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\'')
			(void)fputs("'\\''", out);
		else if (strchr("[]:\\", *s))
			(void)fprintf(out, "\\%c", *s);
		else
			(void)fputc(*s, out);
	}
}

static void action(FILE *out, const struct program *p, enum complete_kind kind)
{
	if (kind == COMPLETE_FILE)
		(void)fputs("_files", out);
	else if (kind == COMPLETE_DIR)
		(void)fputs("_files -/", out);
	else if (complete_is_dynamic(kind))
		(void)fprintf(out, " _%s_dynamic %s", p->name, complete_kind_name(kind));
}

static void value(FILE *out, const struct program *p, const struct opt *o)
{
	const char *pos = o->choices, *word;
	size_t len;

	if (o->type == OPT_FLAG || o->type == OPT_COUNT)
		return;
	(void)fputs(o->type == OPT_OPTIONAL ? "::" : ":", out);
	quoted(out, o->arg ? o->arg : "VALUE");
	(void)fputc(':', out);
	if (!o->choices) {
		action(out, p, o->complete);
		return;
	}
	(void)fputc('(', out);
	while ((len = opt_next_choice(&pos, &word)))
		(void)fprintf(out, "%.*s ", (int)len, word);
	(void)fputc(')', out);
}

static void specification(FILE *out, const struct program *p, const struct opt *o, bool letter)
{
	bool repeats = o->type == OPT_LIST || o->type == OPT_COUNT;

	(void)fputs(" \\\n\t\t'", out);
	if (repeats)
		(void)fputc('*', out);
	else if (o->letter)
		(void)fprintf(out, "(-%c --%s)", o->letter, o->name);
	if (letter)
		(void)fprintf(out, "-%c%s", o->letter, complete_takes_value(o) ? "+" : "");
	else
		(void)fprintf(out, "--%s%s", o->name,
			      o->type == OPT_OPTIONAL	? "=-"
			      : complete_takes_value(o) ? "="
							: "");
	(void)fputc('[', out);
	quoted(out, o->help);
	(void)fputc(']', out);
	/* -p and its like have no value in the one-letter form. */
	if (!(letter && o->type == OPT_OPTIONAL))
		value(out, p, o);
	(void)fputc('\'', out);
}

static void specifications(FILE *out, const struct program *p, const struct opt *table)
{
	for (const struct opt *o = table; o && o->name; o++) {
		if (o->hidden)
			continue;
		if (o->letter)
			specification(out, p, o, true);
		specification(out, p, o, false);
	}
}

static void verb(FILE *out, const struct program *p, const struct verb *v)
{
	struct common c = {0};

	(void)fprintf(out, "\t(%s)\n\t\t_arguments -s -S", v->name);
	specifications(out, p, v->options);
	specifications(out, p, p->options);
	specifications(out, p, common_options(&c, v->json, v->progress));
	if (v->complete_args) {
		(void)fputs(" \\\n\t\t'*:argument:", out);
		action(out, p, v->complete_args);
		(void)fputc('\'', out);
	}
	(void)fputs(" ;;\n", out);
}

/* Values typed for options that an environment variable can give too are handed to __complete in it. */
static void dynamic(FILE *out, const struct program *p)
{
	(void)fprintf(out,
		      "_%s_dynamic() {\n\tlocal -a found settings\n\tlocal i\n\tlocal -a "
		      "line=(${(Q)${(z)BUFFER}})\n"
		      "\tfor ((i = 2; i <= $#line; i++)); do\n\t\tcase $line[i] in\n",
		      p->name);
	for (const struct opt *o = p->options; o && o->name; o++) {
		if (!o->env)
			continue;
		(void)fprintf(out, "\t\t(--%s", o->name);
		if (o->letter)
			(void)fprintf(out, "|-%c", o->letter);
		(void)fprintf(out, ") settings+=(\"%s=$line[i+1]\") ;;\n", o->env);
		(void)fprintf(out, "\t\t(--%s=*) settings+=(\"%s=${line[i]#*=}\") ;;\n", o->name,
			      o->env);
	}
	(void)fprintf(
		out,
		"\t\tesac\n\tdone\n"
		"\tfound=(${(f)\"$(env $settings %s __complete $1 \"$PREFIX\" 2>/dev/null)\"})\n"
		"\tcompadd -- $found\n}\n\n",
		p->name);
}

void complete_zsh(const struct program *p, FILE *out)
{
	struct common c = {0};

	(void)fprintf(out,
		      "#compdef %s\n# zsh completion for %s, made by \"%s __completion zsh\"\n\n",
		      p->name, p->name, p->name);
	dynamic(out, p);
	(void)fprintf(out,
		      "_%s() {\n\tlocal curcontext=\"$curcontext\" state\n\tlocal -a line verbs\n"
		      "\ttypeset -A opt_args\n",
		      p->name);
	if (p->main_verb) /* its name may be left out */
		(void)fprintf(out,
			      "\tif [[ $words[2] == -* || $words[2] == *[./:]* ]]; "
			      "then\n\t\twords=($words[1] %s "
			      "\"${(@)words[2,-1]}\")\n\t\t((CURRENT++))\n\tfi\n",
			      p->main_verb->name);
	(void)fputs("\t_arguments -C -S", out);
	specifications(out, p, p->options);
	specifications(out, p, common_options(&c, false, false));
	(void)fputs(" \\\n\t\t'1:verb:->verb' \\\n\t\t'*::argument:->arguments'\n\tcase $state "
		    "in\n\t(verb)\n"
		    "\t\tverbs=(\n",
		    out);
	for (size_t i = 0; p->verbs[i]; i++) {
		if (p->verbs[i]->hidden)
			continue;
		(void)fprintf(out, "\t\t\t'%s:", p->verbs[i]->name);
		quoted(out, p->verbs[i]->summary);
		(void)fputs("'\n", out);
	}
	(void)fputs("\t\t)\n\t\t_describe verb verbs\n\t\treturn ;;\n\tesac\n\tcase $line[1] in\n",
		    out);
	for (size_t i = 0; p->verbs[i]; i++)
		if (!p->verbs[i]->hidden)
			verb(out, p, p->verbs[i]);
	(void)fprintf(out, "\tesac\n}\n\n_%s \"$@\"\n", p->name);
}
