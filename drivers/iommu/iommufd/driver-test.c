// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what a driver can register
 *
 * A driver whose vIOMMU operations lack a mandatory one must not get as far as user
 * space. Each of them is taken away in turn, and the IOMMU must not be registered.
 */
#include <kunit/test.h>
#include <linux/iommufd_viommu.h>
#include <linux/module.h>

struct fake_viommu {
	struct iommufd_viommu core;
	u32 more;
};

struct fake_vdevice {
	struct iommufd_vdevice core;
	u32 more;
};

static int fake_init(struct iommufd_viommu *viommu, struct device *dev,
		     struct iommu_domain *parent,
		       struct iommu_user_data *user_data)
{
	return -EOPNOTSUPP;
}

static void fake_destroy(struct iommufd_viommu *viommu)
{
}

static struct iommu_domain *
fake_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
			 const struct iommu_user_data *user_data)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static int fake_cache_invalidate(struct iommufd_viommu *viommu,
				 struct iommu_user_data_array *array)
{
	return -EOPNOTSUPP;
}

static size_t fake_hw_queue_size(struct iommufd_viommu *viommu,
				 unsigned int type, u64 *max_length)
{
	return 0;
}

static int fake_hw_queue_init(struct iommufd_hw_queue *hwq, phys_addr_t base_pa)
{
	return -EOPNOTSUPP;
}

static void fake_hw_queue_destroy(struct iommufd_hw_queue *hwq)
{
}

static const struct iommufd_viommu_ops fake_complete = {
	.viommu_size = iommufd_viommu_struct_size(struct fake_viommu, core),
	.vdevice_size =
		iommufd_vdevice_struct_size(struct fake_vdevice, core),
	.init = fake_init,
	.destroy = fake_destroy,
	.alloc_domain_nested = fake_alloc_domain_nested,
	.cache_invalidate = fake_cache_invalidate,
	.hw_queue_size = fake_hw_queue_size,
	.hw_queue_init = fake_hw_queue_init,
	.hw_queue_destroy = fake_hw_queue_destroy,
};

static const struct iommufd_viommu_ops *fake_viommu_ops(struct device *dev,
							unsigned int type)
{
	return NULL;
}

/* If an IOMMU is registered by mistake, no device may end up behind it */
static struct iommu_device *fake_probe_device(struct device *dev)
{
	return ERR_PTR(-ENODEV);
}

/* Register an IOMMU whose driver has the types of @list */
static int fake_register(const struct iommufd_viommu_ops *const *list)
{
	const struct iommu_ops ops = {
		.owner = THIS_MODULE,
		.probe_device = fake_probe_device,
		.viommu_ops = fake_viommu_ops,
		.viommu_types = list,
	};
	struct iommu_device iommu = {};
	int rc;

	rc = iommu_device_register(&iommu, &ops, NULL);
	if (!rc)
		iommu_device_unregister(&iommu);
	return rc;
}

/* @bad must be refused alone, and behind one that is complete */
static void fake_refuses(struct kunit *test, const char *what,
			 const struct iommufd_viommu_ops *bad)
{
	const struct iommufd_viommu_ops *const alone[] = { bad, NULL };
	const struct iommufd_viommu_ops *const second[] = {
		&fake_complete, bad, NULL
	};

	KUNIT_EXPECT_EQ_MSG(test, fake_register(alone), -EINVAL, "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, fake_register(second), -EINVAL, "%s", what);
}

static void driver_test_register_incomplete_refused(struct kunit *test)
{
	struct iommufd_viommu_ops bad;

#define FAKE_REFUSES(_member, _value)                    \
	do {                                               \
		bad = fake_complete;                       \
		bad._member = _value;                      \
		fake_refuses(test, #_member, &bad);        \
	} while (0)

	FAKE_REFUSES(viommu_size, 0);
	FAKE_REFUSES(viommu_size, sizeof(struct iommufd_viommu) - 1);
	FAKE_REFUSES(vdevice_size, sizeof(struct iommufd_vdevice) - 1);
	FAKE_REFUSES(init, NULL);
	FAKE_REFUSES(destroy, NULL);
	FAKE_REFUSES(alloc_domain_nested, NULL);
	FAKE_REFUSES(cache_invalidate, NULL);
	FAKE_REFUSES(hw_queue_size, NULL);
	FAKE_REFUSES(hw_queue_init, NULL);
	FAKE_REFUSES(hw_queue_destroy, NULL);
}

static void driver_test_register_without_list_refused(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, fake_register(NULL), -EINVAL);
}

static void driver_test_complete_accepted(struct kunit *test)
{
	static const struct iommufd_viommu_ops *const types[] = {
		&fake_complete, NULL
	};
	const struct iommu_ops ops = {
		.viommu_ops = fake_viommu_ops,
		.viommu_types = types,
	};
	const struct iommu_ops none = {};

	/* Nothing is registered: this IOMMU has no hardware */
	KUNIT_EXPECT_EQ(test, iommufd_check_viommu_types(&ops), 0);
	KUNIT_EXPECT_EQ(test, iommufd_check_viommu_types(&none), 0);
}

static void driver_test_no_vdevices_accepted(struct kunit *test)
{
	struct iommufd_viommu_ops no_vdevices = fake_complete;
	const struct iommufd_viommu_ops *const types[] = { &no_vdevices, NULL };
	const struct iommu_ops ops = {
		.viommu_ops = fake_viommu_ops,
		.viommu_types = types,
	};

	no_vdevices.vdevice_size = 0;
	KUNIT_EXPECT_EQ(test, iommufd_check_viommu_types(&ops), 0);
}

static void driver_test_no_hw_queues_accepted(struct kunit *test)
{
	struct iommufd_viommu_ops no_queues = fake_complete;
	const struct iommufd_viommu_ops *const types[] = { &no_queues, NULL };
	const struct iommu_ops ops = {
		.viommu_ops = fake_viommu_ops,
		.viommu_types = types,
	};

	no_queues.hw_queue_size = NULL;
	no_queues.hw_queue_init = NULL;
	no_queues.hw_queue_destroy = NULL;
	KUNIT_EXPECT_EQ(test, iommufd_check_viommu_types(&ops), 0);
}

static struct kunit_case driver_test_cases[] = {
	KUNIT_CASE(driver_test_register_incomplete_refused),
	KUNIT_CASE(driver_test_register_without_list_refused),
	KUNIT_CASE(driver_test_complete_accepted),
	KUNIT_CASE(driver_test_no_vdevices_accepted),
	KUNIT_CASE(driver_test_no_hw_queues_accepted),
	{}
};

static struct kunit_suite driver_test_suite = {
	.name = "iommufd-driver",
	.test_cases = driver_test_cases,
};

kunit_test_suite(driver_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of what a driver can register");
MODULE_LICENSE("GPL");
