/* What a command in a guest needs here: the console's protocol, archives, the order of modules, a kernel's release. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "libcommon/base/bytes.h"
#include "libcommon/runner/cpio.h"
#include "libcommon/runner/linux.h"
#include "libcommon/runner/modules.h"
#include "libcommon/runner/virtio_console.h"

enum { MEMORY = 2 << 20, RINGS = 0x10000, RING_SPACE = 0x4000, BUFFERS = 0x100000, QSIZE = 8 };
enum {
	CONTROL_RX = 2,
	CONTROL_TX = 3,
	INPUT_RX = 4,
	OUTPUT_TX = 7,
	STATUS_TX = 1,
	SIGNALS_RX = 0,
	WRITE = 2
};

struct fake {
	struct guest_memory mem;
	struct pci_bus bus;
	struct virtio_console c;
	int in[2], out[2];
	unsigned wakes;
	uint16_t offered[16];
};

static const struct irq_sink nobody;

static void on_wake(void *ctx)
{
	((struct fake *)ctx)->wakes++;
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static uint8_t *at(struct fake *f, uint64_t addr)
{
	return f->mem.region[0].host + addr;
}

static int start(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));

	if (!f || guest_memory_create(&f->mem, MEMORY, NULL) < 0 || pipe(f->in) < 0 ||
	    pipe(f->out) < 0 ||
	    virtio_console_init(&f->c, f->in[0], f->out[1], f->out[1], &f->mem, NULL) < 0)
		return -1;
	f->c.wake = on_wake;
	f->c.give_up = never;
	f->c.ctx = f;
	pci_bus_init(&f->bus, &nobody);
	if (!pci_bus_add(&f->bus, &f->c.dev.pci))
		return -1;
	for (unsigned i = 0; i < f->c.dev.queues; i++) {
		struct virtq *q = &f->c.dev.queue[i].ring;

		q->size = QSIZE;
		q->desc = RINGS + RING_SPACE * i;
		q->avail = q->desc + 0x1000;
		q->used = q->desc + 0x2000;
		if (!virtq_enable(q))
			return -1;
	}
	atomic_store(&f->c.dev.status, VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fake *f = *state;

	virtio_stop(&f->c.dev);
	guest_memory_destroy(&f->mem);
	for (int i = 0; i < 2; i++) {
		(void)close(f->in[i]);
		(void)close(f->out[i]);
	}
	free(f);
	return 0;
}

static uint8_t *buffer(struct fake *f, unsigned queue, unsigned i)
{
	return at(f, BUFFERS + 0x4000 * queue + 0x400 * i);
}

/* The driver offers a buffer: to read from, or to fill */
static void offer(struct fake *f, unsigned queue, const void *data, uint32_t len)
{
	uint8_t *d, *ring = at(f, RINGS + RING_SPACE * queue);
	unsigned i = f->offered[queue] % QSIZE;

	d = ring + 16 * i;
	put_le64(d, BUFFERS + 0x4000 * queue + 0x400 * i);
	put_le32(d + 8, len);
	put_le16(d + 12, data ? 0 : WRITE);
	if (data)
		memcpy(buffer(f, queue, i), data, len);
	put_le16(ring + 0x1000 + 4 + 2 * i, (uint16_t)i);
	put_le16(ring + 0x1000 + 2, ++f->offered[queue]);
}

static void send_control(struct fake *f, uint32_t port, uint16_t event, uint16_t value)
{
	uint8_t m[8];

	put_le32(m, port);
	put_le16(m + 4, event);
	put_le16(m + 6, value);
	offer(f, CONTROL_TX, m, sizeof(m));
	assert_int_equal(virtio_serve(&f->c.dev.queue[CONTROL_TX]), 1);
}

/* The next message to the driver */
static void expect(struct fake *f, uint32_t port, uint16_t event, uint16_t value)
{
	unsigned i = f->offered[CONTROL_RX] % QSIZE;

	offer(f, CONTROL_RX, NULL, 64);
	assert_int_equal(virtio_serve(&f->c.dev.queue[CONTROL_RX]), 1);
	assert_int_equal(get_le32(buffer(f, CONTROL_RX, i)), port);
	assert_int_equal(get_le16(buffer(f, CONTROL_RX, i) + 4), event);
	assert_int_equal(get_le16(buffer(f, CONTROL_RX, i) + 6), value);
}

static void ports_are_added(void **state)
{
	struct fake *f = *state;

	send_control(f, 0, 0, 1);
	for (uint32_t i = 0; i < CONSOLE_PORTS; i++)
		expect(f, i, 1, 0);
	send_control(f, 2, 3, 1);
	expect(f, 2, 7, 0);
	assert_memory_equal(buffer(f, CONTROL_RX, 4) + 8, "vmrun.2", 7);
	expect(f, 2, 6, 1);
	/* Ports that are not there, and messages that are too short */
	send_control(f, 4, 3, 1);
	send_control(f, UINT32_MAX, 6, 1);
	send_control(f, 1, 99, 1);
	offer(f, CONTROL_RX, NULL, 64);
	assert_int_equal(virtio_serve(&f->c.dev.queue[CONTROL_RX]), 0);
	for (unsigned i = 0; i < 1000; i++) /* a guest that asks on and on costs nothing */
		send_control(f, 0, 0, 1);
	assert_int_equal(f->c.messages, CONSOLE_MESSAGES_MAX);
	offer(f, CONTROL_TX, "short", 5);
	assert_int_equal(virtio_serve(&f->c.dev.queue[CONTROL_TX]), 0);
	assert_true(atomic_load(&f->c.dev.status) & VIRTIO_NEEDS_RESET);
}

static void input_waits_for_the_guest(void **state)
{
	struct fake *f = *state;

	assert_int_equal(write(f->in[1], "hello", 5), 5);
	offer(f, INPUT_RX, NULL, 3);
	assert_int_equal(virtio_serve(&f->c.dev.queue[INPUT_RX]),
			 0); /* nobody has opened the port */
	send_control(f, 1, 6, 1);
	offer(f, INPUT_RX, NULL, 100);
	assert_int_equal(virtio_serve(&f->c.dev.queue[INPUT_RX]), 2);
	assert_memory_equal(buffer(f, INPUT_RX, 0), "hel", 3);
	assert_memory_equal(buffer(f, INPUT_RX, 1), "lo", 2);
	offer(f, INPUT_RX, NULL, 100);
	assert_int_equal(virtio_serve(&f->c.dev.queue[INPUT_RX]), 0);
	assert_true(atomic_load(&f->c.input_wanted));
	assert_int_equal(f->wakes, 1);
	(void)close(f->in[1]);
	f->in[1] = -1;
	virtio_console_input(&f->c);
	assert_int_equal(virtio_serve(&f->c.dev.queue[INPUT_RX]), 0);
	expect(f, 1, 6, 0); /* the end, once */
	assert_int_equal(virtio_serve(&f->c.dev.queue[INPUT_RX]), 0);
	assert_int_equal(f->c.messages, 0);
}

static void output_and_a_reader_that_goes(void **state)
{
	struct fake *f = *state;
	char got[16] = "";

	offer(f, OUTPUT_TX, "words", 5);
	assert_int_equal(virtio_serve(&f->c.dev.queue[OUTPUT_TX]), 1);
	assert_int_equal(read(f->out[0], got, sizeof(got)), 5);
	assert_string_equal(got, "words");
	(void)close(f->out[0]);
	f->out[0] = -1;
	offer(f, OUTPUT_TX, "more", 4);
	offer(f, OUTPUT_TX, "more", 4);
	assert_int_equal(virtio_serve(&f->c.dev.queue[OUTPUT_TX]), 2);
	expect(f, 2, 6, 0);
	assert_int_equal(f->c.messages, 0);
}

enum { MUCH = 400000 };

/* Reads a little at a time, so that the pipe is full over and over */
static void *slow_reader(void *arg)
{
	static uint8_t got[2 * MUCH];
	size_t n = 0;

	while (n < sizeof(got)) {
		ssize_t k = read(*(int *)arg, got + n, 7001);

		if (k <= 0)
			return NULL;
		n += (size_t)k;
	}
	for (size_t i = 0; i < n; i++)
		if (got[i] != (uint8_t)(i % MUCH * 31 >> 3))
			return NULL;
	return got;
}

/* By calls that do not wait, where the kernel has them for pipes, and without */
static void more_than_a_pipe_holds(void **state)
{
	struct fake *f = *state;
	uint8_t *ring = at(f, RINGS + RING_SPACE * OUTPUT_TX), *data = buffer(f, OUTPUT_TX, 0);
	pthread_t reader;
	void *good = NULL;

	assert_int_equal(pthread_create(&reader, NULL, slow_reader, &f->out[0]), 0);
	for (unsigned turn = 0; turn < 2; turn++) {
		atomic_store(&f->c.no_nowait, turn);
		f->offered[OUTPUT_TX] = (uint16_t)(QSIZE * turn); /* the first descriptor again */
		offer(f, OUTPUT_TX, "", 0);
		f->offered[OUTPUT_TX] = (uint16_t)(turn + 1);
		put_le32(ring + 8, MUCH);
		for (size_t i = 0; i < MUCH; i++)
			data[i] = (uint8_t)(i * 31 >> 3);
		put_le16(ring + 0x1000 + 4 + 2 * turn, 0);
		put_le16(ring + 0x1000 + 2, (uint16_t)(turn + 1));
		assert_int_equal(virtio_serve(&f->c.dev.queue[OUTPUT_TX]), 1);
	}
	assert_int_equal(pthread_join(reader, &good), 0);
	assert_non_null(good);
}

static void status_and_signals(void **state)
{
	struct fake *f = *state;
	static const char *const bad[] = {
		"status 256\n",
		"status -1\n",
		"status\n",
		"status 1x\n",
		"state 3\n",
		"0123456789012345678901234567890123456789012345678901234567890123456789\n"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		offer(f, STATUS_TX, bad[i], (uint32_t)strlen(bad[i]));
		assert_int_equal(virtio_serve(&f->c.dev.queue[STATUS_TX]), 1);
		assert_int_equal(virtio_console_status(&f->c), -1);
	}
	offer(f, STATUS_TX, "stat", 4);
	offer(f, STATUS_TX, "us 42\n", 6);
	assert_int_equal(virtio_serve(&f->c.dev.queue[STATUS_TX]), 2);
	assert_int_equal(virtio_console_status(&f->c), 42);
	assert_false(virtio_console_signal(&f->c, 2)); /* not before the port is open */
	send_control(f, 0, 6, 1);
	offer(f, SIGNALS_RX, NULL, 16);
	assert_int_equal(virtio_serve(&f->c.dev.queue[SIGNALS_RX]), 0);
	assert_true(virtio_console_signal(&f->c, 15));
	assert_int_equal(virtio_serve(&f->c.dev.queue[SIGNALS_RX]), 1);
	assert_int_equal(*buffer(f, SIGNALS_RX, 0), 15);
}

/* A kernel that powers off resets its devices: what the command said last waits in the queue still, and its status */
static void reset_keeps_output(void **state)
{
	struct fake *f = *state;
	char got[16] = "";

	for (unsigned i = 0; i < 3; i++)
		offer(f, OUTPUT_TX, "last ", 5);
	offer(f, STATUS_TX, "status 3\n", 9);
	offer(f, INPUT_RX, NULL, 16);
	assert_int_equal(write(f->in[1], "input", 5), 5);
	f->c.open[0] = true;
	assert_true(virtio_console_signal(&f->c, SIGTERM));
	virtio_set_status(&f->c.dev, 0);
	assert_int_equal(fcntl(f->out[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(f->out[0], got, sizeof(got)), 15);
	assert_string_equal(got, "last last last ");
	assert_int_equal(virtio_console_status(&f->c), 3);
	assert_int_equal(read(f->in[0], got, sizeof(got)), 5); /* nobody took it */
	assert_false(virtio_console_signal(&f->c, SIGTERM));   /* nor would a signal */
	virtio_set_status(&f->c.dev, 0);		       /* once more, with no queue */
	assert_int_equal(read(f->out[0], got, sizeof(got)), -1);
}

static bool always(void *ctx)
{
	(void)ctx;
	return true;
}

/* A guest's queue of 256 chains of 64 GB each must not keep a thread of ours for a day */
static void a_drain_ends(void **state)
{
	struct fake *f = *state;
	static uint8_t many[5000];
	struct virtq_chain c = {
		.readable = 1, .readable_len = sizeof(many), .iov = {{many, sizeof(many)}}};

	assert_int_equal(f->c.dev.type->request(&f->c.dev, STATUS_TX, &c), VIRTIO_BAD);
	for (unsigned i = 0; i < 3; i++)
		offer(f, OUTPUT_TX, "word ", 5);
	f->c.give_up = always;
	assert_int_equal(virtio_serve(&f->c.dev.queue[OUTPUT_TX]), 1);
	f->c.give_up = never;
	assert_int_equal(virtio_serve(&f->c.dev.queue[OUTPUT_TX]), 2);
}

/* ---- archives, modules */

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof(folder), "/tmp/vmkit-unit-%d", (int)getpid());
	return mkdir(folder, 0700);
}

static const char *path_of(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void make_file(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	(void)fputs(text, f);
	(void)fclose(f);
}

static int remove_folder(void **state)
{
	static const char *const names[] = {"tree/b", "tree/a/file", "tree/a",
					    "tree",   "modules.dep", "kernel"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)remove(path_of(names[i]));
	return rmdir(folder);
}

static void archive_of_a_tree(void **state)
{
	static const char *const want[] = {"a", "a/file", "b", "extra", "TRAILER!!!"};
	struct cpio c = {.out = tmpfile()};
	struct err err = ERR_INIT;
	static uint8_t data[8192];
	size_t len, pos = 0;

	(void)state;
	(void)mkdir(path_of("tree"), 0755);
	(void)mkdir(path_of("tree/a"), 0755);
	make_file("tree/a/file", "seven..");
	assert_int_equal(symlink("a/file", path_of("tree/b")), 0);
	assert_int_equal(cpio_tree(&c, path_of("tree"), &err), 0);
	assert_int_equal(cpio_entry(&c, "extra", S_IFREG | 0600, "x", 1, &err), 0);
	assert_int_equal(cpio_finish(&c, &err), 0);
	rewind(c.out);
	len = fread(data, 1, sizeof(data), c.out);
	assert_int_equal(len, c.written);
	assert_int_equal(linux_check_initrd(data, len, &err), 0);
	for (size_t i = 0; i < 5; i++) {
		char size[9] = "";

		assert_true(pos + 110 < len);
		assert_string_equal((char *)data + pos + 110, want[i]);
		memcpy(size, data + pos + 54, 8);
		assert_int_equal(strtoul(size, NULL, 16), i == 1 ? 7 : i == 2 ? 6 : i == 3 ? 1 : 0);
		pos = (pos + 110 + strlen(want[i]) + 1 + 3) & ~(size_t)3;
		if (i == 1)
			assert_memory_equal(data + pos, "seven..", 7);
		if (i == 2)
			assert_memory_equal(data + pos, "a/file", 6);
		pos = (pos + strtoul(size, NULL, 16) + 3) & ~(size_t)3;
	}
	(void)fclose(c.out);
	assert_int_equal(cpio_tree(&c, path_of("nothing"), &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void modules_in_order(void **state)
{
	struct modules m = {.n = 0};
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(modules_add(&m, folder, "a", &err),
			 0); /* no modules.dep: all is built in */
	assert_int_equal(m.n, 0);
	make_file(
		"modules.dep",
		"k/virtio.ko.xz:\nk/virtio-rng.ko: k/virtio.ko.xz k/ring.ko\nk/ring.ko:\n"
		"k/virtio_rng_not.ko: k/none.ko\nbroken line\nk/blk.ko: k/virtio.ko.xz k/ring.ko");
	assert_int_equal(modules_add(&m, folder, "virtio_rng", &err), 0);
	assert_int_equal(modules_add(&m, folder, "blk", &err), 0);
	assert_int_equal(modules_add(&m, folder, "unknown", &err), 0);
	assert_int_equal(m.n, 4);
	assert_string_equal(m.path[0], "k/ring.ko");
	assert_string_equal(m.path[1], "k/virtio.ko.xz");
	assert_string_equal(m.path[2], "k/virtio-rng.ko");
	assert_string_equal(m.path[3], "k/blk.ko");
	modules_free(&m);
}

static void kernels_release(void **state)
{
	char v[KERNEL_VERSION_MAX];
	uint8_t k[0x400] = {0};
	struct err err = ERR_INIT;
	FILE *f;

	(void)state;
	memcpy(k + 0x202, "HdrS", 4);
	put_le16(k + 0x20e, 0x100);
	memcpy(k + 0x300, "6.1.0-test (someone)", 21);
	for (int i = 0; i < 3; i++) {
		if (i == 1)
			memcpy(k + 0x300, "../x", 5); /* no path */
		if (i == 2)
			put_le16(k + 0x20e, 0xffff); /* beyond the end */
		f = fopen(path_of("kernel"), "w");
		assert_int_equal(fwrite(k, 1, sizeof(k), f), sizeof(k));
		(void)fclose(f);
		assert_int_equal(kernel_version(path_of("kernel"), v, &err), 0);
		assert_string_equal(v, i == 0 ? "6.1.0-test" : "");
	}
	assert_int_equal(kernel_version(path_of("nothing"), v, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ports_are_added, start, end),
		cmocka_unit_test_setup_teardown(input_waits_for_the_guest, start, end),
		cmocka_unit_test_setup_teardown(output_and_a_reader_that_goes, start, end),
		cmocka_unit_test_setup_teardown(more_than_a_pipe_holds, start, end),
		cmocka_unit_test_setup_teardown(status_and_signals, start, end),
		cmocka_unit_test_setup_teardown(reset_keeps_output, start, end),
		cmocka_unit_test_setup_teardown(a_drain_ends, start, end),
		cmocka_unit_test(archive_of_a_tree),
		cmocka_unit_test(modules_in_order),
		cmocka_unit_test(kernels_release),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
