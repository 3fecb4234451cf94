/* The map of a pack's parity in memory. For parity.c and parity_heal.c. */
#ifndef VMKIT_REPO_PARITY_MAP_H
#define VMKIT_REPO_PARITY_MAP_H

#include "libcommon/repo/parity.h"

/** struct parity_map - shape and the hash of each data and extra block */
struct parity_map {
	struct parity_shape shape;
	uint32_t *hashes;
};

static inline uint32_t parity_hashes(const struct parity_shape *s)
{
	return s->data + s->extra * s->stride;
}

uint32_t parity_hash(const uint8_t block[PARITY_BLOCK]);

/** parity_map_encode() - shape.map blocks; owned */
int parity_map_encode(const struct parity_map *m, const uint8_t id[PACK_ID], uint8_t **ret,
		      struct err *err);

/** parity_map_shape() - from the head, @len bytes of which are there; Return: is it one of this pack, in bounds? */
bool parity_map_shape(const uint8_t *p, size_t len, const uint8_t id[PACK_ID],
		      struct parity_shape *ret);

/** parity_map_decode() - @p holds shape.map blocks. Return: 1 with owned hashes; 0 when it is damaged; -1 */
int parity_map_decode(const uint8_t *p, const struct parity_shape *shape, struct parity_map *ret,
		      struct err *err);

/** parity_matrix() - (shards + extra) rows of shards coefficients; owned */
uint8_t *parity_matrix(const struct parity_shape *s, struct err *err);

#endif
