// SPDX-License-Identifier: GPL-2.0-only
/*
 * NVIDIA Tegra241 CMDQV for guests: a vSMMU with a VINTF
 *
 * A VINTF is a virtual interface of the CMDQV. It has logical queues (LVCMDQs), each
 * of which is backed by a VCMDQ while CMDQ_ALLOC says so, and pairs of virtual and
 * physical StreamID. A vSMMU of this type owns a VINTF with HYP_OWN 0: the hardware
 * executes four kinds of command there, puts the VINTF's VMID into each TLBI, and
 * replaces the vSID of each ATC_INV. VINTF0 belongs to the host.
 *
 * The guest has page 0 of its VINTF mapped from before the first queue exists until
 * after the last one is gone. It can write CONFIG, PROD, CONS and GERRORN of each
 * allocated queue at any time, also while this file resets the queue. BASE is in page
 * 1, which the guest cannot reach. From that follow the rules here:
 *
 * - A logical queue is allocated exactly while there is a HW queue for it.
 * - All queues of a VINTF are reset before the VINTF is turned on for a guest, and
 *   once more when it is on, since a VINTF that is off might hide its queues. Nobody
 *   has page 0 mapped then. So BASE is 0 in a queue that is not handed out, and a
 *   guest that starts one gets an error.
 * - A queue is reset before it is handed over and after it is taken back. If the
 *   guest undoes that, the VINTF is turned off while the queue is reset again and
 *   freed. This holds up other queues of the same guest, and no one else.
 * - Memory of a queue is given up after CMDQ_ALLOC reads 0 and STATUS of the slot
 *   reads 0. If the hardware does not get there, the slot stays taken, and each page
 *   of the memory gets a reference more, which is dropped if the queue has stopped
 *   when the vSMMU goes. Otherwise neither the pages nor the VINTF are used until a
 *   vSMMU that finds no other VINTF sees all of its queues stopped. So the hardware
 *   cannot read memory of another owner.
 * - A VINTF that does not turn off also keeps its VMID, until another vSMMU of this type
 *   is made and it is seen to be off.
 * - Each wait for STATUS is bounded (ARM_SMMU_POLL_TIMEOUT_US), and so is the number
 *   of waits in a call. A shutdown does not wait for the SMMU's own queue. What user
 *   space can cause is logged at a limited rate.
 *
 * An ATC_INV that timed out without a CMD_SYNC behind it is reported at the next
 * CMD_SYNC, also if that is the next owner's. A CMD_SYNC on the SMMU's own queue
 * collects it. It must not go by arm_smmu_cmdq_issue_cmd_with_sync(), which may choose
 * a VCMDQ of VINTF0. It fails as long as devices of any guest do not answer, so it is
 * left out for a VINTF that has not had a SID pair since the last one.
 *
 * Errors: the interrupt is an edge, one for each new error of a VINTF. The error maps
 * tell which queues are in error, not which error is new, so the handler remembers
 * GERROR, of which an error inverts a bit, and CONS. Otherwise the interrupts of one
 * guest would repeat the events of another one that does not acknowledge its error. A
 * guest that acknowledges an error twice, and fails twice at one command, between two
 * looks, may miss the event of the second.
 *
 * Lock order: tegra241_cmdqv::guests_lock, tegra241_vsmmu::lock,
 * tegra241_vsmmu::sid_lock. All three are mutexes, since the hardware is waited for
 * under them, except that the error handler only reads registers under guests_lock,
 * and takes the vIOMMU's veventq_lock under it. It needs no other lock: a vSMMU stays
 * as long as it is in tegra241_cmdqv::guests. iommufd calls this file
 *
 * - under the lock of the iommufd group for a vDEVICE, where sid_lock is taken, and
 *   arm_smmu_asid_lock when sid_lock is not held. Devices of one vSMMU can be in
 *   different groups;
 * - under no lock for all else.
 */
#define dev_fmt(fmt) "tegra241_cmdqv: " fmt

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/iommufd_veventq.h>
#include <linux/iommufd_viommu.h>
#include <linux/iopoll.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3-nested.h"
#include "tegra241-cmdqv.h"

/* LOG2SIZE of a queue, in entries of 16 bytes. CONS and PROD have 20 bits. */
#define VCMDQ_MAX_LOG2SIZE	19
#define VCMDQ_ENT_SHIFT		4
#define VCMDQ_MIN_LENGTH	32

/* Interrupts in 100 ms that are handled without a pause */
#define GUEST_IRQS_MAX		100

/* After a flush that failed none is tried for so long */
#define MUTE_TIME		(5 * HZ)

/* A shutdown waits so long for the VINTFs of guests, and for one more */
#define GUESTS_DISABLE_TIMEOUT	(10 * HZ)

struct tegra241_hw_queue {
	struct iommufd_hw_queue core;
	phys_addr_t base_pa;
};

/* @slot is -1 if the device has no SID pair */
struct tegra241_vdevice {
	struct iommufd_vdevice core;
	int slot;
};

/**
 * struct tegra241_lvcmdq - A logical queue of a VINTF
 * @queue: Its owner, or NULL
 * @allocated: CMDQ_ALLOC may have its bit set. Without @queue: the hardware did not
 *             give it back.
 * @dirty: It was freed while BASE may not have been 0, and is not handed out again
 * @kept_pa: Memory that is kept from being used again
 * @kept_len: Bytes of it, 0 if there is none
 * @gerror: GERROR at the error that was seen last
 * @cons: CONS at that time
 */
struct tegra241_lvcmdq {
	struct tegra241_hw_queue *queue;
	bool allocated;
	bool dirty;
	phys_addr_t kept_pa;
	u64 kept_len;
	u32 gerror;
	u32 cons;
};

/**
 * struct tegra241_vsmmu - A vSMMU with a VINTF
 * @vsmmu: What all types have
 * @cmdqv: The block
 * @idx: Number of the VINTF
 * @lock: Protects @on and @lvcmdqs, and serialises writes to the registers of the
 *        VINTF, of its queues and of their CMDQ_ALLOC
 * @on: The VINTF is on. It is turned on once, and then off for good.
 * @lvcmdqs: All that the VINTF has
 * @sid_lock: Protects @vdevs and the SID pairs
 * @vdevs: Owner of each SID pair, or NULL
 * @offset: Of page 0 for mmap()
 * @offered: @offset is valid
 * @err_map: Queues that were in error when the handler looked last. It and all below,
 *           and gerror and cons of @lvcmdqs, are protected by guests_lock of @cmdqv.
 * @err_time: When the last event was reported
 * @mute: A flush has failed; none is tried until @mute_until, in jiffies
 * @mute_until: Protected by @lock as @mute is
 */
struct tegra241_vsmmu {
	struct arm_vsmmu vsmmu;
	struct tegra241_cmdqv *cmdqv;
	u16 idx;
	struct mutex lock; /* on, lvcmdqs, registers */
	bool on;
	struct tegra241_lvcmdq *lvcmdqs;
	struct mutex sid_lock; /* vdevs, SID pairs */
	struct tegra241_vdevice *vdevs[CMDQV_MAX_SIDS];
	unsigned long offset;
	bool offered;
	u64 err_map[LVCMDQ_ERR_MAP_NUM_64];
	unsigned long err_time;
	bool mute;
	unsigned long mute_until;
};

static struct tegra241_vsmmu *to_tegra241(struct iommufd_viommu *viommu)
{
	return container_of(viommu, struct tegra241_vsmmu, vsmmu.core);
}

static struct tegra241_cmdqv *to_cmdqv(struct arm_smmu_device *smmu)
{
	return container_of(smmu, struct tegra241_cmdqv, smmu);
}

/*
 * Registers
 */

static u32 vintf_reg(struct tegra241_vsmmu *t, u32 reg)
{
	return TEGRA241_VINTF(t->idx) + reg;
}

static u32 page0_reg(struct tegra241_vsmmu *t, u16 lidx, u32 reg)
{
	return TEGRA241_VINTFi_LVCMDQ_PAGE0(t->idx, lidx) + reg;
}

static u32 page1_reg(struct tegra241_vsmmu *t, u16 lidx, u32 reg)
{
	return TEGRA241_VINTFi_LVCMDQ_PAGE1(t->idx, lidx) + reg;
}

static u32 alloc_reg(struct tegra241_vsmmu *t, u16 lidx)
{
	return TEGRA241_CMDQV_CMDQ_ALLOC(t->idx *
					 t->cmdqv->num_lvcmdqs_per_vintf + lidx);
}

/* Write @val, then wait until bit 0 of @status follows. -EIO if it does not. */
static int tegra241_switch(struct tegra241_cmdqv *cmdqv, u32 config, u32 status,
			   u32 val)
{
	u32 regval;

	tegra241_cmdqv_write(cmdqv, config, val);
	if (read_poll_timeout(tegra241_cmdqv_read, regval,
			      !((regval ^ val) & BIT(0)), 1,
			      ARM_SMMU_POLL_TIMEOUT_US, false, cmdqv, status))
		return -EIO;
	return 0;
}

/* A CMD_SYNC on the SMMU's own queue, if there may be an ATC_INV to collect */
static int tegra241_flush(struct tegra241_vsmmu *t)
{
	struct tegra241_cmdqv *cmdqv = t->cmdqv;
	struct arm_smmu_device *smmu = &cmdqv->smmu;
	int ret;

	/* Another guest can make it fail: who needs none does not depend on it */
	if (READ_ONCE(cmdqv->flushed) && !test_bit(t->idx, cmdqv->atc_sent))
		return 0;
	/* Nor does a call wait for each of many queues */
	if (t->mute && time_before(jiffies, t->mute_until))
		return -ETIMEDOUT;

	/*
	 * Nobody gets a queue any more, and the SMMU's own queue may be full and dead, or
	 * be off. The wait for room in a queue has no end.
	 */
	if (READ_ONCE(cmdqv->guests_down))
		return 0;

	ret = arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, NULL, 0, true);
	/*
	 * It may have met the timeout of any guest. The wait has interrupts off, so if
	 * SMMU_GERROR is handled on this CPU, it is handled only now.
	 */
	if (ret)
		ret = arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, NULL, 0, true);
	if (!ret)
		WRITE_ONCE(cmdqv->flushed, true);
	t->mute = ret;
	t->mute_until = jiffies + MUTE_TIME;
	return ret;
}

/*
 * Logical queues
 */

static int tegra241_lvcmdq_disable(struct tegra241_vsmmu *t, u16 lidx)
{
	return tegra241_switch(t->cmdqv, page0_reg(t, lidx, TEGRA241_VCMDQ_CONFIG),
			       page0_reg(t, lidx, TEGRA241_VCMDQ_STATUS), 0);
}

/*
 * The hardware clears GERROR and GERRORN when it allocates a queue. All that can be
 * done here is to make them equal.
 */
static void tegra241_lvcmdq_clear(struct tegra241_vsmmu *t, u16 lidx)
{
	struct tegra241_cmdqv *cmdqv = t->cmdqv;
	u32 gerror;

	tegra241_cmdqv_write(cmdqv, page0_reg(t, lidx, TEGRA241_VCMDQ_PROD), 0);
	tegra241_cmdqv_write(cmdqv, page0_reg(t, lidx, TEGRA241_VCMDQ_CONS), 0);
	tegra241_cmdqv_write64(cmdqv, page1_reg(t, lidx, TEGRA241_VCMDQ_BASE), 0);
	tegra241_cmdqv_write64(cmdqv, page1_reg(t, lidx,
						TEGRA241_VCMDQ_CONS_INDX_BASE), 0);

	gerror = tegra241_cmdqv_read(cmdqv,
				     page0_reg(t, lidx, TEGRA241_VCMDQ_GERROR));
	if (gerror != tegra241_cmdqv_read(cmdqv, page0_reg(t, lidx,
							   TEGRA241_VCMDQ_GERRORN)))
		tegra241_cmdqv_write(cmdqv, page0_reg(t, lidx,
						      TEGRA241_VCMDQ_GERRORN),
				     gerror);
}

static u64 tegra241_lvcmdq_base(struct tegra241_vsmmu *t, u16 lidx)
{
	return tegra241_cmdqv_read64(t->cmdqv,
				     page1_reg(t, lidx, TEGRA241_VCMDQ_BASE));
}

/* A queue without BASE cannot be started */
static bool tegra241_lvcmdq_is_clear(struct tegra241_vsmmu *t, u16 lidx)
{
	u32 status = page0_reg(t, lidx, TEGRA241_VCMDQ_STATUS);

	return !(tegra241_cmdqv_read(t->cmdqv, status) & VCMDQ_ENABLED) &&
	       !tegra241_lvcmdq_base(t, lidx);
}

/* Fails if the guest starts the queue again, or if a command takes long */
static int tegra241_lvcmdq_reset(struct tegra241_vsmmu *t, u16 lidx)
{
	int ret = tegra241_lvcmdq_disable(t, lidx);
	int flushed = tegra241_flush(t);

	tegra241_lvcmdq_clear(t, lidx);
	if (ret || !tegra241_lvcmdq_is_clear(t, lidx))
		return -EIO;
	/* It has stopped, but the next owner would get an old timeout reported */
	return flushed ? -EAGAIN : 0;
}

static bool tegra241_lvcmdq_is_free(struct tegra241_vsmmu *t, u16 lidx)
{
	u32 status = page0_reg(t, lidx, TEGRA241_VCMDQ_STATUS);

	return !(tegra241_cmdqv_read(t->cmdqv, alloc_reg(t, lidx)) &
		 CMDQV_CMDQ_ALLOCATED) &&
	       !(tegra241_cmdqv_read(t->cmdqv, status) & VCMDQ_ENABLED);
}

static void tegra241_lvcmdq_alloc(struct tegra241_vsmmu *t, u16 lidx)
{
	t->lvcmdqs[lidx].allocated = true;
	tegra241_cmdqv_alloc_vcmdq(t->cmdqv, t->idx, lidx, true);
}

/* Stops the queue, whatever the guest writes */
static int tegra241_lvcmdq_free(struct tegra241_vsmmu *t, u16 lidx)
{
	bool done;

	tegra241_cmdqv_alloc_vcmdq(t->cmdqv, t->idx, lidx, false);
	if (read_poll_timeout(tegra241_lvcmdq_is_free, done, done, 1,
			      ARM_SMMU_POLL_TIMEOUT_US, false, t, lidx))
		return -EIO;
	t->lvcmdqs[lidx].allocated = false;
	return 0;
}

/*
 * VINTF
 */

static int tegra241_vintf_disable(struct tegra241_vsmmu *t)
{
	return tegra241_switch(t->cmdqv, vintf_reg(t, TEGRA241_VINTF_CONFIG),
			       vintf_reg(t, TEGRA241_VINTF_STATUS), 0);
}

static int tegra241_vintf_enable(struct tegra241_vsmmu *t)
{
	u32 config = vintf_reg(t, TEGRA241_VINTF_CONFIG);
	u32 regval = FIELD_PREP(VINTF_VMID, t->vsmmu.s2.vmid);
	int ret;

	tegra241_cmdqv_write(t->cmdqv, config, regval);
	ret = tegra241_switch(t->cmdqv, config,
			      vintf_reg(t, TEGRA241_VINTF_STATUS),
			      regval | VINTF_EN);
	/* A VINTF that the hardware takes for the host's executes anything */
	if (!ret && tegra241_cmdqv_read(t->cmdqv, config) & VINTF_HYP_OWN)
		ret = -EIO;
	if (ret)
		tegra241_vintf_disable(t);
	return ret;
}

static void tegra241_vintf_clear_sids(struct tegra241_vsmmu *t)
{
	unsigned int s;

	guard(mutex)(&t->sid_lock);
	for (s = 0; s < t->cmdqv->num_sids_per_vintf; s++) {
		tegra241_cmdqv_write(t->cmdqv, vintf_reg(t,
							 TEGRA241_VINTF_SID_MATCH(s)),
				     0);
		tegra241_cmdqv_write(t->cmdqv, vintf_reg(t,
							 TEGRA241_VINTF_SID_REPLACE(s)),
				     0);
	}
}

/* The hardware may go on reading the memory: do not let it be used again */
static void tegra241_keep_memory(struct tegra241_vsmmu *t, u16 lidx,
				 phys_addr_t pa, u64 length)
{
	struct tegra241_lvcmdq *lvcmdq = &t->lvcmdqs[lidx];
	unsigned long pfn;

	dev_err_ratelimited(t->cmdqv->dev,
			    "VINTF%u: LVCMDQ%u does not stop, keeping its memory\n",
			    t->idx, lidx);
	lvcmdq->kept_pa = pa;
	lvcmdq->kept_len = length;
	for (pfn = PHYS_PFN(pa); pfn <= PHYS_PFN(pa + length - 1); pfn++)
		get_page(pfn_to_page(pfn));
}

/* The queue has stopped after all */
static void tegra241_release_memory(struct tegra241_vsmmu *t, u16 lidx)
{
	struct tegra241_lvcmdq *lvcmdq = &t->lvcmdqs[lidx];
	phys_addr_t end = lvcmdq->kept_pa + lvcmdq->kept_len;
	unsigned long pfn;

	if (!lvcmdq->kept_len)
		return;
	for (pfn = PHYS_PFN(lvcmdq->kept_pa); pfn <= PHYS_PFN(end - 1); pfn++)
		put_page(pfn_to_page(pfn));
	lvcmdq->kept_len = 0;
}

/*
 * Reset a queue and free it, against a guest that works against it. If it fails, the
 * hardware may still read the memory of the queue.
 */
static int tegra241_lvcmdq_take_back(struct tegra241_vsmmu *t, u16 lidx)
{
	struct tegra241_cmdqv *cmdqv = t->cmdqv;
	bool paused = false;
	bool hidden = false;
	int ret;

	lockdep_assert_held(&t->lock);

	/* Queues are freed in descending order, else the hardware ignores it */
	if (lidx + 1 < cmdqv->num_lvcmdqs_per_vintf &&
	    t->lvcmdqs[lidx + 1].allocated) {
		tegra241_lvcmdq_reset(t, lidx);
		return -EIO;
	}

	ret = tegra241_lvcmdq_reset(t, lidx);
	if (ret == -EIO && t->on) {
		u64 base = tegra241_lvcmdq_base(t, lidx);

		dev_warn_ratelimited(cmdqv->dev,
				     "VINTF%u: LVCMDQ%u does not stop, pausing the VINTF\n",
				     t->idx, lidx);
		paused = true;
		tegra241_vintf_disable(t);
		/* What cannot be seen now cannot be reset now */
		hidden = tegra241_lvcmdq_base(t, lidx) != base;
		ret = tegra241_lvcmdq_reset(t, lidx);
	}
	t->lvcmdqs[lidx].dirty = ret == -EIO || hidden;

	ret = tegra241_lvcmdq_free(t, lidx);

	if (paused && tegra241_vintf_enable(t)) {
		dev_err_ratelimited(cmdqv->dev,
				    "VINTF%u: not enabled any more\n", t->idx);
		t->on = false;
	}
	return ret;
}

/*
 * Nothing of an earlier owner remains in any queue of a VINTF that nobody has mapped. If
 * an ATC_INV of it cannot be collected now, -EAGAIN.
 */
static int tegra241_vintf_reset_lvcmdqs(struct tegra241_vsmmu *t)
{
	u16 num = t->cmdqv->num_lvcmdqs_per_vintf;
	u16 lidx;
	int ret;

	for (lidx = 0; lidx != num; lidx++) {
		tegra241_lvcmdq_alloc(t, lidx);
		ret = tegra241_lvcmdq_disable(t, lidx);
		if (ret)
			return ret;
	}
	if (tegra241_flush(t))
		return -EAGAIN;
	while (lidx--) {
		tegra241_lvcmdq_clear(t, lidx);
		if (!tegra241_lvcmdq_is_clear(t, lidx))
			return -EIO;
		ret = tegra241_lvcmdq_free(t, lidx);
		if (ret)
			return ret;
	}
	return 0;
}

/* Turn a VINTF on that nobody has mapped */
static int tegra241_vintf_start(struct tegra241_vsmmu *t)
{
	u16 lidx = t->cmdqv->num_lvcmdqs_per_vintf;
	int ret;

	guard(mutex)(&t->lock);

	/* Set before tegra241_cmdqv_guests_disable() takes the lock */
	if (READ_ONCE(t->cmdqv->guests_down))
		return -ENODEV;

	ret = tegra241_vintf_disable(t);
	if (ret)
		return ret;
	tegra241_vintf_clear_sids(t);
	ret = tegra241_vintf_reset_lvcmdqs(t);
	if (ret)
		return ret;

	ret = tegra241_vintf_enable(t);
	if (ret)
		return ret;
	t->on = true;
	/* Also what was hidden before */
	ret = tegra241_vintf_reset_lvcmdqs(t);
	if (ret)
		return ret;
	while (lidx--) {
		t->lvcmdqs[lidx].dirty = false;
		tegra241_release_memory(t, lidx);
	}
	/* All of it is collected, and there is no SID pair yet */
	clear_bit(t->idx, t->cmdqv->atc_sent);
	return 0;
}

/*
 * Turn a VINTF and all of its queues off. Returns an error if the VINTF may still
 * execute commands. If *clean is false, it cannot be given to another guest.
 */
static int tegra241_vintf_stop(struct tegra241_vsmmu *t, bool *clean)
{
	u16 lidx = t->cmdqv->num_lvcmdqs_per_vintf;
	int ret;

	guard(mutex)(&t->lock);

	t->on = false;
	ret = tegra241_vintf_disable(t);
	*clean = !ret;

	/* Whatever was in the way of a queue, it may be gone now */
	while (lidx--) {
		if (!t->lvcmdqs[lidx].allocated) {
			/* A start that failed half-way has freed it */
			tegra241_release_memory(t, lidx);
			continue;
		}
		if (tegra241_lvcmdq_take_back(t, lidx)) {
			*clean = false;
			break;
		}
		if (t->lvcmdqs[lidx].dirty)
			*clean = false;
		tegra241_release_memory(t, lidx);
	}
	tegra241_vintf_clear_sids(t);
	/* Nothing is sent any more: spare the next owner the wait */
	if (*clean && !tegra241_flush(t) && !READ_ONCE(t->cmdqv->guests_down))
		clear_bit(t->idx, t->cmdqv->atc_sent);
	return ret;
}

/* The same without any wait: the block is turned off next */
static void tegra241_vintf_drop(struct tegra241_vsmmu *t)
{
	guard(mutex)(&t->lock);
	t->on = false;
	tegra241_cmdqv_write(t->cmdqv, vintf_reg(t, TEGRA241_VINTF_CONFIG), 0);
	tegra241_vintf_clear_sids(t);
}

/*
 * Guests
 */

static int tegra241_publish(struct tegra241_vsmmu *t)
{
	struct tegra241_cmdqv *cmdqv = t->cmdqv;

	guard(mutex)(&cmdqv->guests_lock);
	if (cmdqv->guests_down)
		return -ENODEV;
	cmdqv->guests[t->idx] = t;
	WRITE_ONCE(cmdqv->guest_map, cmdqv->guest_map | BIT_ULL(t->idx));
	return 0;
}

/* The error handler does not know @t any more on return */
static void tegra241_unpublish(struct tegra241_vsmmu *t)
{
	struct tegra241_cmdqv *cmdqv = t->cmdqv;

	guard(mutex)(&cmdqv->guests_lock);
	cmdqv->guests[t->idx] = NULL;
	WRITE_ONCE(cmdqv->guest_map, cmdqv->guest_map & ~BIT_ULL(t->idx));
}

/**
 * tegra241_cmdqv_guests_init - Prepare a block for guests
 * @cmdqv: The block; its interrupt is not requested yet
 * @base_pa: Physical address of its registers
 *
 * Context: Process context.
 */
void tegra241_cmdqv_guests_init(struct tegra241_cmdqv *cmdqv, phys_addr_t base_pa)
{
	cmdqv->base_pa = base_pa;
	mutex_init(&cmdqv->guests_lock);
	mutex_init(&cmdqv->ids_lock);
	memset(cmdqv->guests, 0, sizeof(cmdqv->guests));
	memset(cmdqv->stale, 0, sizeof(cmdqv->stale));
	cmdqv->stale_next = 0;
	memset(cmdqv->lost, 0, sizeof(cmdqv->lost));
	bitmap_zero(cmdqv->atc_sent, CMDQV_MAX_VINTFS);
	cmdqv->flushed = false;
	cmdqv->guest_map = 0;
	cmdqv->guests_down = false;
	cmdqv->guest_irqs = 0;
	cmdqv->guest_irqs_since = jiffies;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_guests_init);

/**
 * tegra241_cmdqv_guests_exit - Forget a block that goes away
 * @cmdqv: The block; no vSMMU is left. Memory of queues that never stopped stays
 *         allocated.
 *
 * Context: Process context.
 */
void tegra241_cmdqv_guests_exit(struct tegra241_cmdqv *cmdqv)
{
	unsigned int idx;

	for (idx = 0; idx < ARRAY_SIZE(cmdqv->stale); idx++) {
		kfree(cmdqv->stale[idx]);
		cmdqv->stale[idx] = NULL;
		cmdqv->lost[idx] = NULL;
	}
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_guests_exit);

/**
 * tegra241_cmdqv_guests_disable - Turn the VINTFs of all guests off
 * @cmdqv: The block; the SMMU's own command queue still runs
 *
 * The guests keep their vSMMUs, whose queues do not run any more and cannot be
 * allocated again. No guest gets a VINTF after that.
 *
 * Context: Process context, may sleep. If the hardware does not answer, it gives up
 * after GUESTS_DISABLE_TIMEOUT and only writes to the VINTFs that are left.
 */
void tegra241_cmdqv_guests_disable(struct tegra241_cmdqv *cmdqv)
{
	unsigned long end = jiffies + GUESTS_DISABLE_TIMEOUT;
	unsigned int idx;
	bool clean;

	scoped_guard(mutex, &cmdqv->guests_lock)
		WRITE_ONCE(cmdqv->guests_down, true);

	for (idx = 0; idx < cmdqv->num_vintfs; idx++) {
		struct tegra241_vsmmu *t;

		/* An interrupt may wait for it: let go of it after each VINTF */
		guard(mutex)(&cmdqv->guests_lock);
		t = cmdqv->guests[idx];
		if (!t)
			continue;
		if (time_after(jiffies, end))
			tegra241_vintf_drop(t);
		else if (tegra241_vintf_stop(t, &clean))
			dev_err(cmdqv->dev, "VINTF%u: does not stop\n", idx);
	}
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_guests_disable);

/*
 * Errors
 */

VISIBLE_IF_KUNIT
void tegra241_vsmmu_report(struct iommufd_viommu *viommu,
			   const struct iommu_vevent_tegra241_cmdqv *event)
{
	struct tegra241_vsmmu *t = to_tegra241(viommu);

	KUNIT_STATIC_STUB_REDIRECT(tegra241_vsmmu_report, viommu, event);

	if (iommufd_viommu_report_own_event(viommu,
					    IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
					    event, sizeof(*event)))
		dev_warn_ratelimited(t->cmdqv->dev,
				     "VINTF%u: queue in error, and the VM does not take the event\n",
				     t->idx);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vsmmu_report);

static void tegra241_vsmmu_send_error(struct tegra241_vsmmu *t)
{
	struct iommu_vevent_tegra241_cmdqv event;
	unsigned int i;

	for (i = 0; i < LVCMDQ_ERR_MAP_NUM_64; i++)
		event.lvcmdq_err_map[i] = cpu_to_le64(t->err_map[i]);
	t->err_time = jiffies;
	tegra241_vsmmu_report(&t->vsmmu.core, &event);
}

/* Look which queues are in error. Returns true if one of the errors is new. */
static bool tegra241_vsmmu_look(struct tegra241_vsmmu *t)
{
	struct tegra241_cmdqv *cmdqv = t->cmdqv;
	bool new = false;
	unsigned int i;

	for (i = 0; i < LVCMDQ_ERR_MAP_NUM_64; i++) {
		u32 reg = vintf_reg(t, TEGRA241_VINTF_LVCMDQ_ERR_MAP_64(i));
		u64 map = tegra241_cmdqv_read64(cmdqv, reg);
		unsigned int lidx;
		u64 left;

		for (left = map; left; left &= left - 1) {
			struct tegra241_lvcmdq *lvcmdq;
			u32 gerror, cons;

			lidx = __ffs64(left) + i * BITS_PER_TYPE(u64);
			if (lidx >= cmdqv->num_lvcmdqs_per_vintf) {
				map &= ~left;
				break;
			}

			lvcmdq = &t->lvcmdqs[lidx];
			gerror = tegra241_cmdqv_read(cmdqv,
						     page0_reg(t, lidx,
							       TEGRA241_VCMDQ_GERROR));
			cons = tegra241_cmdqv_read(cmdqv,
						   page0_reg(t, lidx,
							     TEGRA241_VCMDQ_CONS));
			if (gerror != lvcmdq->gerror || cons != lvcmdq->cons)
				new = true;
			lvcmdq->gerror = gerror;
			lvcmdq->cons = cons;
		}
		if (map & ~t->err_map[i])
			new = true;
		t->err_map[i] = map;
	}
	return new;
}

static void tegra241_vsmmu_forget_error(struct tegra241_vsmmu *t, u16 lidx)
{
	guard(mutex)(&t->cmdqv->guests_lock);
	t->err_map[lidx / BITS_PER_TYPE(u64)] &=
		~BIT_ULL(lidx % BITS_PER_TYPE(u64));
}

/**
 * tegra241_cmdqv_guest_map - Tell which VINTFs are guests'
 * @cmdqv: The block
 *
 * Context: Any.
 *
 * Return: a bit for each of them. It may be out of date at once.
 */
u64 tegra241_cmdqv_guest_map(struct tegra241_cmdqv *cmdqv)
{
	return READ_ONCE(cmdqv->guest_map);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_guest_map);

/*
 * A guest that acknowledges its errors as fast as it makes them sets the rate of the
 * interrupts. They are masked until the thread returns: let it take a break.
 */
static void tegra241_cmdqv_limit_irqs(struct tegra241_cmdqv *cmdqv)
{
	if (time_after(jiffies, cmdqv->guest_irqs_since + HZ / 10)) {
		cmdqv->guest_irqs_since = jiffies;
		cmdqv->guest_irqs = 0;
	}
	if (++cmdqv->guest_irqs > GUEST_IRQS_MAX)
		usleep_range(1000, 2000);
}

/**
 * tegra241_cmdqv_guest_errors - Tell guests that their queues are in error
 * @cmdqv: The block
 * @vintf_map: The VINTFs that are in error. Bits that are no guest's do not matter.
 *
 * Nothing is acknowledged: that is for the guest to do.
 *
 * Context: The interrupt thread, which may sleep.
 */
void tegra241_cmdqv_guest_errors(struct tegra241_cmdqv *cmdqv, u64 vintf_map)
{
	struct tegra241_vsmmu *t;
	bool any_new = false;
	unsigned int idx;

	/* The lock is held while the hardware is waited for: VINTF0 cannot wait */
	if (READ_ONCE(cmdqv->guests_down))
		return;

	mutex_lock(&cmdqv->guests_lock);
	for (idx = 0; idx < cmdqv->num_vintfs; idx++) {
		t = cmdqv->guests[idx];
		if (!t)
			continue;
		if (!(vintf_map & BIT_ULL(idx))) {
			memset(t->err_map, 0, sizeof(t->err_map));
			continue;
		}
		if (tegra241_vsmmu_look(t)) {
			tegra241_vsmmu_send_error(t);
			any_new = true;
		}
	}

	/*
	 * Nothing explains the interrupt. A queue may have been in error, gone on
	 * and be in error at the same command again. Its guest has to know.
	 */
	for (idx = 0; idx < cmdqv->num_vintfs && !any_new; idx++) {
		t = cmdqv->guests[idx];
		if (t && (t->err_map[0] || t->err_map[1]) &&
		    time_after(jiffies, t->err_time + HZ / 10))
			tegra241_vsmmu_send_error(t);
	}
	mutex_unlock(&cmdqv->guests_lock);

	tegra241_cmdqv_limit_irqs(cmdqv);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_guest_errors);

/*
 * HW queues
 */

static size_t tegra241_hw_queue_size(struct iommufd_viommu *viommu,
				     unsigned int type, u64 *max_length)
{
	struct arm_smmu_device *smmu = to_tegra241(viommu)->vsmmu.smmu;
	u32 idr1 = readl_relaxed(smmu->base + ARM_SMMU_IDR1);

	if (type != IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV)
		return 0;

	*max_length = 1ULL << (VCMDQ_ENT_SHIFT +
			       min_t(u32, FIELD_GET(IDR1_CMDQS, idr1),
				     VCMDQ_MAX_LOG2SIZE));
	return iommufd_hw_queue_struct_size(struct tegra241_hw_queue, core);
}

/* The queue is not allocated, and nothing is on success but for the guest to use it */
static int tegra241_lvcmdq_hand_over(struct tegra241_vsmmu *t, u16 lidx,
				     phys_addr_t pa, u64 length)
{
	struct tegra241_lvcmdq *lvcmdq = &t->lvcmdqs[lidx];
	u64 base = (pa & VCMDQ_ADDR) |
		   FIELD_PREP(VCMDQ_LOG2SIZE, ilog2(length) - VCMDQ_ENT_SHIFT);
	int ret;

	tegra241_lvcmdq_alloc(t, lidx);
	if (!(tegra241_cmdqv_read(t->cmdqv, alloc_reg(t, lidx)) &
	      CMDQV_CMDQ_ALLOCATED)) {
		tegra241_cmdqv_alloc_vcmdq(t->cmdqv, t->idx, lidx, false);
		lvcmdq->allocated = false;
		return -EIO;
	}

	/* A timeout that is still to come, -EAGAIN, is that of this guest itself */
	ret = tegra241_lvcmdq_reset(t, lidx) == -EIO ? -EIO : 0;
	if (!ret) {
		tegra241_cmdqv_write64(t->cmdqv,
				       page1_reg(t, lidx, TEGRA241_VCMDQ_BASE),
				       base);
		/* A queue that the guest has started already ignores it */
		if (tegra241_lvcmdq_base(t, lidx) != base)
			ret = -EIO;
	}
	if (ret && tegra241_lvcmdq_take_back(t, lidx))
		tegra241_keep_memory(t, lidx, pa, length);
	return ret;
}

static int tegra241_hw_queue_start(struct tegra241_vsmmu *t, u16 lidx,
				   struct tegra241_hw_queue *queue,
				   phys_addr_t base_pa)
{
	struct tegra241_lvcmdq *lvcmdq = &t->lvcmdqs[lidx];
	struct iommufd_hw_queue *hwq = &queue->core;
	int ret;

	lockdep_assert_held(&t->lock);

	/* Nobody turns the VINTF on again, and another thread may have waited long */
	if (READ_ONCE(t->cmdqv->guests_down))
		return -ENODEV;
	if (lvcmdq->queue)
		return -EEXIST;
	if (lidx && !lvcmdq[-1].queue)
		return -EIO;
	/* hw_queue_size has said what is too long */
	if (hwq->length < VCMDQ_MIN_LENGTH || !is_power_of_2(hwq->length) ||
	    base_pa & (hwq->length - 1) || base_pa & ~VCMDQ_ADDR)
		return -EINVAL;
	if (!t->on || lvcmdq->allocated || lvcmdq->dirty)
		return -EIO;

	if (lidx) {
		ret = iommufd_hw_queue_depend(hwq, &lvcmdq[-1].queue->core);
		if (ret)
			return ret;
	}

	ret = tegra241_lvcmdq_hand_over(t, lidx, base_pa, hwq->length);
	if (ret)
		return ret;
	queue->base_pa = base_pa;
	lvcmdq->queue = queue;
	return 0;
}

static int tegra241_hw_queue_init(struct iommufd_hw_queue *hwq,
				  phys_addr_t base_pa)
{
	struct tegra241_hw_queue *queue =
		container_of(hwq, struct tegra241_hw_queue, core);
	struct tegra241_vsmmu *t = to_tegra241(hwq->viommu);
	u16 num = t->cmdqv->num_lvcmdqs_per_vintf;
	int ret;

	if (hwq->index >= num)
		return -EINVAL;

	/* Many threads can wait for the hardware one after the other */
	ret = mutex_lock_killable(&t->lock);
	if (ret)
		return ret;
	ret = tegra241_hw_queue_start(t, array_index_nospec(hwq->index, num),
				      queue, base_pa);
	mutex_unlock(&t->lock);
	return ret;
}

static void tegra241_hw_queue_destroy(struct iommufd_hw_queue *hwq)
{
	struct tegra241_hw_queue *queue =
		container_of(hwq, struct tegra241_hw_queue, core);
	struct tegra241_vsmmu *t = to_tegra241(hwq->viommu);
	struct tegra241_lvcmdq *lvcmdq = &t->lvcmdqs[hwq->index];

	mutex_lock(&t->lock);
	/* tegra241_cmdqv_guests_disable() may have taken it back */
	if (lvcmdq->allocated && tegra241_lvcmdq_take_back(t, hwq->index))
		tegra241_keep_memory(t, hwq->index, queue->base_pa, hwq->length);
	lvcmdq->queue = NULL;
	mutex_unlock(&t->lock);

	/* The same error is a new one in the next queue of this number */
	tegra241_vsmmu_forget_error(t, hwq->index);
}

/*
 * vDEVICEs
 */

static void tegra241_write_sid_pair(struct tegra241_vsmmu *t, unsigned int s,
				    u32 vsid, u32 sid)
{
	u32 match = vintf_reg(t, TEGRA241_VINTF_SID_MATCH(s));
	u32 replace = vintf_reg(t, TEGRA241_VINTF_SID_REPLACE(s));

	set_bit(t->idx, t->cmdqv->atc_sent);
	tegra241_cmdqv_write(t->cmdqv, replace, sid);
	tegra241_cmdqv_write(t->cmdqv, match,
			     FIELD_PREP(VINTF_SID_MATCH_VSID, vsid) |
			     VINTF_SID_MATCH_EN);
}

static void tegra241_clear_sid_pair(struct tegra241_vsmmu *t, unsigned int s)
{
	tegra241_cmdqv_write(t->cmdqv, vintf_reg(t, TEGRA241_VINTF_SID_MATCH(s)),
			     0);
	tegra241_cmdqv_write(t->cmdqv,
			     vintf_reg(t, TEGRA241_VINTF_SID_REPLACE(s)), 0);
	/* The device can be given to another VM next: be sure that it has arrived */
	tegra241_cmdqv_read(t->cmdqv, vintf_reg(t, TEGRA241_VINTF_SID_MATCH(s)));
}

static int tegra241_vdevice_init(struct iommufd_vdevice *core)
{
	struct tegra241_vdevice *vdev =
		container_of(core, struct tegra241_vdevice, core);
	struct arm_smmu_master *master = dev_iommu_priv_get(core->dev);
	struct tegra241_vsmmu *t = to_tegra241(core->viommu);
	int slot = -1;
	int ret;
	u32 sid;
	int s;

	ret = arm_vsmmu_vdevice_init(core);
	if (ret)
		return ret;
	if (core->virt_id > FIELD_MAX(VINTF_SID_MATCH_VSID))
		return -EINVAL;
	sid = master->streams[0].id;
	if (sid > FIELD_MAX(VINTF_SID_REPLACE_SID))
		return -EOPNOTSUPP;

	vdev->slot = -1;
	/* It would never answer an ATC_INV */
	if (!arm_smmu_ats_supported(master))
		return 0;

	guard(mutex)(&t->sid_lock);
	for (s = 0; s < t->cmdqv->num_sids_per_vintf; s++) {
		if (!t->vdevs[s])
			slot = slot < 0 ? s : slot;
		else if (t->vdevs[s]->core.virt_id == core->virt_id)
			/* On its way out: the core has taken its ID away */
			tegra241_clear_sid_pair(t, s);
	}
	if (slot < 0)
		return -ENOSPC;

	t->vdevs[slot] = vdev;
	vdev->slot = slot;
	tegra241_write_sid_pair(t, slot, core->virt_id, sid);
	return 0;
}

static void tegra241_vdevice_destroy(struct iommufd_vdevice *core)
{
	struct tegra241_vdevice *vdev =
		container_of(core, struct tegra241_vdevice, core);
	struct tegra241_vsmmu *t = to_tegra241(core->viommu);

	if (vdev->slot >= 0) {
		mutex_lock(&t->sid_lock);
		tegra241_clear_sid_pair(t, vdev->slot);
		t->vdevs[vdev->slot] = NULL;
		mutex_unlock(&t->sid_lock);
	}
	arm_vsmmu_vdevice_destroy(core);
}

/*
 * The vSMMU
 */

VISIBLE_IF_KUNIT
int tegra241_vsmmu_offer(struct iommufd_viommu *viommu, phys_addr_t page0,
			 unsigned long *offset)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_vsmmu_offer, viommu, page0, offset);
	return iommufd_viommu_alloc_mmap(viommu, page0, TEGRA241_VINTF_PAGE_SIZE,
					 offset);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vsmmu_offer);

VISIBLE_IF_KUNIT
void tegra241_vsmmu_withdraw(struct iommufd_viommu *viommu, unsigned long offset)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_vsmmu_withdraw, viommu, offset);
	iommufd_viommu_free_mmap(viommu, offset);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vsmmu_withdraw);

/* Undo all of tegra241_vsmmu_init() that was done; the VINTF has a number */
static void tegra241_vsmmu_destroy(struct iommufd_viommu *viommu)
{
	struct tegra241_vsmmu *t = to_tegra241(viommu);
	struct tegra241_cmdqv *cmdqv = t->cmdqv;
	struct arm_smmu_vmid *lost = NULL;
	bool clean;
	int ret;

	if (t->offered)
		tegra241_vsmmu_withdraw(viommu, t->offset);

	ret = tegra241_vintf_stop(t, &clean);
	tegra241_unpublish(t);

	/* Only what is off no longer uses the VMID */
	if (!ret)
		arm_vsmmu_destroy(viommu);
	else
		lost = arm_smmu_s2_vmid_abandon(t->vsmmu.parent, &t->vsmmu.s2);

	if (clean) {
		ida_free(&cmdqv->vintf_ids, t->idx);
		kfree(t->lvcmdqs);
		return;
	}

	dev_err_ratelimited(cmdqv->dev,
			    "VINTF%u: does not stop, and will not be used until it does\n",
			    t->idx);
	guard(mutex)(&cmdqv->guests_lock);
	cmdqv->stale[t->idx] = t->lvcmdqs;
	cmdqv->lost[t->idx] = lost;
}

/* VMIDs of VINTFs that are off after all can be used again once they are flushed */
static void tegra241_find_vmids(struct tegra241_cmdqv *cmdqv)
{
	unsigned int idx;

	guard(mutex)(&cmdqv->guests_lock);
	for (idx = 0; idx < cmdqv->num_vintfs; idx++) {
		if (!cmdqv->lost[idx] ||
		    tegra241_cmdqv_read(cmdqv, TEGRA241_VINTF(idx) +
					TEGRA241_VINTF_STATUS) & VINTF_ENABLED)
			continue;
		arm_smmu_s2_vmid_found(&cmdqv->smmu, cmdqv->lost[idx]);
		cmdqv->lost[idx] = NULL;
	}
}

/*
 * A number that is free. One whose last owner has left an ATC_INV is taken if there is
 * no other one: it is of no use as long as a device does not answer.
 */
static int tegra241_vintf_get_free(struct tegra241_cmdqv *cmdqv)
{
	int first = -ENOSPC;
	int min = 1;
	int idx;

	/* It takes two numbers for a moment, which nobody else shall miss */
	guard(mutex)(&cmdqv->ids_lock);
	do {
		idx = ida_alloc_range(&cmdqv->vintf_ids, min,
				      cmdqv->num_vintfs - 1, GFP_KERNEL);
		if (idx < 0)
			return first < 0 ? idx : first;
		min = idx + 1;
		if (!test_bit(idx, cmdqv->atc_sent)) {
			if (first >= 0)
				ida_free(&cmdqv->vintf_ids, first);
			return idx;
		}
		if (first < 0)
			first = idx;
		else
			ida_free(&cmdqv->vintf_ids, idx);
	} while (min < cmdqv->num_vintfs);
	return first;
}

/*
 * A number for a VINTF. One that did not stop when its owner went is taken last, after
 * all others, and after it has stopped: with what was kept for its queues.
 */
static int tegra241_vintf_get(struct tegra241_vsmmu *t, bool *stale)
{
	struct tegra241_cmdqv *cmdqv = t->cmdqv;
	unsigned int i;
	int idx;

	*stale = false;
	idx = tegra241_vintf_get_free(cmdqv);
	if (idx != -ENOSPC)
		return idx;

	guard(mutex)(&cmdqv->guests_lock);
	for (i = 0; i < cmdqv->num_vintfs; i++) {
		u32 status;

		/* Begin behind the last one, whose queues may still not stop */
		idx = (cmdqv->stale_next + i) % cmdqv->num_vintfs;
		status = TEGRA241_VINTF(idx) + TEGRA241_VINTF_STATUS;
		/* Its VMID is still to be found if it has stopped only now */
		if (!cmdqv->stale[idx] || cmdqv->lost[idx] ||
		    tegra241_cmdqv_read(cmdqv, status) & VINTF_ENABLED)
			continue;
		cmdqv->stale_next = idx + 1;
		kfree(t->lvcmdqs);
		t->lvcmdqs = cmdqv->stale[idx];
		cmdqv->stale[idx] = NULL;
		*stale = true;
		return idx;
	}
	return -ENOSPC;
}

static int tegra241_vsmmu_init(struct iommufd_viommu *viommu, struct device *dev,
			       struct iommu_domain *parent,
			       struct iommu_user_data *user_data)
{
	struct iommu_viommu_tegra241_cmdqv data = {
		.out_vintf_mmap_length = TEGRA241_VINTF_PAGE_SIZE,
	};
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct tegra241_cmdqv *cmdqv = to_cmdqv(master->smmu);
	struct tegra241_vsmmu *t = to_tegra241(viommu);
	phys_addr_t page0;
	bool stale;
	int ret;

	if (!user_data || user_data->len != sizeof(data))
		return -EINVAL;
	/* VINTF0 is the host's */
	if (cmdqv->num_vintfs < 2)
		return -ENOSPC;

	t->cmdqv = cmdqv;
	mutex_init(&t->lock);
	mutex_init(&t->sid_lock);
	t->lvcmdqs = kcalloc(cmdqv->num_lvcmdqs_per_vintf, sizeof(*t->lvcmdqs),
			     GFP_KERNEL_ACCOUNT);
	if (!t->lvcmdqs)
		return -ENOMEM;

	tegra241_find_vmids(cmdqv);
	/* The VMID is on the parent's list before the VINTF carries it */
	ret = arm_vsmmu_init(viommu, dev, parent, NULL);
	if (ret)
		goto err_free;

	ret = tegra241_vintf_get(t, &stale);
	if (ret < 0)
		goto err_vsmmu;
	t->idx = ret;

	ret = tegra241_publish(t);
	if (!ret)
		ret = tegra241_vintf_start(t);
	/* One that still does not stop, or cannot be flushed, is as good as none */
	if (ret == -EAGAIN || (ret == -EIO && stale))
		ret = -ENOSPC;
	if (ret)
		goto err_destroy;

	page0 = cmdqv->base_pa + TEGRA241_VINTFi_PAGE0(t->idx);
	ret = tegra241_vsmmu_offer(viommu, page0, &t->offset);
	if (ret)
		goto err_destroy;
	t->offered = true;

	data.out_vintf_mmap_offset = t->offset;
	ret = iommufd_data_to_user(user_data, &data,
				   IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
				   sizeof(data));
	if (ret)
		goto err_destroy;
	return 0;

err_destroy:
	tegra241_vsmmu_destroy(viommu);
	return ret;
err_vsmmu:
	arm_vsmmu_destroy(viommu);
err_free:
	kfree(t->lvcmdqs);
	return ret;
}

static size_t tegra241_veventq_size(struct iommufd_viommu *viommu,
				    unsigned int type)
{
	if (type == IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV)
		return sizeof(struct iommu_vevent_tegra241_cmdqv);
	return arm_vsmmu_veventq_size(viommu, type);
}

const struct iommufd_viommu_ops tegra241_vsmmu_ops = {
	.viommu_size = iommufd_viommu_struct_size(struct tegra241_vsmmu,
						  vsmmu.core),
	.vdevice_size = iommufd_vdevice_struct_size(struct tegra241_vdevice,
						    core),
	.init = tegra241_vsmmu_init,
	.destroy = tegra241_vsmmu_destroy,
	.alloc_domain_nested = arm_vsmmu_alloc_domain_nested,
	.domain_translates = arm_smmu_nested_translates,
	.member_join = arm_smmu_attach_dev_nested,
	.member_leave = arm_smmu_nested_leave,
	.cache_invalidate = arm_vsmmu_cache_invalidate,
	.veventq_size = tegra241_veventq_size,
	.vdevice_init = tegra241_vdevice_init,
	.vdevice_destroy = tegra241_vdevice_destroy,
	.hw_queue_size = tegra241_hw_queue_size,
	.hw_queue_init = tegra241_hw_queue_init,
	.hw_queue_destroy = tegra241_hw_queue_destroy,
};

/*
 * A VINTF0 without HYP_OWN is itself a guest's. Page 0 is mapped to user space, with
 * nothing else beside it.
 */
static bool tegra241_cmdqv_has_guests(struct tegra241_cmdqv *cmdqv)
{
	struct tegra241_vintf *vintf = cmdqv->vintfs[0];

	return vintf && vintf->hyp_own &&
	       IS_ALIGNED(TEGRA241_VINTF_PAGE_SIZE, PAGE_SIZE) &&
	       IS_ALIGNED(cmdqv->base_pa, TEGRA241_VINTF_PAGE_SIZE);
}

/**
 * tegra241_cmdqv_viommu_ops - The vIOMMU types that CMDQV adds
 * @smmu: The SMMU, part of a CMDQV
 * @type: enum iommu_viommu_type
 *
 * Context: Any.
 *
 * Return: the operations of @type, or NULL if @smmu has no such vIOMMU.
 */
const struct iommufd_viommu_ops *
tegra241_cmdqv_viommu_ops(struct arm_smmu_device *smmu, unsigned int type)
{
	if (type != IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV ||
	    !tegra241_cmdqv_has_guests(to_cmdqv(smmu)))
		return NULL;
	return &tegra241_vsmmu_ops;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_viommu_ops);

/**
 * tegra241_cmdqv_hw_info - Report what a VMM has to know about CMDQV
 * @smmu: The SMMU, part of a CMDQV
 * @length: Set to the bytes of the answer
 * @type: The type of answer wanted; set to the type of the answer
 *
 * Context: Process context, may sleep.
 *
 * Return: struct iommu_hw_info_tegra241_cmdqv, which the caller frees, or an error
 * pointer: -EOPNOTSUPP for another type or if guests cannot have a VINTF, -ENOMEM.
 */
void *tegra241_cmdqv_hw_info(struct arm_smmu_device *smmu, u32 *length, u32 *type)
{
	struct tegra241_cmdqv *cmdqv = to_cmdqv(smmu);
	struct iommu_hw_info_tegra241_cmdqv *info;

	if (*type != IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV ||
	    !tegra241_cmdqv_has_guests(cmdqv))
		return ERR_PTR(-EOPNOTSUPP);

	info = kzalloc(sizeof(*info), GFP_KERNEL);
	if (!info)
		return ERR_PTR(-ENOMEM);

	info->version = cmdqv->version;
	info->log2vcmdqs = ilog2(cmdqv->num_lvcmdqs_per_vintf);
	info->log2vsids = ilog2(cmdqv->num_sids_per_vintf);
	*length = sizeof(*info);
	return info;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_hw_info);
