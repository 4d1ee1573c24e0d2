// SPDX-License-Identifier: GPL-2.0-only
/*
 * Let an edu device read four bytes from an address that nobody has mapped for
 * it. Its driver may be one that does nothing, such as vfio-pci: without any the
 * kernel would not have given it to the SMMU yet.
 *
 *   guest-fault BDF ADDRESS
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EDU_MAGIC	0x010000ed
#define EDU_BUFFER	0x40000

static int attribute(const char *bdf, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	fd = open(path, O_RDWR | O_SYNC);
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	volatile uint8_t *bar;
	uint16_t command;
	int config, tries;

	if (argc != 3) {
		fprintf(stderr, "guest-fault BDF ADDRESS\n");
		return 2;
	}
	config = attribute(argv[1], "config");
	command = 6;		/* memory and DMA */
	if (pwrite(config, &command, 2, 4) != 2) {
		perror("config");
		return 1;
	}
	bar = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		   attribute(argv[1], "resource0"), 0);
	if (bar == MAP_FAILED) {
		perror("resource0");
		return 1;
	}
	if (*(volatile uint32_t *)bar != EDU_MAGIC) {
		fprintf(stderr, "not an edu device: %08x\n", *(volatile uint32_t *)bar);
		return 1;
	}
	*(volatile uint64_t *)(bar + 0x80) = strtoull(argv[2], NULL, 0);
	*(volatile uint64_t *)(bar + 0x88) = EDU_BUFFER;
	*(volatile uint64_t *)(bar + 0x90) = 4;
	*(volatile uint64_t *)(bar + 0x98) = 1;
	for (tries = 0; tries < 2000; tries++) {
		if (!(*(volatile uint64_t *)(bar + 0x98) & 1))
			return 0;
		usleep(50000);
	}
	fprintf(stderr, "the DMA does not end\n");
	return 1;
}
