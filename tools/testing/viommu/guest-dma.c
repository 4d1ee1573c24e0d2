// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest with a viommu-dma, whose own SMMUv3 has ATS and PASIDs: the guest's driver
 * translates for the device, and what it invalidates must leave the device's ATC.
 *
 *   guest-dma domain	the device is user space's, with a domain of an IOAS
 *   guest-dma sva	the device shares the address space of this program
 *
 * Says what failed, or nothing.
 */
#define _GNU_SOURCE
#include <string.h>

#include "smmuv3_dma_dev.h"
#include "smmuv3_sva.h"

#define ROUNDS	100
#define DIMM	0x100000000UL

#define expect(what)                                            \
	do {                                                    \
		if (!(what))                                    \
			die("line %d: not %s", __LINE__, #what); \
	} while (0)

static struct edu dev;

static void run_domain(const struct edu_slot *slot)
{
	void *dimm = dimm_alloc(1);
	__u64 page, busy;
	struct vm vm;
	int i;

	vm_init(&vm);
	edu_open(&dev, &vm, slot);
	edu_attach(&dev, vm.ioas);
	page = vm_alloc(&vm, 1);
	busy = vm_alloc(&vm, 1);
	expect(dma_lands(&dev, DMA_UNTRANSLATED, page) == page);
	expect(dma_lands(&dev, DMA_ATC, page) == page);
	expect(dma_probe(&dev, DMA_ATC, page, NULL) == DMA_OK);
	expect(edu_get(&dev, DMA_REQUESTS));

	dma_stream_start(&dev, DMA_ATC, busy, 64);
	for (i = 0; i < ROUNDS; i++) {
		vm_map(&vm, DIMM, dimm, GUEST_PAGE);
		expect(dma_reaches(&dev, DMA_ATC, DIMM, dimm));
		expect(dma_probe(&dev, DMA_ATC, DIMM, NULL) == DMA_OK);
		vm_unmap(&vm, DIMM, GUEST_PAGE);
		expect(dma_probe(&dev, DMA_ATC, DIMM, NULL) ==
		       DMA_NOT_IN_ATC);
	}
	expect(edu_get(&dev, DMA_LAPS));
	expect(!edu_get(&dev, DMA_LAPS_BAD));
	expect(!edu_get(&dev, DMA_LAPS_FAILED));
	dma_stream_stop(&dev);
	/* The guest's kernel logs this fault. */
	expect(!dma_reaches(&dev, DMA_UNTRANSLATED, DIMM, dimm));
	edu_close(&dev);
	vm_free(&vm);
}

static void run_sva(const struct edu_slot *slot)
{
	__u64 *page, how;
	struct sva sva = {};
	int i;

	take_from_vfio(slot);
	edu_open_host(&dev, slot);
	must(__sva_bind(slot, false, &sva), "SVA");
	how = by_pasid(&sva, DMA_ATC);
	for (i = 0; i < ROUNDS; i++) {
		page = page_touched();
		expect(dma_works(&dev, &sva, DMA_UNTRANSLATED, page));
		expect(dma_works(&dev, &sva, DMA_ATC, page));
		munmap(page, GUEST_PAGE);
		expect(dma_probe(&dev, how, (uintptr_t)page, NULL) ==
		       DMA_NOT_IN_ATC);
	}
	/* No PASID, no translation */
	page = page_touched();
	dma_write(&dev, DMA_UNTRANSLATED, (uintptr_t)page, TOKEN);
	expect(*page != TOKEN);
	close(sva.fd);
	expect(dma_write(&dev, how, (uintptr_t)page, TOKEN) != DMA_OK);
	edu_close(&dev);
}

int main(int argc, char **argv)
{
	struct edu_slot slot;
	const char *why;

	if (!dma_find(&slot, 1, &why))
		die("%s", why);
	if (argc == 2 && !strcmp(argv[1], "domain"))
		run_domain(&slot);
	else if (argc == 2 && !strcmp(argv[1], "sva"))
		run_sva(&slot);
	else
		die("usage: guest-dma domain|sva");
	return 0;
}
