/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests with viommu-dma have in common: what the SMMU says that it can do, and
 * the vSTEs and commands of a guest that uses ATS and PASIDs
 */
#ifndef SELFTEST_SMMUV3_DMA_TEST_H
#define SELFTEST_SMMUV3_DMA_TEST_H

#include "smmuv3_dma_dev.h"
#ifndef find_devices
#define find_devices dma_find
#endif
#include "smmuv3_test.h"
#include "smmuv3_vevent.h"

#define OTHER_VSID	7
#define MS		1000000UL

/* IHI0070 6.3.1, 6.3.2, 6.3.4 */
#define IDR0			0x0
#define IDR0_HTTU(x)		(((x) >> 6) & 3)
#define IDR0_HTTU_DIRTY		2
#define IDR0_ATS		_BITUL(10)
#define IDR0_STALL_MODEL(x)	(((x) >> 24) & 3)
#define IDR1			0x4
#define IDR1_SSIDSIZE(x)	(((x) >> 6) & 0x1f)
#define IDR3			0xc
#define IDR3_FWB		_BITUL(8)

static __u32 smmu_reg(const struct edu_slot *slot, unsigned int reg)
{
	struct host host;
	__u32 val;

	host_watch(&host, slot);
	close(host.kmsg);
	if (!host.regs)
		return 0;
	val = host_reg(&host, reg);
	munmap(host.regs, 4096);
	return val;
}

/* The answers of the device are at once again, whatever a test has made of them. */
static void dma_close(struct edu *edu)
{
	edu_set(edu, DMA_INV_MODE, DMA_INV_AT_ONCE);
	edu_close(edu);
}

/* Waits for the next event, which must be this one of the guest's first device. */
static inline bool is_event(struct veventq *q, __u8 id)
{
	struct evt evt;

	return next_is(q, &evt, id, VSID);
}

/* ---- What a guest with ATS and PASIDs writes ---- */

static struct iommu_hwpt_arm_smmuv3 vste_eats(const struct s1 *s1, int eats)
{
	struct iommu_hwpt_arm_smmuv3 vste = vste_s1(s1);

	vste.ste[1] |= htole64((__u64)eats << 28);
	return vste;
}

/* IHI0070 4.5.1: log2 of the pages at @va, 52 for all */
static struct iommu_viommu_arm_smmuv3_invalidate
atc_inv(__u32 vsid, __u64 va, unsigned int size)
{
	return cmd_raw(CMD_ATC_INV | (__u64)vsid << 32,
		       (va & ~(GUEST_PAGE - 1)) | size);
}

#define SSV	_BITULL(11)

static struct iommu_viommu_arm_smmuv3_invalidate
with_ssid(struct iommu_viommu_arm_smmuv3_invalidate cmd, __u64 ssv, __u32 ssid)
{
	cmd.cmd[0] |= htole64(ssv | (__u64)ssid << 12);
	return cmd;
}

#endif
