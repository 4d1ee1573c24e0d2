// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mixed reads and writes on a block device, past the page cache, with every
 * read compared to what was written last.
 *
 *   guest-io DEVICE FIRST_MIB SECONDS
 *
 * Uses four threads with 2 MiB each from FIRST_MIB on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS		4
#define BLOCK		4096
#define BLOCKS		512		/* of one thread */
#define MOST		16		/* of one request */

struct worker {
	pthread_t thread;
	unsigned int nr;
	uint64_t random;
	uint64_t first;
	uint32_t written[BLOCKS];	/* how often */
	unsigned long reads, writes;
	char why[160];
};

static int fd;
static time_t deadline;

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* Every word of the device tells where it belongs and how old it is. */
static uint64_t word(struct worker *w, unsigned int block, unsigned int i)
{
	return ((w->first + block) << 40) ^ ((uint64_t)w->written[block] << 16) ^ i;
}

static bool put(struct worker *w, uint64_t *buf, unsigned int block, unsigned int n)
{
	unsigned int b, i;
	ssize_t done;

	for (b = 0; b < n; b++) {
		w->written[block + b]++;
		for (i = 0; i < BLOCK / 8; i++)
			buf[b * (BLOCK / 8) + i] = word(w, block + b, i);
	}
	done = pwrite(fd, buf, n * BLOCK, (w->first + block) * BLOCK);
	w->writes++;
	if (done == (ssize_t)n * BLOCK)
		return true;
	snprintf(w->why, sizeof(w->why), "write of %u blocks at %u: %zd, %s", n,
		 block, done, strerror(errno));
	return false;
}

static bool get(struct worker *w, uint64_t *buf, unsigned int block, unsigned int n)
{
	unsigned int b, i;
	ssize_t done;

	memset(buf, 0xa5, n * BLOCK);
	done = pread(fd, buf, n * BLOCK, (w->first + block) * BLOCK);
	w->reads++;
	if (done != (ssize_t)n * BLOCK) {
		snprintf(w->why, sizeof(w->why), "read of %u blocks at %u: %zd, %s",
			 n, block, done, strerror(errno));
		return false;
	}
	for (b = 0; b < n; b++) {
		for (i = 0; i < BLOCK / 8; i++) {
			uint64_t is = buf[b * (BLOCK / 8) + i];

			if (is == word(w, block + b, i))
				continue;
			snprintf(w->why, sizeof(w->why),
				 "block %u word %u: %016llx instead of %016llx",
				 block + b, i, (unsigned long long)is,
				 (unsigned long long)word(w, block + b, i));
			return false;
		}
	}
	return true;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int block, n;
	uint64_t *buf, r;

	if (posix_memalign((void **)&buf, BLOCK, MOST * BLOCK)) {
		snprintf(w->why, sizeof(w->why), "no memory");
		return NULL;
	}
	for (block = 0; block < BLOCKS; block += MOST)
		if (!put(w, buf, block, MOST))
			goto out;
	while (now() < deadline) {
		r = next(&w->random);
		/* One block, as a rule; sometimes many, by a list of pages. */
		n = r % 4 ? 1 : 1 + (r >> 8) % MOST;
		block = (r >> 16) % (BLOCKS - n + 1);
		if (!((r >> 4) % 2 ? put : get)(w, buf, block, n))
			goto out;
	}
	for (block = 0; block < BLOCKS; block += MOST)
		if (!get(w, buf, block, MOST))
			goto out;
out:
	free(buf);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS];
	unsigned long reads = 0, writes = 0;
	bool bad = false;
	unsigned int i;

	if (argc != 4) {
		fprintf(stderr, "guest-io DEVICE FIRST_MIB SECONDS\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_DIRECT);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	deadline = now() + atoi(argv[3]);
	for (i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		w->nr = i;
		w->random = 0x9e3779b97f4a7c15ULL * (i + 1);
		w->first = strtoull(argv[2], NULL, 0) * (1048576 / BLOCK) + i * BLOCKS;
		if (pthread_create(&w->thread, NULL, work, w)) {
			perror("pthread_create");
			return 1;
		}
	}
	for (i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		pthread_join(w->thread, NULL);
		reads += w->reads;
		writes += w->writes;
		if (!w->why[0])
			continue;
		bad = true;
		printf("# thread %u: %s\n", w->nr, w->why);
	}
	printf("# %lu reads, %lu writes\n", reads, writes);
	return bad;
}
