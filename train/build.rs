//! Writes libtorch's folder into the run path of every binary and test of this package, so that they start with no
//! `LD_LIBRARY_PATH`. A run path covers only the package whose build script sets it: the crate `tests` links libtorch
//! too and names this same file as its build script.

fn main() {
    // Only this: the same file builds two packages, and a path would be looked for in each, and missing in one.
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // Set by torch-sys's build script for its direct dependents.
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
}
