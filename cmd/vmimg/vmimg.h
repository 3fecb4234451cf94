/* The verbs of vmimg, one file each; main.c names them in its table. */
#ifndef VMKIT_VMIMG_H
#define VMKIT_VMIMG_H

#include "libcommon/cli/cli.h"
#include "libcommon/repo/repo.h"

extern const struct verb verb_cat;
extern const struct verb verb_check;
extern const struct verb verb_commit;
extern const struct verb verb_compare;
extern const struct verb verb_convert;
extern const struct verb verb_create;
extern const struct verb verb_digest;
extern const struct verb verb_get;
extern const struct verb verb_info;
extern const struct verb verb_inspect;
extern const struct verb verb_ls;
extern const struct verb verb_map;
extern const struct verb verb_measure;
extern const struct verb verb_put;
extern const struct verb verb_rebase;
extern const struct verb verb_resize;
extern const struct verb verb_sparsify;
extern const struct verb verb_serve;

/* For repo: names; asks when a repository is encrypted (serve.c) */
extern const struct repo_key_source vmimg_key;

#endif
