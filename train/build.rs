//! Writes libtorch's folder into the run path of every binary and test of this package, so that they start without
//! `LD_LIBRARY_PATH`. A run path applies only to the package whose build script sets it. The crate `tests` links
//! libtorch too, so it uses this file as its build script as well.

fn main() {
    // No rerun-if-changed: two packages use this file, and a relative path would not exist in both.
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // Set by torch-sys's build script for its direct dependents.
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
