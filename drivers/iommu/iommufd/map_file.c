// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE: iopt_pages with a file as their origin
 *
 * Only where PFNs come from differs from IOMMU_IOAS_MAP. All that follows, from
 * batches to unpinning, is the code of pages.c and knows nothing of files. It
 * releases pins page by page and in any order, so every page of a folio gets a
 * pin here, as pin_user_pages() does it, although memfd_pin_folios() takes one
 * per folio. The pins of a folio are taken at once, and its pages are passed on
 * as one run.
 *
 * A file can be pinned without the mm that made the mapping. It outlives the
 * process like the memory of a VM that was handed over.
 *
 * Locks: iopt_pages::mutex, i_rwsem of a hugetlbfs inode (shared), i_pages. The
 * lock of a folio is taken without the other two.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/hugetlb.h>
#include <linux/iommu.h>
#include <linux/memfd.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <uapi/linux/fcntl.h>
#include <uapi/linux/iommufd.h>

#include "io_pagetable.h"

static unsigned int file_seals(struct file *file)
{
	struct inode *inode = file_inode(file);

#ifdef CONFIG_HUGETLBFS
	if (is_file_hugepages(file))
		return READ_ONCE(HUGETLBFS_I(inode)->seals);
#endif
	return READ_ONCE(SHMEM_I(inode)->seals);
}

/*
 * mmap() asks the security modules by security_mmap_file(), which is not exported.
 * Ask them as read() and write() do. They then check the access again if the
 * process that uses the file is not the one that opened it. fanotify may let user
 * space decide, so the caller must hold no lock and no object.
 */
static int file_check(struct file *file, loff_t start, size_t length,
		      bool writable)
{
	int rc;

	if (!shmem_file(file) && !is_file_hugepages(file))
		return -EINVAL;
	/* Somebody's wrapper around such a file has no seals to look at */
	if (file->f_mapping->host != file_inode(file))
		return -EINVAL;

	/* mmap() does not take a file that is only open for writing either */
	if (!(file->f_mode & FMODE_READ) ||
	    (writable && !(file->f_mode & FMODE_WRITE)))
		return -EPERM;

	rc = rw_verify_area(READ, file, &start, length);
	if (!rc && writable)
		rc = rw_verify_area(WRITE, file, &start, length);
	return rc;
}

/*
 * The file is like one that is mapped shared and writable for as long as pages
 * can be pinned: F_SEAL_WRITE finds it busy.
 */
static int file_get_write(struct file *file)
{
	int rc;

	rc = mapping_map_writable(file->f_mapping);
	if (rc)
		return rc;
	if (file_seals(file) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) {
		mapping_unmap_writable(file->f_mapping);
		return -EPERM;
	}
	return 0;
}

static struct iopt_pages *iopt_alloc_file_pages(struct file *file, u64 start,
						unsigned long length,
						bool writable)
{
	unsigned long offset = offset_in_page(start);
	struct iopt_pages *pages;
	u64 last;
	int rc;

	if (!length)
		return ERR_PTR(-EINVAL);
	if (check_add_overflow(start, (u64)length - 1, &last) ||
	    start > ULONG_MAX)
		return ERR_PTR(-EOVERFLOW);
	/* Where no file has a byte */
	if (last >= MAX_LFS_FILESIZE)
		return ERR_PTR(-EINVAL);

	rc = file_check(file, start, length, writable);
	if (rc)
		return ERR_PTR(rc);
	if (writable) {
		rc = file_get_write(file);
		if (rc)
			return ERR_PTR(rc);
	}

	pages = iopt_alloc_pages((void __user *)offset, length, writable);
	if (IS_ERR(pages)) {
		if (writable)
			mapping_unmap_writable(file->f_mapping);
		return pages;
	}
	pages->file = get_file(file);
	pages->file_start = start - offset;
	return pages;
}

void iopt_pages_put_file(struct iopt_pages *pages)
{
	if (pages->writable)
		mapping_unmap_writable(pages->file->f_mapping);
	fput(pages->file);
}

/*
 * hugetlbfs clears the flag of a folio only when it truncates the folio. tmpfs
 * leaves what fallocate() allocates without the flag, and not zeroed, until
 * somebody uses the folio.
 */
static bool folio_ready(struct file *file, struct folio *folio)
{
	return is_file_hugepages(file) || folio_test_uptodate(folio);
}

/*
 * Return the first index from @index on that memfd_pin_folios() must not see, or
 * one behind @last: where the file has no page, where the page is not ready, and
 * where it is poisoned. memfd_pin_folios() would try to migrate a poisoned folio
 * out of ZONE_MOVABLE or CMA until it succeeds, which is never.
 *
 * The lock of the page cache keeps folios in it, so none needs a reference. No
 * more than @max_folios are looked at under it.
 */
static pgoff_t file_ready(struct file *file, pgoff_t index, pgoff_t last,
			  unsigned int max_folios, bool *poisoned)
{
	XA_STATE(xas, &file->f_mapping->i_pages, index);
	struct folio *folio;

	*poisoned = false;
	xas_lock_irq(&xas);
	folio = xas_load(&xas);
	while (folio && !xa_is_value(folio) && !xa_is_internal(folio)) {
		*poisoned = folio_contain_hwpoisoned_page(folio);
		if (*poisoned || !folio_ready(file, folio))
			break;
		index = folio_next_index(folio);
		if (index > last || !--max_folios)
			break;
		xas_advance(&xas, index - 1);
		folio = xas_next(&xas);
	}
	xas_unlock_irq(&xas);
	return min(index, last + 1);
}

/*
 * The lock of a hugetlbfs inode keeps its pages in the file. So each page that
 * file_ready() has seen is still there for memfd_pin_folios(), which must not add
 * one itself: it takes a page that another file has reserved.
 */
static long pin_ready(struct file *file, pgoff_t index, pgoff_t last,
		      struct folio **folios, unsigned int max_folios)
{
	struct inode *inode = file_inode(file);
	bool hugetlb = is_file_hugepages(file);
	pgoff_t end, unused;
	bool poisoned;
	loff_t size;
	long rc;

	if (hugetlb && down_read_killable(&inode->i_rwsem))
		return -EINTR;

	/* As with mmap(), all of the page with the last byte can be used */
	size = i_size_read(inode);
	if (!size || last > (size - 1) >> PAGE_SHIFT) {
		rc = -EINVAL;
		goto out_unlock;
	}

	end = file_ready(file, index, last, max_folios, &poisoned);
	if (end == index) {
		rc = poisoned ? -EFAULT : -ENOENT;
		goto out_unlock;
	}
	rc = memfd_pin_folios(file, (loff_t)index << PAGE_SHIFT,
			      min((loff_t)end << PAGE_SHIFT, size) - 1, folios,
			      max_folios, &unused);
out_unlock:
	if (hugetlb)
		up_read(&inode->i_rwsem);
	return rc;
}

/* Bring pages from @index on into a file on tmpfs, @max_folios at most */
static int fill_shmem(struct file *file, pgoff_t index, pgoff_t last,
		      unsigned int max_folios)
{
	unsigned int i;

	for (i = 0; i != max_folios && index <= last; i++) {
		struct folio *folio = shmem_read_folio(file->f_mapping, index);

		/* The caller pins the pages before this one and comes again */
		if (IS_ERR(folio))
			return i ? 0 : PTR_ERR(folio);
		index = folio_next_index(folio);
		folio_put(folio);
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/*
 * Bring the huge page with @index into a file on hugetlbfs. The fallocate() of
 * hugetlbfs uses up the file's reservation for the page if there is one, and
 * charges the page. vfs_fallocate() would want the file to be open for writing; a
 * read fault allocates the page as well.
 */
static int fill_hugetlb(struct file *file, pgoff_t index)
{
	loff_t pos = (loff_t)index << PAGE_SHIFT;
	sigset_t blocked, saved;
	int rc;

	/* One byte brings the whole page, and lies within the size of the file */
	rc = file->f_op->fallocate(file, FALLOC_FL_KEEP_SIZE, pos, 1);
	if (rc == -EINTR && !fatal_signal_pending(current)) {
		/*
		 * fallocate() gives way to every signal, pinning pages only to
		 * those that kill. What cannot be blocked, such as task work
		 * and the freezer, has to be served in user mode. The ioctl
		 * then starts again and finds the pages that it has got.
		 */
		siginitsetinv(&blocked, sigmask(SIGKILL));
		sigprocmask(SIG_SETMASK, &blocked, &saved);
		rc = file->f_op->fallocate(file, FALLOC_FL_KEEP_SIZE, pos, 1);
		sigprocmask(SIG_SETMASK, &saved, NULL);
		if (rc == -EINTR && !fatal_signal_pending(current))
			rc = -ERESTARTNOINTR;
	}
	return rc;
}

/* Device memory must not be in ZONE_MOVABLE or CMA. Allocate it elsewhere. */
static int fill(struct file *file, pgoff_t index, pgoff_t last,
		unsigned int max_folios)
{
	unsigned int flags = memalloc_pin_save();
	int rc;

	if (is_file_hugepages(file))
		rc = fill_hugetlb(file, index);
	else
		rc = fill_shmem(file, index, last, max_folios);
	memalloc_pin_restore(flags);
	/* ENOSPC would speak of the IOVAs, or of the VMIDs of an SMMU */
	return rc == -ENOSPC || rc == -EDQUOT ? -ENOMEM : rc;
}

/*
 * Add pins to a large folio that has one. Where each page of a folio can be
 * released on its own, unpin_user_pages() and its kind expect as many pins.
 */
static void add_pins(struct folio *folio, unsigned long pins)
{
	if (!pins)
		return;
	folio_ref_add(folio, pins);
	atomic_add(pins, &folio->_pincount);
	node_stat_mod_folio(folio, NR_FOLL_PIN_ACQUIRED, pins);
}

/*
 * Make a run of each folio in the list. The folio has one pin, and needs one for
 * each page of the run.
 *
 * memfd_pin_folios() does not lock folios, so the pin can come too late:
 * khugepaged, which checks the reference count under the lock, has then copied
 * the folio and put the copy into the file, and a hole may have been punched. If
 * the folio is still in the file now, whoever wants to take it away sees the pin.
 * A folio that is no longer there is dropped with all that follow it.
 */
static long folios_to_runs(struct file *file, struct folio **folios,
			   long nfolios, pgoff_t index, unsigned long npages,
			   struct iopt_file_run *runs)
{
	struct address_space *mapping = file->f_mapping;
	unsigned long done = 0;
	long rc = 0;
	long i;

	for (i = 0; i != nfolios && done != npages; i++) {
		struct folio *folio = folios[i];
		unsigned long first;

		/* No holder of the lock waits for user space */
		rc = folio_lock_killable(folio);
		if (rc)
			break;
		if (folio->mapping != mapping ||
		    !folio_contains(folio, index + done) ||
		    !folio_ready(file, folio) ||
		    folio_contain_hwpoisoned_page(folio))
			rc = -EAGAIN;
		first = index + done - folio->index;
		folio_unlock(folio);
		if (rc)
			break;

		/* Far from where the count would wrap, whoever adds to it now */
		if (folio_ref_count(folio) > INT_MAX / 2) {
			rc = -ENOMEM;
			break;
		}
		runs[i].pfn = folio_pfn(folio) + first;
		runs[i].npages =
			min(npages - done, folio_nr_pages(folio) - first);
		add_pins(folio, runs[i].npages - 1);
		done += runs[i].npages;
	}
	if (i != nfolios)
		unpin_folios(folios + i, nfolios - i);
	return done ?: rc;
}

/**
 * iopt_pages_pin_file() - Pin pages of a file
 * @pages: The iopt_pages, which have a file
 * @start_index: Index of the first page to pin
 * @npages: Number of pages to pin
 * @runs: Array for the result, whose runs add up to the number of pages pinned
 * @max_runs: Number of elements of @runs, at least 1
 *
 * Each page is pinned once, no matter how many of them are in a folio, to be
 * released like pages from pin_user_pages().
 *
 * Context: The caller holds the mutex of @pages. May sleep for memory and for
 *          folio locks. A fatal signal ends the wait.
 * Return: Number of pages pinned, which can be less than @npages but not 0, or
 *         a negative errno: -EINVAL if the file does not have the range, -EFAULT
 *         if the first page is poisoned, -EINTR if a fatal signal is pending,
 *         -ERESTARTNOINTR, -ENOMEM, or what the file system returned.
 */
long iopt_pages_pin_file(struct iopt_pages *pages, unsigned long start_index,
			 unsigned long npages, struct iopt_file_run *runs,
			 unsigned int max_runs)
{
	pgoff_t index = (pages->file_start >> PAGE_SHIFT) + start_index;
	struct folio *folios[IOPT_FILE_RUNS];
	pgoff_t last = index + npages - 1;
	struct file *file = pages->file;
	long rc;

	lockdep_assert_held(&pages->mutex);

	max_runs = min(max_runs, IOPT_FILE_RUNS);
	/* A test has left no room for one */
	if (!max_runs)
		return -ENOMEM;
	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();

		rc = pin_ready(file, index, last, folios, max_runs);
		if (rc > 0)
			rc = folios_to_runs(file, folios, rc, index, npages,
					    runs);
		else if (rc == -ENOENT)
			rc = fill(file, index, last, max_runs) ?: -EAGAIN;
	} while (!rc || rc == -EAGAIN);
	return rc;
}

/**
 * iopt_runs_to_pages() - List the pages of runs
 * @runs: The runs, from iopt_pages_pin_file()
 * @pages: Array for the result
 * @npages: Number of pages in all runs
 */
void iopt_runs_to_pages(const struct iopt_file_run *runs, struct page **pages,
			unsigned long npages)
{
	unsigned long i;

	for (; npages; runs++) {
		for (i = 0; i != runs->npages; i++)
			*pages++ = pfn_to_page(runs->pfn + i);
		npages -= runs->npages;
	}
}

/**
 * iopt_runs_unpin() - Unpin a part of the pages of runs
 * @runs: The runs, from iopt_pages_pin_file()
 * @skip: Number of pages at the start that stay pinned
 * @npages: Number of pages to unpin
 */
void iopt_runs_unpin(const struct iopt_file_run *runs, unsigned long skip,
		     unsigned long npages)
{
	for (; npages; runs++) {
		unsigned long nr;

		if (skip >= runs->npages) {
			skip -= runs->npages;
			continue;
		}
		nr = min(runs->npages - skip, npages);
		unpin_user_page_range_dirty_lock(pfn_to_page(runs->pfn + skip),
						 nr, false);
		skip = 0;
		npages -= nr;
	}
}

int iommufd_ioas_map_file(struct iommufd_ucmd *ucmd)
{
	struct iommu_ioas_map_file *cmd = ucmd->cmd;
	unsigned long iova = cmd->iova;
	struct iopt_pages *pages;
	struct iommufd_ioas *ioas;
	unsigned long unmapped;
	unsigned int flags = 0;
	struct file *file;
	int iommu_prot;
	int rc;

	if (cmd->flags &
	    ~(IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
	      IOMMU_IOAS_MAP_READABLE))
		return -EOPNOTSUPP;
	if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX)
		return -EOVERFLOW;

	if (!(cmd->flags &
	      (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)))
		return -EINVAL;

	file = fget(cmd->fd);
	if (!file)
		return -EBADF;
	iommu_prot = iommufd_conv_iommu_prot(cmd->flags);
	pages = iopt_alloc_file_pages(file, cmd->start, cmd->length,
				      iommu_prot & IOMMU_WRITE);
	fput(file);
	if (IS_ERR(pages))
		return PTR_ERR(pages);

	/* After the checks of the file, which can wait for user space */
	ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);
	if (IS_ERR(ioas)) {
		iopt_put_pages(pages);
		return PTR_ERR(ioas);
	}

	if (!(cmd->flags & IOMMU_IOAS_MAP_FIXED_IOVA))
		flags = IOPT_ALLOC_IOVA;
	rc = iopt_map_new_pages(ucmd->ictx, &ioas->iopt, &iova, pages,
				offset_in_page(cmd->start), cmd->length,
				iommu_prot, flags);
	if (rc)
		goto out_put;

	cmd->iova = iova;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	/* Nobody would know where it is */
	if (rc)
		iopt_unmap_iova(&ioas->iopt, iova, cmd->length, &unmapped);
out_put:
	iommufd_put_object(ucmd->ictx, &ioas->obj);
	return rc;
}
