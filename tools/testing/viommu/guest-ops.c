// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random reads or writes of 4 KiB on a block device, past the page cache, so
 * many in flight at a time; or reads of a register that the VMM emulates, to tell
 * what the way there costs. Says when it starts to count and when it is done, for
 * host-count.
 *
 *   guest-ops DEVICE read|write DEPTH OPERATIONS
 *   guest-ops ADDRESS exit 1 OPERATIONS
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK		4096
#define DEPTH_MAX	64
#define WARM_UP		200

static aio_context_t context;
static struct iocb requests[DEPTH_MAX];
static uint64_t blocks;
static uint64_t random_state = 0x9e3779b97f4a7c15ULL;

static void fail(const char *what)
{
	printf("guest-ops: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void submit(struct iocb *request)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	request->aio_offset = random_state % blocks * BLOCK;
	if (syscall(__NR_io_submit, context, 1L, &request) != 1)
		fail("io_submit");
}

static void run_exits(unsigned long address, unsigned long operations)
{
	unsigned long page = address & -4096UL;
	volatile uint32_t *reg;
	int fd = open("/dev/mem", O_RDWR | O_SYNC);
	char *map;

	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, page);
	if (map == MAP_FAILED)
		fail("/dev/mem");
	reg = (void *)(map + (address - page));
	(void)*reg;
	printf("@@ start\n");
	for (unsigned long i = 0; i < operations; i++)
		(void)*reg;
	printf("@@ done %lu exit An exit to the VMM\n", operations);
}

static void run(unsigned int depth, unsigned long operations)
{
	struct io_event events[DEPTH_MAX];
	unsigned long submitted, done = 0;
	long n, i;

	for (submitted = 0; submitted < depth; submitted++)
		submit(&requests[submitted]);
	while (done < operations) {
		n = syscall(__NR_io_getevents, context, 1L, (long)depth, events, NULL);
		if (n < 1)
			fail("io_getevents");
		for (i = 0; i < n; i++) {
			if (events[i].res != BLOCK) {
				errno = -events[i].res;
				fail("an operation");
			}
			if (submitted++ < operations)
				submit((struct iocb *)(uintptr_t)events[i].obj);
		}
		done += n;
	}
}

int main(int argc, char **argv)
{
	unsigned long operations;
	unsigned int depth, i;
	uint64_t bytes;
	bool write;
	int fd;

	if (argc != 5) {
		fprintf(stderr, "guest-ops DEVICE read|write|exit DEPTH OPERATIONS\n");
		return 2;
	}
	write = !strcmp(argv[2], "write");
	depth = strtoul(argv[3], NULL, 0);
	operations = strtoul(argv[4], NULL, 0);
	if (!depth || depth > DEPTH_MAX || operations < depth) {
		fprintf(stderr, "guest-ops: at most %d in flight, and no fewer operations\n",
			DEPTH_MAX);
		return 2;
	}
	setlinebuf(stdout);
	if (!strcmp(argv[2], "exit")) {
		run_exits(strtoul(argv[1], NULL, 16), operations);
		return 0;
	}
	fd = open(argv[1], O_RDWR | O_DIRECT);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		fail(argv[1]);
	blocks = bytes / BLOCK;
	if (syscall(__NR_io_setup, depth, &context))
		fail("io_setup");
	for (i = 0; i < depth; i++) {
		void *buf;

		if (posix_memalign(&buf, BLOCK, BLOCK))
			fail("memory");
		memset(buf, 0x5a, BLOCK);
		requests[i] = (struct iocb){
			.aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
			.aio_fildes = fd,
			.aio_buf = (uintptr_t)buf,
			.aio_nbytes = BLOCK,
		};
	}
	run(depth, WARM_UP > depth ? WARM_UP : depth);
	printf("@@ start\n");
	run(depth, operations);
	printf("@@ done %lu %s-%u A %s, %u in flight\n", operations, argv[2],
	       depth, argv[2], depth);
	return 0;
}
