/* The fish completion script: one complete command an option. */
#include "libcommon/cli/complete.h"

static void quoted(FILE *out, const char *s)
{
	(void)fputc('\'', out);
	for (; *s; s++) {
		if (*s == '\'' || *s == '\\')
			(void)fputc('\\', out);
		(void)fputc(*s, out);
	}
	(void)fputc('\'', out);
}

static void words(FILE *out, const struct program *p, enum complete_kind kind)
{
	if (complete_is_dynamic(kind))
		(void)fprintf(out, " -x -a '(__%s_dynamic %s)'", p->name, complete_kind_name(kind));
	else if (kind == COMPLETE_DIR)
		(void)fputs(" -x -a '(__fish_complete_directories)'", out);
	else if (kind == COMPLETE_FILE)
		(void)fputs(" -r -F", out);
	else
		(void)fputs(" -x", out);
}

static void option(FILE *out, const struct program *p, const char *condition, const struct opt *o)
{
	const char *pos = o->choices, *word;
	size_t len;

	(void)fprintf(out, "complete -c %s -n '%s' -l %s", p->name, condition, o->name);
	if (o->letter)
		(void)fprintf(out, " -s %c", o->letter);
	if (o->choices) {
		(void)fprintf(out, "%s -a '", o->type == OPT_OPTIONAL ? " -f" : " -x");
		while ((len = opt_next_choice(&pos, &word)))
			(void)fprintf(out, "%.*s ", (int)len, word);
		(void)fputc('\'', out);
	} else if (complete_takes_value(o)) {
		words(out, p, o->complete);
	}
	(void)fputs(" -d ", out);
	quoted(out, o->help);
	(void)fputc('\n', out);
}

static void options(FILE *out, const struct program *p, const char *condition,
		    const struct opt *table)
{
	for (const struct opt *o = table; o && o->name; o++)
		/* "-a" of an optional value would offer its words as arguments too: those stay out. */
		if (!o->hidden) {
			struct opt plain = *o;

			if (o->type == OPT_OPTIONAL)
				plain.choices = NULL;
			option(out, p, condition, &plain);
		}
}

/* Values typed for options that an environment variable can give too are handed to __complete in it. */
static void dynamic(FILE *out, const struct program *p)
{
	(void)fprintf(
		out,
		"function __%s_dynamic\n\tset -l words (commandline -opc)\n\tset -l settings\n"
		"\tfor i in (seq 2 (count $words))\n\t\tswitch $words[$i]\n",
		p->name);
	for (const struct opt *o = p->options; o && o->name; o++) {
		if (!o->env)
			continue;
		(void)fprintf(out, "\t\tcase --%s", o->name);
		if (o->letter)
			(void)fprintf(out, " -%c", o->letter);
		(void)fprintf(out,
			      "\n\t\t\tset -l next (math $i + 1)\n\t\t\tset -q words[$next]; and "
			      "set -a settings %s=$words[$next]\n"
			      "\t\tcase '--%s=*'\n\t\t\tset -a settings %s=(string split -m1 = -- "
			      "$words[$i])[2]\n",
			      o->env, o->name, o->env);
	}
	/* "--format=q" is one token: the words begin behind its "=" */
	(void)fprintf(out,
		      "\t\tend\n\tend\n\tset -l prefix (string replace -r '^--[^=]*=' '' -- "
		      "(commandline -ct))\n"
		      "\tenv $settings %s __complete $argv[1] \"$prefix\" 2>/dev/null\nend\n\n",
		      p->name);
}

static void verb(FILE *out, const struct program *p, const struct verb *v)
{
	struct common c = {0};
	char condition[128];

	/* The main verb's name may be left out: its options hold whenever no other verb is there */
	if (v == p->main_verb)
		(void)snprintf(condition, sizeof(condition), "__%s_is_main", p->name);
	else
		(void)snprintf(condition, sizeof(condition), "__fish_seen_subcommand_from %s",
			       v->name);
	options(out, p, condition, v->options);
	options(out, p, condition, common_options(&c, v->json, v->progress));
	(void)fprintf(out, "complete -c %s -n '%s'", p->name, condition);
	if (v->complete_args == COMPLETE_FILE)
		(void)fputs(" -F\n", out);
	else if (v->complete_args == COMPLETE_NONE)
		(void)fputs(" -f\n", out);
	else {
		words(out, p, v->complete_args);
		(void)fputc('\n', out);
	}
}

static void is_main(FILE *out, const struct program *p)
{
	(void)fprintf(out, "function __%s_is_main\n\tnot __fish_seen_subcommand_from --", p->name);
	for (size_t i = 0; p->verbs[i]; i++)
		if (!p->verbs[i]->hidden && p->verbs[i] != p->main_verb)
			(void)fprintf(out, " %s", p->verbs[i]->name);
	(void)fputs("\nend\n\n", out);
}

void complete_fish(const struct program *p, FILE *out)
{
	(void)fprintf(out, "# fish completion for %s, made by \"%s __completion fish\"\n\n",
		      p->name, p->name);
	dynamic(out, p);
	if (p->main_verb)
		is_main(out, p);
	(void)fprintf(out, "complete -c %s -n __fish_use_subcommand -f\n", p->name);
	for (size_t i = 0; p->verbs[i]; i++) {
		if (p->verbs[i]->hidden)
			continue;
		(void)fprintf(out, "complete -c %s -n __fish_use_subcommand -a %s -d ", p->name,
			      p->verbs[i]->name);
		quoted(out, p->verbs[i]->summary);
		(void)fputc('\n', out);
	}
	options(out, p, "true", p->options);
	for (size_t i = 0; p->verbs[i]; i++)
		if (!p->verbs[i]->hidden)
			verb(out, p, p->verbs[i]);
}
