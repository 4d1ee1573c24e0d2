// SPDX-License-Identifier: GPL-2.0-only
/* vEVENTQs, and what the host says of events, for smmuv3_vevent.h. */
#define _GNU_SOURCE
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "smmuv3_vevent.h"

static_assert(sizeof(struct iommu_vevent_arm_smmuv3) == 32, "arm_smmuv3");
static_assert(IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 == 1, "TYPE_ARM_SMMUV3");

static __u64 bits(__u64 word, int hi, int lo)
{
	return word >> lo & (~0ULL >> (63 - hi + lo));
}

int __veventq_alloc_type(struct vm *vm, __u32 viommu_id, __u32 type,
			 __u32 depth, struct veventq *q)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.type = type,
		.veventq_depth = depth,
	};

	if (ioctl(vm->iommufd, IOMMU_VEVENTQ_ALLOC, &cmd))
		return errno;
	q->id = cmd.out_veventq_id;
	q->fd = cmd.out_veventq_fd;
	return 0;
}

int __veventq_alloc(struct vm *vm, __u32 viommu_id, __u32 depth,
		    struct veventq *q)
{
	return __veventq_alloc_type(vm, viommu_id,
				    IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, depth, q);
}

void veventq_alloc(struct vm *vm, __u32 viommu_id, __u32 depth,
		   struct veventq *q)
{
	int rc = __veventq_alloc(vm, viommu_id, depth, q);

	if (rc)
		die("VEVENTQ_ALLOC: %s", strerror(rc));
}

void veventq_free(struct vm *vm, struct veventq *q)
{
	close(q->fd);
	iommu_destroy(vm, q->id);
}

bool vevent_wait(struct veventq *q, int ms)
{
	struct pollfd pfd = { .fd = q->fd, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1;
}

unsigned int vevent_read(struct veventq *q, struct vevent *events,
			 unsigned int max)
{
	ssize_t n = read(q->fd, events, max * sizeof(*events));
	size_t lost = n % sizeof(*events);

	if (n < 0)
		die("read of a vEVENTQ: %s", strerror(errno));
	if (lost && lost != sizeof(events->header))
		die("read of a vEVENTQ: %zd bytes are no events", n);
	return n / sizeof(*events) + !!lost;
}

struct evt evt_decode(const __u64 words[4])
{
	return (struct evt){
		.id = bits(words[0], 7, 0),
		.ssv = bits(words[0], 11, 11),
		.ssid = bits(words[0], 31, 12),
		.sid = bits(words[0], 63, 32),
		.stag = bits(words[1], 15, 0),
		.stall = bits(words[1], 31, 31),
		.pnu = bits(words[1], 33, 33),
		.ind = bits(words[1], 34, 34),
		.rnw = bits(words[1], 35, 35),
		.s2 = bits(words[1], 39, 39),
		.class = bits(words[1], 41, 40),
		.addr = words[2],
		.ipa = words[3],
	};
}

struct evt vevent_decode(const struct vevent *event)
{
	__u64 words[4];
	int i;

	for (i = 0; i < 4; i++)
		words[i] = le64toh(event->record.evt[i]);
	return evt_decode(words);
}

const char *evt_name(__u8 id)
{
	switch (id) {
	case EVT_C_BAD_STE:	return "C_BAD_STE";
	case EVT_F_STREAM_DISABLED: return "F_STREAM_DISABLED";
	case EVT_C_BAD_SUBSTREAMID: return "C_BAD_SUBSTREAMID";
	case EVT_F_CD_FETCH:	return "F_CD_FETCH";
	case EVT_C_BAD_CD:	return "C_BAD_CD";
	case EVT_F_WALK_EABT:	return "F_WALK_EABT";
	case EVT_F_TRANSLATION:	return "F_TRANSLATION";
	case EVT_F_ADDR_SIZE:	return "F_ADDR_SIZE";
	case EVT_F_ACCESS:	return "F_ACCESS";
	case EVT_F_PERMISSION:	return "F_PERMISSION";
	}
	return "another event";
}

bool next_event(struct veventq *q, struct vevent *event)
{
	return vevent_wait(q, 60000) && vevent_read(q, event, 1) == 1;
}

void evt_print(const struct evt *evt)
{
	fprintf(stderr,
		"# %s (%#x), sid %#x, ssv %d, ssid %u, addr %#llx, s2 %d, stall %d\n",
		evt_name(evt->id), evt->id, evt->sid, evt->ssv, evt->ssid,
		evt->addr, evt->s2, evt->stall);
}

bool next_is(struct veventq *q, struct evt *evt, __u8 id, __u32 sid)
{
	struct vevent event;

	if (!next_event(q, &event)) {
		fprintf(stderr, "# no event\n");
		return false;
	}
	*evt = vevent_decode(&event);
	if (evt->id == id && evt->sid == sid && !evt->s2 && !evt->stall)
		return true;
	evt_print(evt);
	return false;
}

bool is_empty(struct veventq *q)
{
	struct vevent event;

	return !vevent_wait(q, 0) && !vevent_read(q, &event, 1);
}

bool is_poke(const struct vevent *event, __u32 sequence, __u32 sid, __u64 va)
{
	struct evt evt = vevent_decode(event);

	if (!event->header.flags && event->header.sequence == sequence &&
	    evt.id == EVT_F_TRANSLATION && evt.sid == sid && evt.addr == va &&
	    !evt.rnw && !evt.s2)
		return true;
	fprintf(stderr, "# flags %#x, sequence %u\n", event->header.flags,
		event->header.sequence);
	evt_print(&evt);
	return false;
}

void klog_open(struct klog *klog)
{
	klog->fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (klog->fd < 0)
		die("/dev/kmsg: %s", strerror(errno));
	lseek(klog->fd, 0, SEEK_END);
}

void klog_close(struct klog *klog)
{
	close(klog->fd);
}

/* The next line, without what /dev/kmsg puts before and after it */
static bool klog_line(struct klog *klog, char *text, size_t size, int ms)
{
	struct pollfd pfd = { .fd = klog->fd, .events = POLLIN };
	char line[8192], *start;
	ssize_t n;

	do {
		n = read(klog->fd, line, sizeof(line) - 1);
		if (n < 0 && errno == EAGAIN && poll(&pfd, 1, ms) != 1)
			return false;
	} while (n < 0 && (errno == EAGAIN || errno == EPIPE));
	if (n <= 0)
		die("/dev/kmsg: %s", strerror(errno));

	line[n] = 0;
	start = strchr(line, ';') + 1;
	start[strcspn(start, "\n")] = 0;
	snprintf(text, size, "%s", start);
	return true;
}

bool klog_event(struct klog *klog, struct evt *evt, int ms)
{
	__u64 end = now_ms() + ms, words[4], now;
	char text[1024];
	int i;

	do {
		now = now_ms();
		if (!klog_line(klog, klog->line, sizeof(klog->line),
			       now < end ? end - now : 0))
			return false;
	} while (!strstr(klog->line, "arm-smmu-v3") ||
		 !strstr(klog->line, " received:"));

	/* Others may log something in between. A tab is \x09 here. */
	for (i = 0; i < 4;) {
		char *word;

		if (!klog_line(klog, text, sizeof(text), 10000))
			die("the record of an event is not complete in the log");
		word = strstr(text, "\\x090x");
		if (word && strstr(text, "arm-smmu-v3"))
			words[i++] = strtoull(word + 4, NULL, 16);
	}
	*evt = evt_decode(words);
	return true;
}
