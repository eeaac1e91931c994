//! How the C allocator deals with libtorch's tensors.

/// Keeps freed memory in the process. Call it before the first tensor is made.
///
/// A training step frees and allocates the same large tensors again and again. By default glibc gives each back to the
/// system and gets it again, zeroed page by page: measured here, 30 % of the time of a step at width 0.25 and 64 px
/// was spent in the kernel. Environment variables (`GLIBC_TUNABLES`) are the user's and are not touched.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGEST: libc::c_int = 1 << 30;
        for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD, libc::M_TOP_PAD] {
            let value = if option == libc::M_TOP_PAD { LARGEST / 8 } else { LARGEST };
            // SAFETY: sets a parameter of the allocator; a refusal changes nothing.
            unsafe { libc::mallopt(option, value) };
        }
    }
}
