/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What happens to vIOMMUs
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iommufd

#if !defined(_TRACE_IOMMUFD_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_IOMMUFD_H

#include <linux/iommufd_viommu.h>
#include <linux/tracepoint.h>

/* A context is named by its pointer, since IDs are its own */
DECLARE_EVENT_CLASS(iommufd_viommu,
	TP_PROTO(const struct iommufd_viommu *viommu),
	TP_ARGS(viommu),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u32, type)
	),
	TP_fast_assign(
		__entry->ictx = viommu->ictx;
		__entry->viommu = viommu->obj.id;
		__entry->type = viommu->type;
	),
	TP_printk("ictx=%p viommu=%u type=%u",
		  __entry->ictx, __entry->viommu, __entry->type)
);

DEFINE_EVENT(iommufd_viommu, iommufd_viommu_alloc,
	TP_PROTO(const struct iommufd_viommu *viommu),
	TP_ARGS(viommu)
);

DEFINE_EVENT(iommufd_viommu, iommufd_viommu_destroy,
	TP_PROTO(const struct iommufd_viommu *viommu),
	TP_ARGS(viommu)
);

DECLARE_EVENT_CLASS(iommufd_vdevice,
	TP_PROTO(const struct iommufd_vdevice *vdev),
	TP_ARGS(vdev),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u32, vdevice)
		__field(u64, virt_id)
		__string(dev, dev_name(vdev->dev))
	),
	TP_fast_assign(
		__entry->ictx = vdev->viommu->ictx;
		__entry->viommu = vdev->viommu->obj.id;
		__entry->vdevice = vdev->obj.id;
		__entry->virt_id = vdev->virt_id;
		__assign_str(dev);
	),
	TP_printk("ictx=%p viommu=%u vdevice=%u virt_id=0x%llx dev=%s",
		  __entry->ictx, __entry->viommu, __entry->vdevice,
		  __entry->virt_id, __get_str(dev))
);

DEFINE_EVENT(iommufd_vdevice, iommufd_vdevice_alloc,
	TP_PROTO(const struct iommufd_vdevice *vdev),
	TP_ARGS(vdev)
);

DEFINE_EVENT(iommufd_vdevice, iommufd_vdevice_destroy,
	TP_PROTO(const struct iommufd_vdevice *vdev),
	TP_ARGS(vdev)
);

/* What is made of a vIOMMU, and of which type it is */
DECLARE_EVENT_CLASS(iommufd_viommu_child,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 id, u32 type),
	TP_ARGS(viommu, id, type),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u32, id)
		__field(u32, type)
	),
	TP_fast_assign(
		__entry->ictx = viommu->ictx;
		__entry->viommu = viommu->obj.id;
		__entry->id = id;
		__entry->type = type;
	),
	TP_printk("ictx=%p viommu=%u veventq=%u type=%u",
		  __entry->ictx, __entry->viommu, __entry->id, __entry->type)
);

DEFINE_EVENT(iommufd_viommu_child, iommufd_veventq_alloc,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 id, u32 type),
	TP_ARGS(viommu, id, type)
);

DEFINE_EVENT(iommufd_viommu_child, iommufd_veventq_destroy,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 id, u32 type),
	TP_ARGS(viommu, id, type)
);

/* type: of the data that the nested HWPT is made from */
DEFINE_EVENT_PRINT(iommufd_viommu_child, iommufd_hwpt_nested_alloc,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 id, u32 type),
	TP_ARGS(viommu, id, type),
	TP_printk("ictx=%p viommu=%u hwpt=%u type=%u",
		  __entry->ictx, __entry->viommu, __entry->id, __entry->type)
);

TRACE_EVENT(iommufd_hwpt_nested_destroy,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 id),
	TP_ARGS(viommu, id),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u32, id)
	),
	TP_fast_assign(
		__entry->ictx = viommu->ictx;
		__entry->viommu = viommu->obj.id;
		__entry->id = id;
	),
	TP_printk("ictx=%p viommu=%u hwpt=%u",
		  __entry->ictx, __entry->viommu, __entry->id)
);

TRACE_EVENT(iommufd_hw_queue_alloc,
	TP_PROTO(const struct iommufd_hw_queue *hwq),
	TP_ARGS(hwq),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u32, id)
		__field(u32, type)
		__field(u32, index)
		__field(u64, base)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->ictx = hwq->viommu->ictx;
		__entry->viommu = hwq->viommu->obj.id;
		__entry->id = hwq->obj.id;
		__entry->type = hwq->type;
		__entry->index = hwq->index;
		__entry->base = hwq->base;
		__entry->length = hwq->length;
	),
	TP_printk("ictx=%p viommu=%u hw_queue=%u type=%u index=%u base=0x%llx length=0x%llx",
		  __entry->ictx, __entry->viommu, __entry->id, __entry->type,
		  __entry->index, __entry->base, __entry->length)
);

TRACE_EVENT(iommufd_hw_queue_destroy,
	TP_PROTO(const struct iommufd_hw_queue *hwq),
	TP_ARGS(hwq),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u32, id)
		__field(u32, index)
	),
	TP_fast_assign(
		__entry->ictx = hwq->viommu->ictx;
		__entry->viommu = hwq->viommu->obj.id;
		__entry->id = hwq->obj.id;
		__entry->index = hwq->index;
	),
	TP_printk("ictx=%p viommu=%u hw_queue=%u index=%u", __entry->ictx,
		  __entry->viommu, __entry->id, __entry->index)
);

/* Pages of registers that user space maps; offset as mmap() has it, in bytes */
DECLARE_EVENT_CLASS(iommufd_mmap,
	TP_PROTO(const struct iommufd_viommu *viommu, u64 offset, u64 length),
	TP_ARGS(viommu, offset, length),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u64, offset)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->ictx = viommu->ictx;
		__entry->viommu = viommu->obj.id;
		__entry->offset = offset;
		__entry->length = length;
	),
	TP_printk("ictx=%p viommu=%u offset=0x%llx length=0x%llx",
		  __entry->ictx, __entry->viommu, __entry->offset,
		  __entry->length)
);

DEFINE_EVENT(iommufd_mmap, iommufd_mmap,
	TP_PROTO(const struct iommufd_viommu *viommu, u64 offset, u64 length),
	TP_ARGS(viommu, offset, length)
);

DEFINE_EVENT(iommufd_mmap, iommufd_munmap,
	TP_PROTO(const struct iommufd_viommu *viommu, u64 offset, u64 length),
	TP_ARGS(viommu, offset, length)
);

/* hwpt 0: the group is attached to nothing of the context any more */
TRACE_EVENT(iommufd_attach,
	TP_PROTO(const void *ictx, struct device *dev, u32 hwpt, int ret),
	TP_ARGS(ictx, dev, hwpt, ret),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__string(dev, dev_name(dev))
		__field(u32, hwpt)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->ictx = ictx;
		__assign_str(dev);
		__entry->hwpt = hwpt;
		__entry->ret = ret;
	),
	TP_printk("ictx=%p dev=%s hwpt=%u ret=%d", __entry->ictx,
		  __get_str(dev), __entry->hwpt, __entry->ret)
);

TRACE_EVENT(iommufd_viommu_invalidate,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 asked, u32 done,
		 int ret),
	TP_ARGS(viommu, asked, done, ret),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u32, asked)
		__field(u32, done)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->ictx = viommu->ictx;
		__entry->viommu = viommu->obj.id;
		__entry->asked = asked;
		__entry->done = done;
		__entry->ret = ret;
	),
	TP_printk("ictx=%p viommu=%u asked=%u done=%u ret=%d", __entry->ictx,
		  __entry->viommu, __entry->asked, __entry->done, __entry->ret)
);

DECLARE_EVENT_CLASS(iommufd_vevent,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 type, u64 virt_id,
		 u32 event, u32 sequence),
	TP_ARGS(viommu, type, virt_id, event, sequence),
	TP_STRUCT__entry(
		__field(const void *, ictx)
		__field(u32, viommu)
		__field(u32, type)
		__field(u64, virt_id)
		__field(u32, event)
		__field(u32, sequence)
	),
	TP_fast_assign(
		__entry->ictx = viommu->ictx;
		__entry->viommu = viommu->obj.id;
		__entry->type = type;
		__entry->virt_id = virt_id;
		__entry->event = event;
		__entry->sequence = sequence;
	),
	TP_printk("ictx=%p viommu=%u type=%u virt_id=0x%llx event=0x%02x sequence=%u",
		  __entry->ictx, __entry->viommu, __entry->type,
		  __entry->virt_id, __entry->event, __entry->sequence)
);

DEFINE_EVENT(iommufd_vevent, iommufd_vevent,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 type, u64 virt_id,
		 u32 event, u32 sequence),
	TP_ARGS(viommu, type, virt_id, event, sequence)
);

DEFINE_EVENT(iommufd_vevent, iommufd_vevent_lost,
	TP_PROTO(const struct iommufd_viommu *viommu, u32 type, u64 virt_id,
		 u32 event, u32 sequence),
	TP_ARGS(viommu, type, virt_id, event, sequence)
);

#endif /* _TRACE_IOMMUFD_H */

#include <trace/define_trace.h>
