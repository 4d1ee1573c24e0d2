// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_CHANGE_PROCESS: another process is charged for mapped memory
 *
 * An iopt_pages remembers the process that mapped it: its mm, its group leader and
 * its user. That process, the payer, is charged for the pages that are pinned, also
 * when another process or a driver pins or unpins them later. A file can be pinned
 * without the payer's mm, so the payer of an iopt_pages with a file can change.
 *
 * A context lists every iopt_pages that one of its IOASes has mapped, once and from
 * the first mapping until it is freed. The list includes those that another thread
 * copies or unmaps right now. So the change needs no IOAS and no area: it walks the
 * list, and an iopt_pages is charged once however many areas share it.
 *
 * iommufd_ctx::account_rwsem makes the change atomic. It is held for reading while
 * the charge of an iopt_pages with a file changes, and while the list changes. It is
 * held for writing while all payers change. It is not held while pages are pinned:
 * what another thread has pinned and not yet charged is charged to the new payer.
 *
 * Everything that can fail comes first: the caller is charged for the sum, in one
 * step. Nothing has to be undone.
 *
 * The process that an iopt_pages remembers while it is mapped for the first time
 * is the one that maps it. It is not on the list yet, and the change leaves it alone.
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
#include <uapi/linux/iommufd.h>

#include "io_pagetable.h"
#include "iommufd_private.h"

/**
 * iopt_pages_enlist() - List the pages in their context, if they are not there yet
 * @pages: Pages that an area is about to get
 *
 * Context: The caller holds the iova_rwsem of the area's IOAS for writing, and lets
 *          nobody see the pages in the area before.
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
 * iopt_pages_delist() - Undo iopt_pages_enlist() for pages that are freed
 * @pages: Pages without references, which need not be listed
 */
void iopt_pages_delist(struct iopt_pages *pages)
{
	struct iommufd_ctx *ictx = pages->ictx;

	/* No area ever had the pages */
	if (list_empty(&pages->account_item))
		return;

	down_read(&ictx->account_rwsem);
	spin_lock(&ictx->account_lock);
	list_del_init(&pages->account_item);
	spin_unlock(&ictx->account_lock);
	up_read(&ictx->account_rwsem);
}

/* Whether a change to @account_mode of the caller charges the same counter */
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
 * Charge the caller for all that is pinned and that the caller does not pay for
 * already. The RLIMIT_MEMLOCK of the caller applies, unless there is nothing to
 * charge. What it is exceeded by does not matter: nothing is charged then.
 */
static int iommufd_charge_caller(struct iommufd_ctx *ictx, u8 account_mode)
{
	unsigned long npages = 0;
	struct iopt_pages *pages;

	lockdep_assert_held_write(&ictx->account_rwsem);

	list_for_each_entry(pages, &ictx->account_list, account_item) {
		/* Only the process that has the address can pin it */
		if (!pages->file)
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

/* The caller has been charged for the pages by iommufd_charge_caller() */
static void iopt_pages_change_payer(struct iopt_pages *pages, u8 account_mode)
{
	lockdep_assert_held_write(&pages->ictx->account_rwsem);

	if (!iopt_pages_same_charge(pages, account_mode))
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

	/* As if the caller had mapped the memory */
	account_mode = iopt_account_mode();
	if (account_mode == IOPT_PAGES_ACCOUNT_USER &&
	    ictx->account_mode == IOPT_PAGES_ACCOUNT_MM)
		account_mode = IOPT_PAGES_ACCOUNT_MM;

	if (down_write_killable(&ictx->account_rwsem))
		return -EINTR;
	rc = iommufd_charge_caller(ictx, account_mode);
	if (rc)
		goto out_unlock;
	list_for_each_entry(pages, &ictx->account_list, account_item)
		iopt_pages_change_payer(pages, account_mode);
out_unlock:
	up_write(&ictx->account_rwsem);
	return rc;
}
