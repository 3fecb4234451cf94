/* What is known of objects: they never change, so it holds until the next listing says otherwise. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/repo/backend_s3_private.h"

bool s3_is_pack(const char *name)
{
	return !strncmp(name, "packs", 5) && (name[5] == '/' || !name[5]);
}

static uint64_t hash_name(const char *name)
{
	uint64_t h = 14695981039346656037ULL;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 1099511628211ULL;
	return h;
}

/* Of an ETag with or without its quotes; 0 when there is none. */
uint64_t s3_hash_etag(const char *etag)
{
	char text[128];
	size_t len = strlen(etag);

	if (len > 1 && etag[0] == '"' && etag[len - 1] == '"') {
		etag++;
		len -= 2;
	}
	if (!len || len >= sizeof(text))
		return 0;
	memcpy(text, etag, len);
	text[len] = 0;
	return hash_name(text);
}

void s3_know(struct s3_backend *b, const char *name, const struct s3_facts *facts)
{
	uint64_t h = hash_name(name);

	pthread_mutex_lock(&b->known_lock);
	if (!b->known)
		b->known = calloc(S3_KNOWN, sizeof(*b->known));
	if (b->known)
		b->known[h % S3_KNOWN] =
			(struct s3_known){h, *facts, b->generation[s3_is_pack(name)] + 1};
	pthread_mutex_unlock(&b->known_lock);
}

bool s3_known(struct s3_backend *b, const char *name, struct s3_facts *ret)
{
	uint64_t h = hash_name(name);
	bool hit;

	pthread_mutex_lock(&b->known_lock);
	hit = b->known && b->known[h % S3_KNOWN].hash == h &&
	      b->known[h % S3_KNOWN].generation == b->generation[s3_is_pack(name)] + 1;
	if (hit)
		*ret = b->known[h % S3_KNOWN].facts;
	pthread_mutex_unlock(&b->known_lock);
	return hit;
}

void s3_forget_folder(struct s3_backend *b, const char *folder)
{
	pthread_mutex_lock(&b->known_lock);
	b->generation[s3_is_pack(folder)]++;
	pthread_mutex_unlock(&b->known_lock);
}
