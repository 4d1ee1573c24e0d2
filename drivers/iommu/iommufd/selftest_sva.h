/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The address space of a test, shared with a PCI device
 */
#ifndef __IOMMUFD_SELFTEST_SVA_H
#define __IOMMUFD_SELFTEST_SVA_H

#include <linux/errno.h>

struct iommufd_ucmd;

#ifdef CONFIG_PCI
int iommufd_test_sva_bind(struct iommufd_ucmd *ucmd);
#else
static inline int iommufd_test_sva_bind(struct iommufd_ucmd *ucmd)
{
	return -EOPNOTSUPP;
}
#endif

#endif
