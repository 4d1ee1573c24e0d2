// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page of a file that changes while it is being pinned
 *
 * A test holds the lock of the page's folio. Whoever pins the page then waits behind
 * all that is checked without the lock, and sees the page as the test has made it.
 */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>

#include "iommufd_private.h"
#include "iommufd_test.h"
#include "selftest_folio.h"

static int folio_change(struct folio *folio, const struct iommu_test_cmd *cmd)
{
	struct page *page = folio_file_page(folio, cmd->folio.index);

	switch (cmd->folio.change) {
	case MOCK_FOLIO_POISON:
		if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
			return -EOPNOTSUPP;
		SetPageHWPoison(page);
		return 0;
	case MOCK_FOLIO_UNPOISON:
		ClearPageHWPoison(page);
		return 0;
	case MOCK_FOLIO_ADD_REFS:
		folio_ref_add(folio, MOCK_FOLIO_REFS);
		return 0;
	case MOCK_FOLIO_SUB_REFS:
		folio_ref_sub(folio, MOCK_FOLIO_REFS);
		return 0;
	default:
		return -EINVAL;
	}
}

/* User memory that is read under the lock may block for as long as the test wants */
int iommufd_test_folio(struct iommufd_ucmd *ucmd)
{
	struct iommu_test_cmd *cmd = ucmd->cmd;
	struct folio *folio;
	struct file *file;
	u32 val;
	int rc;

	file = fget(cmd->folio.fd);
	if (!file)
		return -EBADF;
	folio = filemap_lock_folio(file->f_mapping, cmd->folio.index);
	if (IS_ERR(folio)) {
		rc = PTR_ERR(folio);
		goto out_put;
	}
	rc = get_user(val, (u32 __user *)u64_to_user_ptr(cmd->folio.uptr));
	if (!rc)
		rc = folio_change(folio, cmd);
	folio_unlock(folio);
	folio_put(folio);
out_put:
	fput(file);
	return rc;
}
