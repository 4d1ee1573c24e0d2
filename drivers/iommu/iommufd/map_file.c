// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE: iopt_pages with a file as their origin
 *
 * Only the origin of the PFNs differs from IOMMU_IOAS_MAP. Everything that
 * follows, from batches to unpinning, is the code of pages.c, which knows
 * nothing of files. That code releases pins page by page and in any order, so
 * every page needs a pin of its own, as from pin_user_pages().
 * memfd_pin_folios() takes one pin per folio. The others are added here, all
 * pins of a folio at once, and the pages of the folio are passed on as one run.
 *
 * Pinning a file does not need the mm that made the mapping. So the mapping
 * goes on working after the process has handed the VM over and exited.
 *
 * Lock order: iopt_pages::mutex, i_rwsem of a hugetlbfs inode (shared),
 * i_pages. The lock of a folio is taken under the first of them only.
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
 * Check whether the file can be mapped. mmap() asks the security modules by
 * security_mmap_file(), which is not exported. Ask them as read() and write()
 * do. If the process that uses the file is not the one that opened it, they
 * then check the access again. fanotify may ask user space, so the caller must
 * hold no lock and no object.
 */
static int file_check(struct file *file, loff_t start, size_t length,
		      bool writable)
{
	int rc;

	if (!shmem_file(file) && !is_file_hugepages(file))
		return -EINVAL;
	/* A file that only wraps such a file has no seals to look at */
	if (file->f_mapping->host != file_inode(file))
		return -EINVAL;

	/* Like mmap(), refuse a file that is open for writing only */
	if (!(file->f_mode & FMODE_READ) ||
	    (writable && !(file->f_mode & FMODE_WRITE)))
		return -EPERM;

	rc = rw_verify_area(READ, file, &start, length);
	if (!rc && writable)
		rc = rw_verify_area(WRITE, file, &start, length);
	return rc;
}

/*
 * Count the file as mapped shared and writable for as long as pages can be
 * pinned. F_ADD_SEALS then fails with EBUSY for F_SEAL_WRITE.
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
	/* No file can have data at or beyond MAX_LFS_FILESIZE */
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
 * Tell whether a folio has its contents. If fallocate() allocates a folio on
 * tmpfs, tmpfs neither zeroes it nor sets the flag until somebody uses the
 * folio. hugetlbfs clears the flag only when it truncates the folio.
 */
static bool folio_ready(struct file *file, struct folio *folio)
{
	return is_file_hugepages(file) || folio_test_uptodate(folio);
}

/*
 * Return the first index from @index on that memfd_pin_folios() must not see,
 * or the one behind @last. It must not see an index where the file has no page,
 * or where the page is not ready or is poisoned. It would try to migrate a
 * poisoned folio out of ZONE_MOVABLE or CMA, and never stop.
 *
 * The lock of the page cache keeps folios in it, so none needs a reference. At
 * most @max_folios are looked at, since this holds the lock.
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
 * Pin the pages from @index on that are in the file and ready. The lock of a
 * hugetlbfs inode keeps its pages in the file, so memfd_pin_folios() finds each
 * page that file_ready() has seen. It must not add a page itself, because it
 * would take one that another file has reserved.
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

/* Bring the pages from @index on into a file on tmpfs, at most @max_folios */
static int fill_shmem(struct file *file, pgoff_t index, pgoff_t last,
		      unsigned int max_folios)
{
	unsigned int i;

	for (i = 0; i != max_folios && index <= last; i++) {
		struct folio *folio = shmem_read_folio(file->f_mapping, index);

		/* The caller pins the pages before this one and calls again */
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
 * hugetlbfs charges the page, and uses up the reservation that the file has for
 * it, if any. vfs_fallocate() would refuse a file that is not open for writing,
 * but a read fault allocates the page as well.
 */
static int fill_hugetlb(struct file *file, pgoff_t index)
{
	loff_t pos = (loff_t)index << PAGE_SHIFT;
	sigset_t blocked, saved;
	int rc;

	/*
	 * One byte allocates the whole page, and lies within the size of the
	 * file.
	 */
	rc = file->f_op->fallocate(file, FALLOC_FL_KEEP_SIZE, pos, 1);
	if (rc == -EINTR && !fatal_signal_pending(current)) {
		/*
		 * Every signal interrupts fallocate(), but only a fatal one may
		 * interrupt pinning. So try again with the others blocked. What
		 * cannot be blocked, such as task work and the freezer, has to
		 * be served in user mode. The ioctl then starts again and finds
		 * the pages that it has allocated.
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

/*
 * Allocate pages that the file lacks. Pages that a device uses must not be in
 * ZONE_MOVABLE or CMA.
 */
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
	/* Elsewhere ENOSPC means that no IOVA or no VMID is left */
	return rc == -ENOSPC || rc == -EDQUOT ? -ENOMEM : rc;
}

/*
 * Add pins to a large folio that has one. unpin_user_pages() and its variants
 * can release each page of a folio on its own, and drop one pin per page.
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
 * Make a run of each folio in the list. Each folio has one pin, and gets one
 * for each page of its run.
 *
 * memfd_pin_folios() does not lock folios, so its pin can come too late.
 * khugepaged checks the reference count under the lock of the folio. By now it
 * may have copied the folio and put the copy into the file. A hole may have
 * been punched as well. If the folio is still in the file now, whoever wants to
 * take it away sees the pin. If the folio is not there, it is dropped with all
 * that follow it.
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

		/* No holder of the lock of a folio waits for user space */
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

		/*
		 * Stay far from where the count wraps: others may add to it
		 * now.
		 */
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
 * Each page gets one pin, no matter how many pages its folio has. Release the
 * pages like those from pin_user_pages().
 *
 * Context: The caller holds the mutex of @pages. May sleep for memory and for
 *          folio locks. A fatal signal ends the wait.
 * Return: Number of pages pinned, which can be less than @npages but not 0, or
 *         a negative errno: -EINVAL if the file does not have the range,
 *         -EFAULT if the first page is poisoned, -EINTR if a fatal signal is
 *         pending, -ERESTARTNOINTR, -ENOMEM, or what the file system returned.
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
	/* Only a test leaves no room for a run */
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

/**
 * iommufd_ioas_map_file_prot() - Check the flags of IOMMU_IOAS_MAP_FILE
 * @cmd: The command
 *
 * Return: Bits of iommu_map(), or a negative errno.
 */
int iommufd_ioas_map_file_prot(const struct iommu_ioas_map_file *cmd)
{
	if (cmd->flags &
	    ~(IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
	      IOMMU_IOAS_MAP_READABLE))
		return -EOPNOTSUPP;
	if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX)
		return -EOVERFLOW;

	if (!(cmd->flags &
	      (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)))
		return -EINVAL;
	return iommufd_conv_iommu_prot(cmd->flags);
}

/**
 * iommufd_ioas_map_file_pages() - Map what IOMMU_IOAS_MAP_FILE names
 * @ucmd: The command
 * @pages: The range of the file. The reference is consumed, also by an error.
 * @iommu_prot: From iommufd_ioas_map_file_prot()
 *
 * Return: 0 or a negative errno
 */
int iommufd_ioas_map_file_pages(struct iommufd_ucmd *ucmd,
				struct iopt_pages *pages, int iommu_prot)
{
	struct iommu_ioas_map_file *cmd = ucmd->cmd;
	unsigned long iova = cmd->iova;
	struct iommufd_ioas *ioas;
	unsigned long unmapped;
	unsigned int flags = 0;
	int rc;

	/* Checks of the file can wait for user space, so hold no IOAS then */
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
	/* User space would not know the IOVA */
	if (rc)
		iopt_unmap_iova(&ioas->iopt, iova, cmd->length, &unmapped);
out_put:
	iommufd_put_object(ucmd->ictx, &ioas->obj);
	return rc;
}

int iommufd_ioas_map_file(struct iommufd_ucmd *ucmd)
{
	struct iommu_ioas_map_file *cmd = ucmd->cmd;
	struct iopt_pages *pages;
	struct file *file;
	int iommu_prot;

	iommu_prot = iommufd_ioas_map_file_prot(cmd);
	if (iommu_prot < 0)
		return iommu_prot;

	file = fget(cmd->fd);
	if (!file)
		return -EBADF;
	pages = iopt_alloc_file_pages(file, cmd->start, cmd->length,
				      iommu_prot & IOMMU_WRITE);
	fput(file);
	if (IS_ERR(pages))
		return PTR_ERR(pages);
	return iommufd_ioas_map_file_pages(ucmd, pages, iommu_prot);
}
