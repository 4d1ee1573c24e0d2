// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap() on an iommufd
 *
 * The driver of a vIOMMU can offer pages of registers, so that a VM can use
 * them without the host. mmap() maps them. A mapping holds a reference on the
 * vIOMMU. It also holds the file, so the context outlives the mapping.
 */
#include <linux/fs.h>
#include <linux/iommufd_viommu.h>
#include <linux/mm.h>
#include <linux/pfn_t.h>
#include <trace/events/iommufd.h>

#include "iommufd_private.h"
#include "mmap.h"

/* mremap() has moved the mapping, and will close the old one */
static void iommufd_vma_open(struct vm_area_struct *vma)
{
	struct iommufd_mmap *range = vma->vm_private_data;

	refcount_inc(&range->viommu->obj.users);
}

static void iommufd_vma_close(struct vm_area_struct *vma)
{
	struct iommufd_mmap *range = vma->vm_private_data;

	trace_iommufd_munmap(range->viommu, (u64)vma->vm_pgoff << PAGE_SHIFT,
			     range->length);
	/* The ID of the vIOMMU holds a reference too: this is never the last */
	refcount_dec(&range->viommu->obj.users);
}

static vm_fault_t iommufd_vma_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct iommufd_mmap *range = vma->vm_private_data;
	phys_addr_t offset = PFN_PHYS(vmf->pgoff - vma->vm_pgoff);

	return vmf_insert_mixed(vma, vmf->address,
				phys_to_pfn_t(range->addr + offset, PFN_DEV));
}

/* A range is mapped and unmapped as a whole */
static int iommufd_vma_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static const struct vm_operations_struct iommufd_vma_ops = {
	.open = iommufd_vma_open,
	.close = iommufd_vma_close,
	.fault = iommufd_vma_fault,
	.may_split = iommufd_vma_may_split,
};

/**
 * iommufd_fops_mmap - Map the registers that a vIOMMU offers
 * @filp: The iommufd
 * @vma: The mapping that user space asks for. Its offset and length must be
 *       those that IOMMU_VIOMMU_ALLOC returned.
 *
 * The mapping is uncached, never executable, not part of a core dump, and
 * cannot be resized, split or pinned. A child does not inherit it: the
 * registers belong to one VM, and so to one process.
 *
 * VM_IO keeps pin_user_pages() out of the mapping. VM_PFNMAP is not set,
 * because a VFIO container takes the physical addresses of such a mapping and
 * keeps them after it is unmapped. A device could then write registers that
 * belong to the next VM.
 *
 * Context: Process context. The caller holds the mmap_lock for writing.
 *
 * Return: 0; -EINVAL if the mapping is private; -EPERM if it is executable;
 * -ENXIO if nothing is offered at that offset with that length.
 */
int iommufd_fops_mmap(struct file *filp, struct vm_area_struct *vma)
{
	size_t length = vma->vm_end - vma->vm_start;
	struct iommufd_ctx *ictx = filp->private_data;
	struct iommufd_mmap *range;

	/* VM_SHARED is not set if the file is open for reading only */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;

	range = iommufd_mmap_get(ictx, vma->vm_pgoff, length);
	if (!range)
		return -ENXIO;

	vm_flags_mod(vma, VM_IO | VM_MIXEDMAP | VM_DONTCOPY | VM_DONTDUMP |
		     VM_DONTEXPAND, VM_MAYEXEC);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vma->vm_private_data = range;
	vma->vm_ops = &iommufd_vma_ops;
	trace_iommufd_mmap(range->viommu, (u64)vma->vm_pgoff << PAGE_SHIFT,
			   length);
	return 0;
}
