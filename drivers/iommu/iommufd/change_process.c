// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_CHANGE_PROCESS: charge another process for mapped memory
 *
 * An iopt_pages remembers the mm, the group leader and the user of the process that
 * mapped it. This process, the payer, is charged for the pinned pages, also if another
 * process or a driver pins or unpins them later. A file can be pinned without the mm
 * of the payer. So an iopt_pages that has a file can change its payer.
 *
 * A context lists every iopt_pages that its IOASes have mapped, from the first mapping
 * until the iopt_pages is freed. The list has an iopt_pages once, however many areas
 * share it, and also while another thread copies or unmaps it. So a change of the payer
 * walks the list. It looks at no IOAS and takes no lock of one.
 *
 * An iopt_pages that is being mapped for the first time is not on the list yet. A change
 * leaves it to the process that maps it.
 *
 * iommufd_ctx::account_rwsem makes a change atomic. A thread holds it for reading while
 * it changes the charge of an iopt_pages with a file, or the list. A change holds it for
 * writing. Nobody holds it while pinning pages. If a thread has pinned pages but has not
 * charged them yet when the payer changes, the thread then charges the new payer.
 *
 * A change first charges the caller for the sum of all pinned pages. Only this can fail,
 * so a change never has to undo anything.
 *
 * Lock order: io_pagetable::domains_rwsem, io_pagetable::iova_rwsem,
 * iopt_pages::mutex, iommufd_ctx::account_rwsem, then mmap_lock of a payer, or
 * iommufd_ctx::account_lock, which is a leaf.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <uapi/linux/iommufd.h>

#include "io_pagetable.h"
#include "iommufd_private.h"

/**
 * iopt_pages_enlist() - Add pages to the list of their context
 * @pages: Pages that an area is about to get, which can be on the list already
 *
 * Context: The caller holds the iova_rwsem of the area's IOAS for writing. So no other
 *          thread can use the area before its pages are on the list.
 */
void iopt_pages_enlist(struct iopt_pages *pages)
{
	struct iommufd_ctx *ictx = pages->ictx;

	down_read(&ictx->account_rwsem);
	spin_lock(&ictx->account_lock);
	if (list_empty(&pages->account_item))
		list_add_tail(&pages->account_item, &ictx->account_list);
	spin_unlock(&ictx->account_lock);
	up_read(&ictx->account_rwsem);
}

/**
 * iopt_pages_delist() - Remove pages from the list of their context
 * @pages: Pages that are being freed, which need not be on the list
 */
void iopt_pages_delist(struct iopt_pages *pages)
{
	struct iommufd_ctx *ictx = pages->ictx;

	/* They were never mapped, and then ictx can be NULL */
	if (list_empty(&pages->account_item))
		return;

	down_read(&ictx->account_rwsem);
	spin_lock(&ictx->account_lock);
	list_del_init(&pages->account_item);
	spin_unlock(&ictx->account_lock);
	up_read(&ictx->account_rwsem);
}

/* Return true if the caller, with @account_mode, is charged for the pages already */
static bool iopt_pages_same_charge(struct iopt_pages *pages, u8 account_mode)
{
	if (pages->account_mode != account_mode)
		return false;
	switch (account_mode) {
	case IOPT_PAGES_ACCOUNT_USER:
		return pages->source_user == current_user();
	case IOPT_PAGES_ACCOUNT_MM:
		return pages->source_mm == current->mm;
	}
	return true;
}

/*
 * Charge the caller for all pinned pages that it is not charged for already. If there
 * are any, the RLIMIT_MEMLOCK of the caller applies to their sum.
 */
static int iommufd_charge_caller(struct iommufd_ctx *ictx, u8 account_mode)
{
	unsigned long npages = 0;
	struct iopt_pages *pages;

	lockdep_assert_held_write(&ictx->account_rwsem);

	list_for_each_entry(pages, &ictx->account_list, account_item) {
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		if (iopt_pages_has_address(pages))
			return -EINVAL;
		if (!iopt_pages_same_charge(pages, account_mode))
			npages += pages->last_npinned;
	}
	if (!npages)
		return 0;

	if (iommufd_should_fail())
		return -ENOMEM;
	switch (account_mode) {
	case IOPT_PAGES_ACCOUNT_USER:
		return iopt_charge_user(current_user(), current, npages);
	case IOPT_PAGES_ACCOUNT_MM:
		return account_locked_vm(current->mm, npages, true);
	}
	return 0;
}

/* iommufd_charge_caller() has charged the caller, so only drop the old charge */
static void iopt_pages_change_payer(struct iopt_pages *pages, u8 account_mode)
{
	lockdep_assert_held_write(&pages->ictx->account_rwsem);

	/* If nothing is pinned, do not wait for the mmap_lock of another process */
	if (pages->last_npinned && !iopt_pages_same_charge(pages, account_mode))
		iopt_pages_uncharge(pages);
	if (pages->source_mm != current->mm) {
		atomic64_add(pages->last_npinned, &current->mm->pinned_vm);
		atomic64_sub(pages->last_npinned, &pages->source_mm->pinned_vm);
	}
	iopt_pages_put_source(pages);
	iopt_pages_get_source(pages, account_mode);
}

int iommufd_ioas_change_process(struct iommufd_ucmd *ucmd)
{
	struct iommu_ioas_change_process *cmd = ucmd->cmd;
	struct iommufd_ctx *ictx = ucmd->ictx;
	struct iopt_pages *pages;
	u8 account_mode;
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	/* Charge the caller as if it had mapped the memory */
	account_mode = iopt_account_mode();
	if (account_mode == IOPT_PAGES_ACCOUNT_USER &&
	    ictx->account_mode == IOPT_PAGES_ACCOUNT_MM)
		account_mode = IOPT_PAGES_ACCOUNT_MM;

	if (down_write_killable(&ictx->account_rwsem))
		return -EINTR;
	rc = iommufd_charge_caller(ictx, account_mode);
	if (rc)
		goto out_unlock;
	list_for_each_entry(pages, &ictx->account_list, account_item) {
		iopt_pages_change_payer(pages, account_mode);
		cond_resched();
	}
out_unlock:
	up_write(&ictx->account_rwsem);
	return rc;
}
