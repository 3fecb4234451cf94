/* A saved machine: a file with its memory, its processors and its devices.
 *
 *	file     = head memory layers sections
 *	head     = 4096 bytes: "VMKSTATE", version (u32), flags (u32: 1 memory is compressed, 2 it waits for a command),
 *	           guest memory (u64, bytes), memory (u64 offset, u64 length), sections (u64 offset, u64 length), length of the
 *	           file (u64), SHA-256 of the sections (64 hexadecimal digits), zeros, from 4032 on SHA-256 of the 4032 bytes
 *	           before it
 *	memory   = the bytes of guest memory in the order of their addresses, without the hole below 4 GiB, zero pages as holes
 *	         | units: for each MiB of it the length of a zstd frame (u32; 0: all zero), then these frames one after the other
 *	layers   = blocks of 4096 bytes of ephemeral disks, which "LAYR" sections place
 *	sections = { tag (4 bytes) index (u32) length (u64) bytes, zeros up to a multiple of 8 } ...
 *
 * Numbers are little endian. Sections: CONF (JSON: cpus, devices, network interfaces, shared folders, disks and their positions), CPID, VCPU (one a vCPU, of parts as
 * Linux's KVM interface has them), CHIP, PIT2, CLCK, SERL, LEGC, PCIB, PCID (one a slot), VIRT (one a slot), CONS, LAYR (one a
 * disk). All of it is hostile input: what does not fit is ERR_CORRUPT, and KVM itself checks what its structures hold.
 */
#ifndef VMKIT_RUNNER_STATE_H
#define VMKIT_RUNNER_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/runner/memory.h"
#include "libcommon/runner/net.h"

enum { STATE_HEAD = 4096, STATE_SECTIONS_MAX = 64 << 20, STATE_FILES_MAX = 64 };

/** struct state - an open file; all borrowed from it but what is said to be owned */
struct state {
	int fd;
	bool compressed, waits; /* waits: its init takes a command */
	uint64_t memory, memory_off, memory_len, sections_off;
	uint8_t *sections;
	size_t sections_len;
	json_t *conf;
	/* Read from conf */
	unsigned cpus;
	size_t n_disks, n_nets, n_shares;
};

/** state_open() - a file, checked but for guest memory; *@ret is owned: state_close(). ERR_CORRUPT, ERR_UNSUPPORTED (a
 *  later version), errors of opening; the error names the file */
int state_open(struct state **ret, const char *path, struct err *err);
void state_close(struct state *s);

/** state_disk() - a disk of CONF: image (string), mode ("write", "read-only", "ephemeral"), size, format, files */
const json_t *state_disk(const struct state *s, size_t i);

/** state_net() - a network interface of CONF: kind ("user", "tap", "fd"), and its address in @ret_mac */
const char *state_net(const struct state *s, size_t i, uint8_t ret_mac[NET_MAC]);

/** state_share() - a shared folder of CONF: tag, folder (strings), read_only, inode (integer) */
const json_t *state_share(const struct state *s, size_t i);

/** state_memory() - guest memory that holds what was saved: the file mapped, where it is not compressed */
int state_memory(const struct state *s, struct guest_memory *ret, struct err *err);

/* ---- sections, written */

struct state_out {
	uint8_t *data; /* owned: state_out_free() */
	size_t len, room;
	bool failed; /* no memory, or too much */
};

void state_out_free(struct state_out *o);

/** state_begin() - a section; Return: for state_end(). They do not nest */
size_t state_begin(struct state_out *o, const char tag[5], uint32_t index);
void state_end(struct state_out *o, size_t begun);

void state_put(struct state_out *o, const void *data, size_t len);
void state_put_int(struct state_out *o, uint64_t v); /* 8 bytes */

/* ---- sections, read */

struct state_in {
	const uint8_t *data;
	size_t len, at;
	bool failed; /* something was asked for that is not there */
};

/** state_find() - Return: false when there is no such section; then *@ret is empty and failed */
bool state_find(const struct state *s, const char tag[5], uint32_t index, struct state_in *ret);

/** state_get() - @len bytes into @to; zeros, and failed, when there are fewer left */
void state_get(struct state_in *in, void *to, size_t len);
uint64_t state_get_int(struct state_in *in);

/** state_done() - all was there and nothing is left; else ERR_CORRUPT, of section @tag */
int state_done(const struct state_in *in, const char *tag, struct err *err);

/* ---- the file, written (state_write.c) */

/** struct state_writer - for state_write_*(): zeroed, with @fd (an empty file, borrowed) and @compress set */
struct state_writer {
	int fd;
	bool compress, waits;
	bool (*give_up)(void *ctx); /* asked often; NULL: never */
	void *ctx;
	uint64_t memory, memory_len, at; /* @at: where the next layer lies */
};

/** state_write_memory() - the first; the guest stands still */
int state_write_memory(struct state_writer *w, const struct guest_memory *m, struct err *err);

/** state_write_end() - the last: sections, then the head, which makes it a state */
int state_write_end(struct state_writer *w, const struct state_out *sections, struct err *err);

#endif
