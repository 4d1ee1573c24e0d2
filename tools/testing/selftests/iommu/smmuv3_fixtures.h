/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What several tests of nested translation on an SMMUv3 start from
 *
 * QEMU keeps every translation and every CD until a command removes it. So a
 * test changes memory first, sees that the device still goes by what was there
 * before, and only then lets the guest issue the command.
 */
#ifndef SELFTEST_SMMUV3_FIXTURES_H
#define SELFTEST_SMMUV3_FIXTURES_H

#include "../kselftest_harness.h"
#include "smmuv3_test.h"

/* ---- One device, behind stage 1 ---- */

FIXTURE(stage1)
{
	struct host host;
	struct vm vm;
	struct guest guest;
};

FIXTURE_SETUP(stage1)
{
	const char *lack = lacks(edu_own_group(0), NULL);

	if (lack)
		SKIP(return, "%s", lack);
	up(&self->host, &self->vm, &self->guest, edu_own_group(0));
	guest_start(&self->guest, VSID);
}

FIXTURE_TEARDOWN(stage1)
{
	EXPECT_TRUE(down(&self->host, &self->vm, &self->guest));
}

/* ---- The guest's commands ---- */

FIXTURE(two_guests)
{
	struct host host;
	struct vm vm;
	struct guest guest[2];
};

FIXTURE_SETUP(two_guests)
{
	const char *lack = lacks(edu_own_group(1), LACKS_SECOND);
	int i;

	if (lack)
		SKIP(return, "%s", lack);
	host_watch(&self->host, edu_own_group(0));
	vm_init(&self->vm);
	for (i = 0; i < 2; i++) {
		guest_init(&self->guest[i], &self->vm, edu_own_group(i));
		guest_start(&self->guest[i], VSID);
	}
}

FIXTURE_TEARDOWN(two_guests)
{
	if (!self->vm.ram)
		return;
	edu_close(&self->guest[0].edu);
	edu_close(&self->guest[1].edu);
	vm_free(&self->vm);
	EXPECT_TRUE(host_is_fine(&self->host));
}

#endif
