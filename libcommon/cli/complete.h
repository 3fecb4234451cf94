/* Between complete.c and the makers of the scripts. */
#ifndef VMKIT_CLI_COMPLETE_H
#define VMKIT_CLI_COMPLETE_H

#include "libcommon/cli/internal.h"

/** complete_is_dynamic() - are its words asked from "PROGRAM __complete KIND PREFIX" */
bool complete_is_dynamic(enum complete_kind kind);

/** complete_takes_value() - is the next word its value */
bool complete_takes_value(const struct opt *o);

void complete_bash(const struct program *p, FILE *out);
void complete_zsh(const struct program *p, FILE *out);
void complete_fish(const struct program *p, FILE *out);

#endif
