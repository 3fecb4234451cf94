/* A bounded cache of decoded pages, shared by all threads that read one tree or several of one repository. */
#ifndef VMKIT_REPO_PAGE_CACHE_H
#define VMKIT_REPO_PAGE_CACHE_H

#include "libcommon/repo/page.h"
#include "libcommon/repo/store.h"

struct page_cache;

/** page_cache_new() - keeps up to @pages pages besides those in use; @st is borrowed */
int page_cache_new(struct page_cache **ret, struct store *st, unsigned pages, struct err *err);
void page_cache_free(struct page_cache *c);

/** page_cache_get() - any thread; *@ret is borrowed until page_cache_put(); ERR_NOT_FOUND, ERR_CORRUPT */
int page_cache_get(struct page_cache *c, const struct repo_id *id, unsigned level,
		   const struct page **ret, struct err *err);
void page_cache_put(struct page_cache *c, const struct page *p);

/** page_load() - read and decode one page past any cache; *@ret is owned: page_free() */
int page_load(struct store *st, const struct repo_id *id, unsigned level, struct page **ret,
	      struct err *err);

#endif
