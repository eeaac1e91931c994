//! The training device: the CPU or a CUDA device, and diagnostics for why CUDA cannot be used.

use anyhow::{Result, bail};
use deploy::backend::Device;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use serde::Serialize;
use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;
use tch::{Kind, Tensor};

/// The libtorch version that `tch` 0.26 requires and `scripts/setup` installs.
pub const LIBTORCH: &str = "2.13.0";

/// Chooses the device to train on. If CUDA is requested but unavailable, this is an error; it never falls back to the
/// CPU.
pub fn choose(choice: Device) -> Result<tch::Device> {
    let count = cuda_count();
    match choice {
        Device::Auto if count > 0 && compute(0).is_ok() => Ok(tch::Device::Cuda(0)),
        Device::Auto | Device::Cpu => Ok(tch::Device::Cpu),
        Device::Cuda(index) if usize::from(index) < count => {
            compute(usize::from(index))?;
            Ok(tch::Device::Cuda(usize::from(index)))
        }
        Device::Cuda(index) if count > 0 => {
            bail!("no CUDA device {index}: this machine has {count}, numbered from 0 (see `train devices`)")
        }
        Device::Cuda(_) => bail!("CUDA cannot be used: {}", why_no_cuda().unwrap_or_default()),
    }
}

/// Adds two numbers on a CUDA device. libtorch counts devices that are too old for its kernels, too.
fn compute(index: usize) -> Result<()> {
    let one = Tensor::f_ones([1], (Kind::Float, tch::Device::Cuda(index)));
    let two = one.and_then(|one| one.f_add(&one)).and_then(|two| two.f_double_value(&[0]));
    match two {
        Ok(2.0) => Ok(()),
        Ok(other) => bail!("cuda:{index} cannot be used: it computes 1 + 1 = {other}"),
        // The first line; a stack of libtorch's own functions follows.
        Err(error) => bail!("cuda:{index} cannot be used: {}", error.to_string().lines().next().unwrap_or_default()),
    }
}

/// The name of a device as on the command line: `cpu` or `cuda:N`.
#[must_use]
pub fn name(device: tch::Device) -> String {
    match device {
        tch::Device::Cuda(index) => format!("cuda:{index}"),
        tch::Device::Cpu => "cpu".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Describes what computes on a device, such as `libtorch 2.13.0 on cpu, 2 threads`.
#[must_use]
pub fn running_on(device: tch::Device) -> String {
    let threads = match (device, tch::get_num_threads()) {
        (tch::Device::Cpu, 1) => ", 1 thread".to_owned(),
        (tch::Device::Cpu, threads) => format!(", {threads} threads"),
        _ => String::new(),
    };
    format!("libtorch {LIBTORCH} on {}{threads}", name(device))
}

/// Number of CUDA devices that libtorch can use.
#[must_use]
pub fn cuda_count() -> usize {
    register_cuda();
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}

/// Makes NVIDIA's libraries compute fp32 as such. By default, cuDNN rounds the factors of a convolution to 10 bits of
/// mantissa (TF32) on newer GPUs. Call this before any thread starts. A value that the user has set is kept.
pub fn forbid_tf32() {
    const VARIABLE: &str = "NVIDIA_TF32_OVERRIDE";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the program has one thread.
        unsafe { std::env::set_var(VARIABLE, "0") };
    }
}

/// Loads libtorch's CUDA library if it is installed, and returns whether it is. Call this before any other libtorch
/// function.
///
/// The linker drops `libtorch_cuda` from a binary that calls none of its functions, so CUDA would silently be missing.
/// A forced link would produce a binary that does not start where only the CPU libraries are installed. Loading the
/// library at run time registers its kernels.
pub fn register_cuda() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        // SAFETY: the library's initialisers are libtorch's own; it stays loaded for the life of the process.
        let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
        library.map(std::mem::forget).is_ok()
    })
}

/// The devices available for training.
#[derive(Clone, Debug, Serialize)]
pub struct Devices {
    /// Version of libtorch.
    pub libtorch: &'static str,
    /// Which set of libtorch is installed: `cpu` or `cuda`.
    pub installed: &'static str,
    /// Threads libtorch computes with on the CPU.
    pub threads: usize,
    /// Every CUDA device that libtorch finds; `why_no_cuda` says whether the first can be used.
    pub cuda: Vec<CudaDevice>,
    /// Version of cuDNN, if it can be used.
    pub cudnn: Option<String>,
    /// Why CUDA cannot be used; `None` if it can.
    pub why_no_cuda: Option<String>,
}

/// A CUDA device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CudaDevice {
    /// The N in `--device cuda:N`.
    pub index: usize,
    /// Product name.
    pub name: String,
    /// Memory in bytes.
    pub memory: u64,
}

/// Lists the devices of this machine.
#[must_use]
pub fn survey() -> Devices {
    let count = cuda_count();
    let cuda = match Driver::open().and_then(|driver| driver.devices()) {
        Ok(devices) => devices.into_iter().take(count).collect(),
        Err(_) => Vec::new(),
    };
    let cudnn = (count > 0 && tch::Cuda::cudnn_is_available()).then(|| {
        let version = tch::utils::version_cudnn();
        format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    });
    Devices {
        libtorch: LIBTORCH,
        installed: if register_cuda() { "cuda" } else { "cpu" },
        threads: usize::try_from(tch::get_num_threads()).unwrap_or(1),
        cuda,
        cudnn,
        why_no_cuda: why_no_cuda(),
    }
}

/// Why CUDA cannot be used and what to do; `None` if it can.
#[must_use]
pub fn why_no_cuda() -> Option<String> {
    if cuda_count() > 0 {
        return compute(0).err().map(|error| error.to_string());
    }
    let driver = Driver::open().and_then(|driver| driver.devices());
    Some(match (register_cuda(), driver) {
        (false, Err(reason)) => format!(
            "only the CPU set of libtorch is installed (scripts/setup --cuda installs the CUDA set), and {reason:#}"
        ),
        (false, Ok(devices)) => format!(
            "this machine has {} CUDA device(s), but only the CPU set of libtorch is installed: run scripts/setup --cuda",
            devices.len()
        ),
        (true, Err(reason)) => format!("the CUDA set of libtorch is installed, but {reason:#}"),
        (true, Ok(devices)) if devices.is_empty() => {
            "the NVIDIA driver sees no device (is CUDA_VISIBLE_DEVICES set?)".to_owned()
        }
        (true, Ok(_)) => {
            let error = tch::Tensor::f_zeros([1], (tch::Kind::Float, tch::Device::Cuda(0))).err();
            let reason = error.map(|error| error.to_string().lines().next().unwrap_or_default().to_owned());
            format!("libtorch cannot use the device: {}", reason.unwrap_or_else(|| "it finds none".to_owned()))
        }
    })
}

/// NVIDIA's driver library, which reports names and memory even if libtorch's CUDA library is not installed.
struct Driver {
    library: Library,
}

type CuInit = unsafe extern "C" fn(u32) -> c_int;
type CuDeviceGetCount = unsafe extern "C" fn(*mut c_int) -> c_int;
type CuDeviceGetName = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
type CuDeviceTotalMem = unsafe extern "C" fn(*mut usize, c_int) -> c_int;

impl Driver {
    fn open() -> Result<Self> {
        // SAFETY: the driver's initialisers are NVIDIA's own.
        let library = unsafe { Library::open(Some("libcuda.so.1"), RTLD_NOW) };
        let Ok(library) = library else { bail!("no NVIDIA driver is installed (libcuda.so.1 is not found)") };
        Ok(Self { library })
    }

    fn devices(&self) -> Result<Vec<CudaDevice>> {
        // SAFETY: names and signatures are those of `cuda.h`, unchanged since CUDA 3.2; every pointer is to a live
        // local variable of the size passed to the call.
        unsafe {
            let init = self.library.get::<CuInit>(b"cuInit\0")?;
            let get_count = self.library.get::<CuDeviceGetCount>(b"cuDeviceGetCount\0")?;
            let get_name = self.library.get::<CuDeviceGetName>(b"cuDeviceGetName\0")?;
            let get_memory = self.library.get::<CuDeviceTotalMem>(b"cuDeviceTotalMem_v2\0")?;
            let status = init(0);
            if status != 0 {
                bail!("the NVIDIA driver does not start (cuInit: error {status})");
            }
            let mut count = 0;
            let status = get_count(&raw mut count);
            if status != 0 {
                bail!("the NVIDIA driver cannot count its devices (error {status})");
            }
            let mut devices = Vec::new();
            for index in 0..count {
                let mut name: [c_char; 256] = [0; 256];
                let mut memory = 0;
                if get_name(name.as_mut_ptr(), 255, index) != 0 || get_memory(&raw mut memory, index) != 0 {
                    bail!("the NVIDIA driver cannot describe device {index}");
                }
                let name = CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
                devices.push(CudaDevice { index: usize::try_from(index)?, name, memory: memory as u64 });
            }
            Ok(devices)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_that_is_not_there_is_an_error_with_the_reason() {
        if cuda_count() > 0 {
            eprintln!("skipped: this machine has a CUDA device");
            return;
        }
        let message = choose(Device::Cuda(0)).unwrap_err().to_string();
        assert!(message.contains("CUDA cannot be used") && message.len() > 40, "{message}");
        assert_eq!(choose(Device::Auto).unwrap(), tch::Device::Cpu);
    }
}
