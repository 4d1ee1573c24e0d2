/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A page of a file that changes while it is being pinned
 */
#ifndef __IOMMUFD_SELFTEST_FOLIO_H
#define __IOMMUFD_SELFTEST_FOLIO_H

struct iommufd_ucmd;

int iommufd_test_folio(struct iommufd_ucmd *ucmd);

#endif
