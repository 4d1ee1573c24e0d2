// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE: iopt_pages with a file as their origin
 *
 * Only where PFNs come from differs from IOMMU_IOAS_MAP. All that follows, from
 * batches to unpinning, is the code of pages.c and knows nothing of files. It
 * releases pins page by page and in any order, so every page of a folio gets a
 * pin of its own here, as pin_user_pages() does it, although memfd_pin_folios()
 * gives one per folio.
 *
 * A file can be pinned without the mm that made the mapping. It outlives the
 * process like the memory of a VM that was handed over.
 */
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/iommu.h>
#include <linux/memfd.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
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

static int file_check(struct file *file, bool writable)
{
	if (!shmem_file(file) && !is_file_hugepages(file))
		return -EINVAL;
	/* Somebody's wrapper around such a file has no seals to look at */
	if (file->f_mapping->host != file_inode(file))
		return -EINVAL;

	/* mmap() does not take a file that is only open for writing either */
	if (!(file->f_mode & FMODE_READ) ||
	    (writable && !(file->f_mode & FMODE_WRITE)))
		return -EPERM;
	return 0;
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

	rc = file_check(file, writable);
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

/* The lock keeps hugetlbfs from truncating while pages are added */
static long pin_hugetlb(struct file *file, loff_t start, loff_t last,
			struct folio **folios, unsigned long max_folios)
{
	struct inode *inode = file_inode(file);
	pgoff_t unused;
	long rc;

	inode_lock_shared(inode);
	rc = memfd_pin_folios(file, start, last, folios, max_folios, &unused);
	inode_unlock_shared(inode);
	return rc;
}

/*
 * What fallocate() has put into tmpfs is not zeroed before somebody reads it, but
 * memfd_pin_folios() takes it as it is: it would show what the memory held
 * before, and lose what a device writes to the first read by a CPU. Read it.
 */
static int folio_make_uptodate(struct file *file, struct folio *folio,
			       pgoff_t index)
{
	struct folio *read;

	/* On hugetlbfs it is zeroed, and truncation alone makes it look otherwise */
	if (is_file_hugepages(file) || folio_test_uptodate(folio))
		return 0;

	read = shmem_read_folio(file->f_mapping, index);
	if (IS_ERR(read))
		return PTR_ERR(read);
	folio_put(read);
	/* No longer the same if it was truncated meanwhile */
	return folio_test_uptodate(folio) ? 0 : -EINVAL;
}

/*
 * Turn folios with one pin into pages with one pin, in place. They must follow
 * each other, starting with the one that has @index: a file that changes
 * meanwhile can give others. What does not follow is left out, and read again by
 * the next call.
 */
static long folios_to_pages(struct file *file, struct page **list,
			    long nfolios, pgoff_t index, unsigned long npages)
{
	struct folio **folios = (struct folio **)list;
	unsigned long end = 0;
	long rc = -EFAULT;
	long i;

	for (i = 0; i != nfolios && end != npages; i++) {
		struct folio *folio = folios[i];
		unsigned long first = index + end - folio->index;
		unsigned long nr;

		if (first >= folio_nr_pages(folio) || (i && first) ||
		    folio_contain_hwpoisoned_page(folio))
			break;
		rc = folio_make_uptodate(file, folio, index + end);
		if (rc)
			break;
		/* Far from where the count would wrap, whoever adds to it now */
		if (folio_ref_count(folio) > INT_MAX / 2) {
			rc = -ENOMEM;
			break;
		}
		nr = min(npages - end, folio_nr_pages(folio) - first);
		folio_add_pins(folio, nr - 1);
		end += nr;
	}
	if (i != nfolios)
		unpin_folios(folios + i, nfolios - i);
	if (!end)
		return rc;

	/* From the end, as no folio is further in the list than its pages */
	rc = end;
	while (i--) {
		struct folio *folio = folios[i];
		unsigned long start = i ? folio->index - index : 0;

		while (end != start) {
			end--;
			list[end] = folio_page(folio,
					       index + end - folio->index);
		}
	}
	return rc;
}

/**
 * iopt_pages_pin_file() - Pin pages of a file
 * @pages: The iopt_pages, which have a file
 * @start_index: Index of the first page to pin
 * @npages: Number of pages to pin
 * @out_pages: Array of @npages for the result
 *
 * Each page is pinned once, no matter how many of them are in a folio, to be
 * released like pages from pin_user_pages().
 *
 * Return: Number of pages pinned, which can be less than @npages but not 0, or
 *         a negative errno.
 */
long iopt_pages_pin_file(struct iopt_pages *pages, unsigned long start_index,
			 unsigned long npages, struct page **out_pages)
{
	pgoff_t index = (pages->file_start >> PAGE_SHIFT) + start_index;
	struct folio **folios = (struct folio **)out_pages;
	struct file *file = pages->file;
	loff_t start, last, size;
	pgoff_t unused;
	long rc;

	BUILD_BUG_ON(sizeof(*folios) != sizeof(*out_pages));
	lockdep_assert_held(&pages->mutex);

	if (fatal_signal_pending(current))
		return -EINTR;

	start = (loff_t)index << PAGE_SHIFT;
	last = start + ((loff_t)npages << PAGE_SHIFT) - 1;
	/* As with mmap(), all of the page with the last byte can be used */
	size = i_size_read(file_inode(file));
	if (last >= size && last >> PAGE_SHIFT == (size - 1) >> PAGE_SHIFT)
		last = size - 1;

	if (is_file_hugepages(file))
		rc = pin_hugetlb(file, start, last, folios, npages);
	else
		rc = memfd_pin_folios(file, start, last, folios, npages,
				      &unused);
	if (rc <= 0)
		return rc ?: -EFAULT;
	return folios_to_pages(file, out_pages, rc, index, npages);
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

	ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	file = fget(cmd->fd);
	if (!file) {
		rc = -EBADF;
		goto out_put;
	}

	iommu_prot = iommufd_conv_iommu_prot(cmd->flags);
	pages = iopt_alloc_file_pages(file, cmd->start, cmd->length,
				      iommu_prot & IOMMU_WRITE);
	fput(file);
	if (IS_ERR(pages)) {
		rc = PTR_ERR(pages);
		goto out_put;
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
