/* The bash completion script. It needs nothing of the bash-completion package.
 *
 * bash cuts words at "=", ":" and "@", so the script looks at the line itself and takes off of each candidate
 * what stands before the last of these.
 */
#include "libcommon/cli/complete.h"

/* A case label for each way to write the option: "info:-f|info:--format|info:--format=" */
static void label(FILE *out, const char *verb, const struct opt *o)
{
	if (o->type == OPT_OPTIONAL) {
		(void)fprintf(out, "\t%s:--%s=)", verb, o->name);
		return;
	}
	(void)fprintf(out, "\t%s:--%s|%s:--%s=", verb, o->name, verb, o->name);
	if (o->letter)
		(void)fprintf(out, "|%s:-%c", verb, o->letter);
	(void)fputc(')', out);
}

static void choices(FILE *out, const struct opt *o)
{
	const char *pos = o->choices, *word;
	size_t len;

	while ((len = opt_next_choice(&pos, &word)))
		(void)fprintf(out, " %.*s", (int)len, word);
}

static void values(FILE *out, const char *verb, const struct opt *table)
{
	for (const struct opt *o = table; o && o->name; o++) {
		if (o->hidden || o->type == OPT_FLAG || o->type == OPT_COUNT)
			continue;
		label(out, verb, o);
		if (o->choices) {
			(void)fputs(" words=\"", out);
			choices(out, o);
			(void)fputs("\" ;;\n", out);
		} else {
			const char *kind = complete_kind_name(o->complete);

			(void)fprintf(out, " kind=%s ;;\n", kind ? kind : "none");
		}
	}
}

static void names(FILE *out, const struct opt *table)
{
	for (const struct opt *o = table; o && o->name; o++)
		if (!o->hidden)
			(void)fprintf(out, " --%s%s", o->name, complete_takes_value(o) ? "=" : "");
}

/* Options before the verb whose value is a word of its own; those with a variable hand it to __complete. */
static void program_options(FILE *out, const struct program *p)
{
	for (const struct opt *o = p->options; o && o->name; o++) {
		if (o->hidden || !complete_takes_value(o))
			continue;
		(void)fprintf(out, "\t\t--%s", o->name);
		if (o->letter)
			(void)fprintf(out, "|-%c", o->letter);
		(void)fputc(')', out);
		if (o->env)
			(void)fprintf(out, " environment+=(\"%s=${w[i+1]}\");", o->env);
		(void)fputs(" ((i++)) ;;\n", out);
		if (o->env)
			(void)fprintf(out, "\t\t--%s=*) environment+=(\"%s=${w[i]#*=}\") ;;\n",
				      o->name, o->env);
	}
}

static void verb_case(FILE *out, const struct program *p, const struct verb *v)
{
	struct common c = {0};
	const char *kind = complete_kind_name(v->complete_args);

	(void)fprintf(out, "\t%s)\n\t\toptions=\"", v->name);
	names(out, v->options);
	names(out, p->options);
	names(out, common_options(&c, v->json, v->progress));
	(void)fprintf(out, "\"\n\t\tkind=%s ;;\n", kind ? kind : "none");
}

static void tables(FILE *out, const struct program *p)
{
	struct common c = {0};

	(void)fprintf(
		out,
		"\n_%s_verb() # sets options and kind of arguments for a verb\n{\n\tcase $1 in\n",
		p->name);
	for (size_t i = 0; p->verbs[i]; i++)
		if (!p->verbs[i]->hidden)
			verb_case(out, p, p->verbs[i]);
	(void)fputs("\t'')\n\t\toptions=\"", out);
	names(out, p->options);
	names(out, common_options(&c, false, false));
	(void)fputs("\"\n\t\twords=\"", out);
	for (size_t i = 0; p->verbs[i]; i++)
		if (!p->verbs[i]->hidden)
			(void)fprintf(out, " %s", p->verbs[i]->name);
	(void)fprintf(out,
		      "\" ;;\n\tesac\n}\n\n"
		      "_%s_value() # sets words or kind for VERB:OPTION; fails when the option has "
		      "no value there\n"
		      "{\n\tcase $1 in\n",
		      p->name);
	for (size_t i = 0; p->verbs[i]; i++) {
		const struct verb *v = p->verbs[i];

		if (v->hidden)
			continue;
		values(out, v->name, v->options);
		values(out, v->name, common_options(&c, v->json, v->progress));
	}
	values(out, "*", p->options);
	(void)fputs("\t*) return 1 ;;\n\tesac\n}\n", out);
}

static const char body[] =
	"	local line=${COMP_LINE:0:COMP_POINT} verb= options= words= kind= cur i\n"
	"	local -a w environment=()\n"
	"	read -ra w <<<\"$line\"\n"
	"	[[ $line == *[[:blank:]] ]] && w+=(\"\")\n"
	"	cur=${w[${#w[@]}-1]}\n"
	"	COMPREPLY=()\n"
	"	for ((i = 1; i < ${#w[@]} - 1; i++)); do\n"
	"		case ${w[i]} in\n";

static const char body_loop_end[] = "		-*) ;;\n"
				    "		*) [[ -z $verb ]] && verb=${w[i]} ;;\n"
				    "		esac\n"
				    "	done\n";

static const char body_end[] =
	"	if [[ $cur == --*=* ]] && @_value \"$verb:${cur%%=*}=\"; then\n"
	"		cur=${cur#*=}\n"
	"	elif ((${#w[@]} > 2)) && @_value \"$verb:${w[${#w[@]}-2]}\"; then\n"
	"		:\n"
	"	else\n"
	"		@_verb \"$verb\"\n"
	"		[[ $cur == -* ]] && words=$options kind=\n"
	"	fi\n"
	"	case $kind in\n"
	"	file) compopt -o default; return ;;\n"
	"	dir) compopt -o dirnames; return ;;\n"
	"	none) return ;;\n"
	"	esac\n"
	"	if [[ -n $words ]]; then\n"
	"		mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	"	elif [[ -n $kind ]]; then\n"
	"		mapfile -t COMPREPLY < <(env \"${environment[@]}\" \"${w[0]/#\\~/$HOME}\" "
	"__complete \"$kind\" \"$cur\" "
	"2>/dev/null)\n"
	"	fi\n"
	"	local head=${cur%\"${cur##*[=:@]}\"}\n"
	"	[[ -n $head ]] && COMPREPLY=(\"${COMPREPLY[@]#\"$head\"}\")\n"
	"	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == --*= ]] && compopt -o nospace\n"
	"	return 0\n"
	"}\n\n";

void complete_bash(const struct program *p, FILE *out)
{
	(void)fprintf(out, "# bash completion for %s, made by \"%s __completion bash\"\n", p->name,
		      p->name);
	tables(out, p);
	(void)fprintf(out, "\n_%s()\n{\n%s", p->name, body);
	program_options(out, p);
	(void)fputs(body_loop_end, out);
	if (p->main_verb) /* its name may be left out */
		(void)fprintf(out, "\t[[ ${w[1]} == -* || ${w[1]} == *[./:]* ]] && verb=%s\n",
			      p->main_verb->name);
	for (const char *s = body_end; *s; s++) {
		if (s[0] == '@' && s[1] == '_')
			(void)fprintf(out, "_%s", p->name);
		else
			(void)fputc(*s, out);
	}
	(void)fprintf(out, "complete -F _%s %s\n", p->name, p->name);
}
