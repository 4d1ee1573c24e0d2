// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest with a viommu-dma, whose own SMMUv3 has ATS and PASIDs: the device shares the
 * address space of this program. What the guest's driver invalidates must leave the
 * device's ATC. Says what failed, or where the last access was, which faults.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "smmuv3_dma_dev.h"
#include "smmuv3_sva.h"

#define ROUNDS	100

#define expect(what)                                            \
	do {                                                    \
		if (!(what))                                    \
			die("line %d: not %s", __LINE__, #what); \
	} while (0)

static struct edu dev;

int main(void)
{
	__u64 *page, *busy = page_touched(), how;
	struct edu_slot slot;
	struct sva sva = {};
	const char *why;
	int i;

	if (!dma_find(&slot, 1, &why))
		die("%s", why);

	vfio_unbind(slot.bdf);
	edu_open_host(&dev, &slot);
	must(__sva_bind(&slot, false, &sva), "SVA");
	how = by_pasid(&sva, DMA_ATC);
	dma_stream_start(&dev, how, (uintptr_t)busy, 64);
	for (i = 0; i < ROUNDS; i++) {
		page = page_touched();
		expect(dma_works(&dev, &sva, DMA_UNTRANSLATED, page));
		expect(dma_works(&dev, &sva, DMA_ATC, page));
		munmap(page, GUEST_PAGE);
		expect(dma_probe(&dev, how, (uintptr_t)page, NULL) ==
		       DMA_NOT_IN_ATC);
	}
	expect(edu_get(&dev, DMA_REQUESTS));
	expect(edu_get(&dev, DMA_LAPS));
	expect(!edu_get(&dev, DMA_LAPS_BAD));
	expect(!edu_get(&dev, DMA_LAPS_FAILED));
	dma_stream_stop(&dev);
	/* No PASID, no translation */
	page = page_touched();
	dma_write(&dev, DMA_UNTRANSLATED, (uintptr_t)page, TOKEN);
	expect(*page != TOKEN);
	munmap(page, GUEST_PAGE);
	expect(dma_write(&dev, by_pasid(&sva, DMA_UNTRANSLATED),
			 (uintptr_t)page, TOKEN) != DMA_OK);
	printf("%012lx\n", (unsigned long)page);
	close(sva.fd);
	edu_close(&dev);
	return 0;
}
