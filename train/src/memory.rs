//! Tuning of the C allocator for libtorch's tensors.

/// Keeps freed memory in the process. Call this before creating the first tensor.
///
/// Every training step frees and allocates the same large tensors. By default glibc returns each one to the kernel and
/// requests it again, and the kernel zeroes every page: in our measurement at width 0.25 and 64 px, 30 % of a step was
/// spent in the kernel. The user's environment variables (`GLIBC_TUNABLES`) are not touched.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGEST: libc::c_int = 1 << 30;
        for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD, libc::M_TOP_PAD] {
            let value = if option == libc::M_TOP_PAD { LARGEST / 8 } else { LARGEST };
            // SAFETY: sets an allocator parameter; on failure nothing changes.
            unsafe { libc::mallopt(option, value) };
        }
    }
}
