// SPDX-License-Identifier: GPL-2.0-only
/*
 * vEVENTQs on the mock driver: the queue that an event comes to, and trace events
 */
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "iommufd_veventq_fixture.h"

/* ---- Who gets what ---- */

TEST_F(veventq, routing)
{
	__u32 other_stdev_id, other_dev_id, other_id, other_nested_id = 0;
	__u32 other_viommu_id = 0, id = 0, vdev_id;
	struct mock_record buf[4];
	int other_fd;

	/* Nobody wants it, or the device is nobody's */
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, self->dev_id));
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, NO_SUCH_ID));
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, self->stdev_id));

	ALLOC_QUEUE(4);
	mock_dev_add_bind(self->fd, 0, 0, &other_stdev_id, &other_dev_id);
	viommu_alloc(self->fd, other_dev_id, self->parent_id, &other_viommu_id);
	nested_alloc(self->fd, other_dev_id, other_viommu_id,
		     IOMMU_TEST_IOTLB_DEFAULT, &other_nested_id);
	/* The same ID as the other one has on its vIOMMU */
	vdevice_alloc(self->fd, other_viommu_id, other_dev_id, VIRT_ID, &id);
	veventq_alloc(self->fd, other_viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST, 4,
		      &other_id, &other_fd);

	/* A vDEVICE alone is not an attachment */
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, other_dev_id));
	mock_dev_attach(self->fd, other_stdev_id, self->ioas_id);
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, other_dev_id));
	mock_dev_attach(self->fd, other_stdev_id, self->parent_id);
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, other_dev_id));
	mock_dev_attach(self->fd, other_stdev_id, other_nested_id);

	EXPECT_EQ(0, __trigger_vevent(self->fd, other_dev_id));
	EXPECT_EMPTY();
	ASSERT_EQ(RECORD, read(other_fd, buf, sizeof(buf)));
	EXPECT_RECORD(buf, 0, VIRT_ID);
	TRIGGER(1);
	EXPECT_EQ(0, read(other_fd, buf, sizeof(buf)));
	EXPECT_EVENTS(0, 1);

	/* Moved to the other vIOMMU, with another ID */
	mock_dev_attach(self->fd, other_stdev_id, self->parent_id);
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, other_dev_id));
	test_ioctl_destroy(id);
	vdevice_alloc(self->fd, self->viommu_id, other_dev_id, 0x11, &id);
	mock_dev_attach(self->fd, other_stdev_id, self->nested_id);
	EXPECT_EQ(0, __trigger_vevent(self->fd, other_dev_id));
	TRIGGER(1);
	EXPECT_EQ(0, read(other_fd, buf, sizeof(buf)));
	ASSERT_EQ(2 * RECORD, read(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD(&buf[0], 1, 0x11);
	EXPECT_RECORD(&buf[1], 2, VIRT_ID);

	/* Without translation the vDEVICE may go, and the ID with it */
	mock_dev_attach(self->fd, self->stdev_id, self->bypass_id);
	TRIGGER(1);
	EXPECT_EVENTS(3, 1);
	test_ioctl_destroy(self->vdev_id);
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, self->dev_id));
	vdevice_alloc(self->fd, self->viommu_id, self->dev_id, 0x20, &vdev_id);
	mock_dev_attach(self->fd, self->stdev_id, self->nested_id);
	TRIGGER(1);
	ASSERT_EQ(RECORD, read(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD(buf, 4, 0x20);

	/* Devices that are gone just say nothing more */
	TRIGGER(1);
	mock_dev_unbind(self->fd, self->stdev_id);
	test_ioctl_destroy(self->stdev_id);
	test_ioctl_destroy(other_stdev_id);
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, self->dev_id));
	EXPECT_EQ(ENOENT, __trigger_vevent(self->fd, other_dev_id));
	ASSERT_EQ(RECORD, read(self->veventq_fd, buf, sizeof(buf)));
	EXPECT_RECORD(buf, 5, 0x20);
	EXPECT_EMPTY();
	close(other_fd);
}

/* ---- Tracing ---- */

FIXTURE(trace)
{
	int fd;
	char dir[80];
	char *log;
};

#define TRACE_LOG_SIZE 1048576

FIXTURE_SETUP(trace)
{
	static const char tracefs[] = "/sys/kernel/tracing";

	self->fd = -1;
	if (access("/sys/kernel/tracing/instances", F_OK) &&
	    mount("tracefs", tracefs, "tracefs", 0, NULL))
		SKIP(return, "no tracefs at /sys/kernel/tracing");
	if (access("/sys/kernel/tracing/events/iommufd", F_OK))
		SKIP(return, "no iommufd events in tracefs");
	snprintf(self->dir, sizeof(self->dir), "%s/instances/iommufd-%d",
		 tracefs, getpid());
	ASSERT_EQ(0, mkdir(self->dir, 0700));
	ASSERT_EQ(0, write_in(self->dir, "events/iommufd/enable", "1"));
	self->log = calloc(1, TRACE_LOG_SIZE);
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
}

FIXTURE_TEARDOWN(trace)
{
	if (self->fd < 0)
		return;
	free(self->log);
	close(self->fd);
	EXPECT_EQ(0, rmdir(self->dir));
}

/* What was traced so far, from the first byte */
static const char *trace_read(const char *dir, char *log)
{
	char path[PATH_MAX];
	size_t len = 0;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%s/trace", dir);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return NULL;
	while ((got = read(fd, log + len, TRACE_LOG_SIZE - 1 - len)) > 0)
		len += got;
	close(fd);
	log[len] = 0;
	return log;
}

/* Find the next line of an event, which must end in what is given */
static bool trace_expect(const char **at, const char *event, const char *fmt,
			 ...) __attribute__((format(printf, 3, 4)));

static bool trace_expect(const char **at, const char *event, const char *fmt,
			 ...)
{
	char name[80], fields[300];
	const char *line, *end;
	va_list args;

	va_start(args, fmt);
	vsnprintf(fields, sizeof(fields), fmt, args);
	va_end(args);
	snprintf(name, sizeof(name), ": %s: ictx=", event);
	line = strstr(*at, name);
	if (!line) {
		fprintf(stderr, "# no %s\n", event);
		return false;
	}
	end = strchrnul(line, '\n');
	*at = end;
	line = strchrnul(line + strlen(name), ' ');
	if (*line && strlen(fields) <= (size_t)(end - line - 1) &&
	    !strncmp(line + 1, fields, strlen(fields)))
		return true;
	fprintf(stderr, "# %s: expected '%s', got '%.*s'\n", event, fields,
		(int)(end - line), line);
	return false;
}

#define EXPECT_TRACE(...) EXPECT_TRUE(trace_expect(&at, __VA_ARGS__))

TEST_F(trace, objects_and_events)
{
	struct iommu_viommu_invalidate_selftest reqs[5] = {
		[0 ... 4] = { .vdev_id = 0x1234 },
		/* Nobody has this one */
		[3] = { .vdev_id = 0x4321 },
	};
	__u32 ioas_id, stdev_id, dev_id, parent_id, viommu_id, vdev_id;
	__u32 nested_id, veventq_id, num = ARRAY_SIZE(reqs);
	int veventq_fd;
	const char *at;
	size_t len;

	test_ioctl_ioas_alloc(&ioas_id);
	mock_dev_add_bind(self->fd, 0, 0, &stdev_id, &dev_id);
	test_cmd_hwpt_alloc(dev_id, ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			    &parent_id);
	viommu_alloc(self->fd, dev_id, parent_id, &viommu_id);
	nested_alloc(self->fd, dev_id, viommu_id, IOMMU_TEST_IOTLB_DEFAULT,
		     &nested_id);
	EXPECT_EQ(ENOENT, __mock_dev_attach(self->fd, stdev_id, nested_id));
	vdevice_alloc(self->fd, viommu_id, dev_id, 0x1234, &vdev_id);
	mock_dev_attach(self->fd, stdev_id, nested_id);
	veventq_alloc(self->fd, viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST, 2,
		      &veventq_id, &veventq_fd);
	trigger_vevents(self->fd, dev_id, 3);
	EXPECT_EQ(EINVAL, __invalidate(self->fd, viommu_id,
				       IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				       reqs, sizeof(*reqs), &num));
	num = 2;
	EXPECT_EQ(0, __invalidate(self->fd, viommu_id,
				  IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST, reqs,
				  sizeof(*reqs), &num));
	close(veventq_fd);
	test_ioctl_destroy(veventq_id);
	mock_dev_attach(self->fd, stdev_id, 0);
	test_ioctl_destroy(nested_id);
	test_ioctl_destroy(vdev_id);
	test_ioctl_destroy(viommu_id);

	at = trace_read(self->dir, self->log);
	ASSERT_NE(NULL, at);
	EXPECT_TRACE("iommufd_viommu_alloc", "viommu=%u type=%u", viommu_id,
		     IOMMU_VIOMMU_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_hwpt_nested_alloc", "viommu=%u hwpt=%u type=%u",
		     viommu_id, nested_id, IOMMU_HWPT_DATA_SELFTEST);
	EXPECT_TRACE("iommufd_attach", "dev=iommufd_mock");
	EXPECT_TRACE("iommufd_vdevice_alloc",
		     "viommu=%u vdevice=%u virt_id=0x1234 dev=iommufd_mock",
		     viommu_id, vdev_id);
	EXPECT_TRACE("iommufd_attach", "dev=iommufd_mock");
	EXPECT_TRACE("iommufd_veventq_alloc", "viommu=%u veventq=%u type=%u",
		     viommu_id, veventq_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_vevent",
		     "viommu=%u type=%u virt_id=0x1234 event=0x5e sequence=0",
		     viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_vevent",
		     "viommu=%u type=%u virt_id=0x1234 event=0x5e sequence=1",
		     viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_vevent_lost",
		     "viommu=%u type=%u virt_id=0x1234 event=0x5e sequence=2",
		     viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_viommu_invalidate",
		     "viommu=%u asked=5 done=3 ret=-22", viommu_id);
	EXPECT_TRACE("iommufd_viommu_invalidate",
		     "viommu=%u asked=2 done=2 ret=0", viommu_id);
	EXPECT_TRACE("iommufd_veventq_destroy", "viommu=%u veventq=%u type=%u",
		     viommu_id, veventq_id, IOMMU_VEVENTQ_TYPE_SELFTEST);
	EXPECT_TRACE("iommufd_attach", "dev=iommufd_mock");
	EXPECT_TRACE("iommufd_hwpt_nested_destroy", "viommu=%u hwpt=%u",
		     viommu_id, nested_id);
	EXPECT_TRACE("iommufd_vdevice_destroy",
		     "viommu=%u vdevice=%u virt_id=0x1234 dev=iommufd_mock",
		     viommu_id, vdev_id);
	EXPECT_TRACE("iommufd_viommu_destroy", "viommu=%u type=%u", viommu_id,
		     IOMMU_VIOMMU_TYPE_SELFTEST);

	/* What an attachment came to is at the end of its lines */
	at = strstr(self->log, ": iommufd_attach: ");
	ASSERT_NE(NULL, at);
	EXPECT_EQ(nested_id, atoi(strstr(at, " hwpt=") + 6));
	EXPECT_EQ(-ENOENT, atoi(strstr(at, " ret=") + 5));
	at = strstr(at + 1, ": iommufd_attach: ");
	ASSERT_NE(NULL, at);
	EXPECT_EQ(nested_id, atoi(strstr(at, " hwpt=") + 6));
	EXPECT_EQ(0, atoi(strstr(at, " ret=") + 5));
	at = strstr(at + 1, ": iommufd_attach: ");
	ASSERT_NE(NULL, at);
	EXPECT_EQ(0, atoi(strstr(at, " hwpt=") + 6));

	/* Off is off */
	ASSERT_EQ(0, write_in(self->dir, "events/iommufd/enable", "0"));
	len = strlen(self->log);
	viommu_alloc(self->fd, dev_id, parent_id, &viommu_id);
	test_ioctl_destroy(viommu_id);
	trace_read(self->dir, self->log);
	EXPECT_EQ(len, strlen(self->log));
}

TEST_HARNESS_MAIN
