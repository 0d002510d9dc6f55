//! What NCCL is told through the environment, which it reads as it is first used.

use std::{env, fs};

use crate::Error;

const INTERFACE: &str = "NCCL_SOCKET_IFNAME";

/// Several ranks on one GPU: NCCL refuses them unless it takes them for ranks of different machines, which then talk over
/// sockets, with few blocks each, as all their kernels must fit on the GPU at once.
const SHARED: [(&str, &str); 8] = [
    (INTERFACE, "lo"),
    ("NCCL_NET", "Socket"),
    ("NCCL_IB_DISABLE", "1"),
    ("NCCL_MNNVL_ENABLE", "0"),
    ("NCCL_NVLS_ENABLE", "0"),
    ("NCCL_MAX_CTAS", "4"),
    ("NCCL_ALGO", "Ring"),
    ("NCCL_PROTO", "Simple"),
];

/// Makes NCCL use the network interface of exactly this name. Comes before the process has a second thread.
///
/// # Errors
/// If the process has one.
pub fn choose_interface(name: &str) -> Result<(), Error> {
    set(&[(INTERFACE, &format!("={name}"))])
}

/// Lets this process be one of several of a gang that compute on the same GPU, under a name that no other of them has: for
/// tests, as they take turns on it. Comes before the process has a second thread.
///
/// # Errors
/// If the process has one.
pub fn share_device(name: &str) -> Result<(), Error> {
    set(&SHARED)?;
    set(&[("NCCL_HOSTID", name)])
}

fn set(variables: &[(&str, &str)]) -> Result<(), Error> {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        let name = variables[0].0;
        return Err(Error::NoNccl(format!("{name} cannot be set in a process of {threads} threads")));
    }
    for (name, value) in variables {
        // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
        unsafe { env::set_var(name, value) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_many_threads_keeps_its_environment() {
        // The test's own thread is beside the main one.
        for refused in [choose_interface("eth0"), share_device("w0")] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(INTERFACE) && error.contains("cannot be set in a process of"), "{error}");
        }
        assert!(env::var_os(INTERFACE).is_none());
    }
}
