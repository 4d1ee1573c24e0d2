// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trace events of iommufd. This file is built in, because drivers reach trace
 * events through what they call. The rest of iommufd may be a module, and uses
 * the events from here.
 */
#define CREATE_TRACE_POINTS
#include <trace/events/iommufd.h>

EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_viommu_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_viommu_destroy);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_vdevice_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_vdevice_destroy);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_hwpt_nested_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_hwpt_nested_destroy);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_veventq_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_veventq_destroy);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_hw_queue_alloc);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_hw_queue_destroy);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_mmap);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_munmap);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_attach);
EXPORT_TRACEPOINT_SYMBOL_GPL(iommufd_viommu_invalidate);
