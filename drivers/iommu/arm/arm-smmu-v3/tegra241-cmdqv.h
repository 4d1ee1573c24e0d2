/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * NVIDIA Tegra241 CMDQV: registers, and what the driver knows about the block
 *
 * Copyright (C) 2021-2024 NVIDIA CORPORATION & AFFILIATES.
 */
#ifndef _TEGRA241_CMDQV_H
#define _TEGRA241_CMDQV_H

#include <linux/bits.h>
#include <linux/idr.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/types.h>

#include "arm-smmu-v3.h"

/* CMDQV register page base and size defines */
#define TEGRA241_CMDQV_CONFIG_BASE	(0)
#define TEGRA241_CMDQV_CONFIG_SIZE	(SZ_64K)
#define TEGRA241_VCMDQ_PAGE0_BASE	(TEGRA241_CMDQV_CONFIG_BASE + SZ_64K)
#define TEGRA241_VCMDQ_PAGE1_BASE	(TEGRA241_VCMDQ_PAGE0_BASE + SZ_64K)
#define TEGRA241_VINTF_PAGE_BASE	(TEGRA241_VCMDQ_PAGE1_BASE + SZ_64K)

/* CMDQV global base regs */
#define TEGRA241_CMDQV_CONFIG		0x0000
#define  CMDQV_EN			BIT(0)

#define TEGRA241_CMDQV_PARAM		0x0004
#define  CMDQV_NUM_SID_LOG2		GENMASK(15, 12)
#define  CMDQV_NUM_VINTF_LOG2		GENMASK(11, 8)
#define  CMDQV_NUM_VCMDQ_LOG2		GENMASK(7, 4)
#define  CMDQV_VER			GENMASK(3, 0)

/* The configuration page has registers for so many */
#define  CMDQV_MAX_VINTFS		64
#define  CMDQV_MAX_VCMDQS		128
#define  CMDQV_MAX_SIDS			16

#define TEGRA241_CMDQV_STATUS		0x0008
#define  CMDQV_ENABLED			BIT(0)

#define TEGRA241_CMDQV_VINTF_ERR_MAP	0x0014
#define TEGRA241_CMDQV_VINTF_INT_MASK	0x001C
#define TEGRA241_CMDQV_CMDQ_ERR_MAP(m)	(0x0024 + 0x4 * (m))

#define TEGRA241_CMDQV_CMDQ_ALLOC(q)	(0x0200 + 0x4 * (q))
#define  CMDQV_CMDQ_ALLOC_VINTF		GENMASK(20, 15)
#define  CMDQV_CMDQ_ALLOC_LVCMDQ	GENMASK(7, 1)
#define  CMDQV_CMDQ_ALLOCATED		BIT(0)

/* VINTF base regs */
#define TEGRA241_VINTF(v)		(0x1000 + 0x100 * (v))

#define TEGRA241_VINTF_CONFIG		0x0000
#define  VINTF_HYP_OWN			BIT(17)
#define  VINTF_VMID			GENMASK(16, 1)
#define  VINTF_EN			BIT(0)

#define TEGRA241_VINTF_STATUS		0x0004
#define  VINTF_STATUS			GENMASK(3, 1)
#define  VINTF_ENABLED			BIT(0)

#define TEGRA241_VINTF_SID_MATCH(s)	(0x0040 + 0x4 * (s))
#define  VINTF_SID_MATCH_VSID		GENMASK(20, 1)
#define  VINTF_SID_MATCH_EN		BIT(0)

#define TEGRA241_VINTF_SID_REPLACE(s)	(0x0080 + 0x4 * (s))
#define  VINTF_SID_REPLACE_SID		GENMASK(19, 0)

#define TEGRA241_VINTF_LVCMDQ_ERR_MAP_64(m) \
					(0x00C0 + 0x8 * (m))
#define  LVCMDQ_ERR_MAP_NUM_64		2

/* VCMDQ base regs */
/* -- PAGE0 -- */
#define TEGRA241_VCMDQ_PAGE0(q)		(TEGRA241_VCMDQ_PAGE0_BASE + 0x80 * (q))

#define TEGRA241_VCMDQ_CONS		0x00000
#define  VCMDQ_CONS_ERR			GENMASK(30, 24)

#define TEGRA241_VCMDQ_PROD		0x00004

#define TEGRA241_VCMDQ_CONFIG		0x00008
#define  VCMDQ_EN			BIT(0)

#define TEGRA241_VCMDQ_STATUS		0x0000C
#define  VCMDQ_ENABLED			BIT(0)

#define TEGRA241_VCMDQ_GERROR		0x00010
#define TEGRA241_VCMDQ_GERRORN		0x00014

/* -- PAGE1 -- */
#define TEGRA241_VCMDQ_PAGE1(q)		(TEGRA241_VCMDQ_PAGE1_BASE + 0x80 * (q))
#define  VCMDQ_ADDR			GENMASK(47, 5)
#define  VCMDQ_LOG2SIZE			GENMASK(4, 0)

#define TEGRA241_VCMDQ_BASE		0x00000
#define TEGRA241_VCMDQ_CONS_INDX_BASE	0x00008

/* VINTF logical-VCMDQ pages */
#define TEGRA241_VINTF_PAGE_SIZE	SZ_64K
#define TEGRA241_VINTFi_PAGE0(i)	(TEGRA241_VINTF_PAGE_BASE + SZ_128K * (i))
#define TEGRA241_VINTFi_PAGE1(i)	(TEGRA241_VINTFi_PAGE0(i) + SZ_64K)
#define TEGRA241_VINTFi_LVCMDQ_PAGE0(i, q) \
					(TEGRA241_VINTFi_PAGE0(i) + 0x80 * (q))
#define TEGRA241_VINTFi_LVCMDQ_PAGE1(i, q) \
					(TEGRA241_VINTFi_PAGE1(i) + 0x80 * (q))

/**
 * struct tegra241_vcmdq - Virtual Command Queue
 * @idx: Global index in the CMDQV
 * @lidx: Local index in the VINTF
 * @enabled: Enable status
 * @cmdqv: Parent CMDQV pointer
 * @vintf: Parent VINTF pointer
 * @cmdq: Command Queue struct
 * @page0: MMIO Page0 base address
 * @page1: MMIO Page1 base address
 */
struct tegra241_vcmdq {
	u16 idx;
	u16 lidx;

	bool enabled;

	struct tegra241_cmdqv *cmdqv;
	struct tegra241_vintf *vintf;
	struct arm_smmu_cmdq cmdq;

	void __iomem *page0;
	void __iomem *page1;
};

/**
 * struct tegra241_vintf - Virtual Interface
 * @idx: Global index in the CMDQV
 * @enabled: Enable status
 * @hyp_own: Owned by hypervisor (in-kernel)
 * @cmdqv: Parent CMDQV pointer
 * @lvcmdqs: List of logical VCMDQ pointers
 * @base: MMIO base address
 */
struct tegra241_vintf {
	u16 idx;

	bool enabled;
	bool hyp_own;

	struct tegra241_cmdqv *cmdqv;
	struct tegra241_vcmdq **lvcmdqs;

	void __iomem *base;
};

/**
 * struct tegra241_cmdqv - CMDQ-V for SMMUv3
 * @smmu: SMMUv3 device
 * @dev: CMDQV device
 * @base: MMIO base address
 * @irq: IRQ number
 * @num_vintfs: Total number of VINTFs
 * @num_vcmdqs: Total number of VCMDQs
 * @num_lvcmdqs_per_vintf: Number of logical VCMDQs per VINTF
 * @num_sids_per_vintf: Number of SID_MATCH and SID_REPLACE pairs per VINTF
 * @version: Version of the CMDQV
 * @vintf_ids: VINTF id allocator
 * @vintfs: List of VINTFs
 * @base_pa: Physical base address
 * @guests_lock: Protects @guests, @stale, @lost, @guest_map and @guests_down, and keeps
 *               the vSMMUs in @guests
 * @guests: vSMMUs by the number of their VINTF
 * @stale: Queues of VINTFs that did not stop when their vSMMU went
 * @stale_next: Where to look in @stale
 * @lost: VMIDs of VINTFs that were not seen off when their vSMMU went
 * @ids_lock: Held while a number is chosen from @vintf_ids
 * @atc_sent: VINTFs that may have sent an ATC_INV whose timeout nobody has collected
 * @flushed: What was there before the first guest has been collected
 * @guest_map: The slots in @guests that are not NULL
 * @guests_down: No guest gets a VINTF any more
 * @guest_irqs: Number of interrupts since @guest_irqs_since, for the handler alone
 * @guest_irqs_since: Time in jiffies
 */
struct tegra241_cmdqv {
	struct arm_smmu_device smmu;
	struct device *dev;

	void __iomem *base;
	int irq;

	/* CMDQV Hardware Params */
	u16 num_vintfs;
	u16 num_vcmdqs;
	u16 num_lvcmdqs_per_vintf;
	u16 num_sids_per_vintf;
	u8 version;

	struct ida vintf_ids;

	struct tegra241_vintf **vintfs;

	/* VINTFs of guests, see tegra241-cmdqv-iommufd.c */
	phys_addr_t base_pa;
	struct mutex guests_lock; /* guests, stale, lost, guest_map, guests_down */
	struct tegra241_vsmmu *guests[CMDQV_MAX_VINTFS];
	struct tegra241_lvcmdq *stale[CMDQV_MAX_VINTFS];
	unsigned int stale_next;
	struct arm_smmu_vmid *lost[CMDQV_MAX_VINTFS];
	struct mutex ids_lock; /* choice of a number */
	DECLARE_BITMAP(atc_sent, CMDQV_MAX_VINTFS);
	bool flushed;
	u64 guest_map;
	bool guests_down;
	unsigned int guest_irqs;
	unsigned long guest_irqs_since;
};

u32 tegra241_cmdqv_read(struct tegra241_cmdqv *cmdqv, u32 offset);
u64 tegra241_cmdqv_read64(struct tegra241_cmdqv *cmdqv, u32 offset);
void tegra241_cmdqv_write(struct tegra241_cmdqv *cmdqv, u32 offset, u32 val);
void tegra241_cmdqv_write64(struct tegra241_cmdqv *cmdqv, u32 offset, u64 val);
void tegra241_cmdqv_alloc_vcmdq(struct tegra241_cmdqv *cmdqv, u16 idx, u16 lidx,
				bool alloc);

#ifdef CONFIG_TEGRA241_CMDQV_IOMMUFD
void tegra241_cmdqv_guests_init(struct tegra241_cmdqv *cmdqv, phys_addr_t base_pa);
void tegra241_cmdqv_guests_exit(struct tegra241_cmdqv *cmdqv);
void tegra241_cmdqv_guests_disable(struct tegra241_cmdqv *cmdqv);
u64 tegra241_cmdqv_guest_map(struct tegra241_cmdqv *cmdqv);
void tegra241_cmdqv_guest_errors(struct tegra241_cmdqv *cmdqv, u64 vintf_map);
const struct iommufd_viommu_ops *
tegra241_cmdqv_viommu_ops(struct arm_smmu_device *smmu, unsigned int type);
void *tegra241_cmdqv_hw_info(struct arm_smmu_device *smmu, u32 *length,
			     u32 *type);
#else
static inline void tegra241_cmdqv_guests_init(struct tegra241_cmdqv *cmdqv,
					      phys_addr_t base_pa)
{
}

static inline void tegra241_cmdqv_guests_exit(struct tegra241_cmdqv *cmdqv)
{
}

static inline void tegra241_cmdqv_guests_disable(struct tegra241_cmdqv *cmdqv)
{
}

static inline u64 tegra241_cmdqv_guest_map(struct tegra241_cmdqv *cmdqv)
{
	return 0;
}

static inline void tegra241_cmdqv_guest_errors(struct tegra241_cmdqv *cmdqv,
					       u64 vintf_map)
{
}

#define tegra241_cmdqv_viommu_ops NULL
#define tegra241_cmdqv_hw_info NULL
#endif

/* The following are exposed for testing purposes. */
#if IS_ENABLED(CONFIG_KUNIT)
struct iommufd_viommu;
struct iommu_vevent_tegra241_cmdqv;

int tegra241_vsmmu_offer(struct iommufd_viommu *viommu, phys_addr_t page0,
			 unsigned long *offset);
void tegra241_vsmmu_withdraw(struct iommufd_viommu *viommu,
			     unsigned long offset);
void tegra241_vsmmu_report(struct iommufd_viommu *viommu,
			   const struct iommu_vevent_tegra241_cmdqv *event);
int tegra241_cmdqv_set_param(struct tegra241_cmdqv *cmdqv, u32 param,
			     resource_size_t size);
void tegra241_cmdqv_map_vcmdqs(struct tegra241_cmdqv *cmdqv);
#endif

#endif
