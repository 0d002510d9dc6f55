//! Which network interface NCCL takes.

use std::{env, fs};

const VARIABLE: &str = "NCCL_SOCKET_IFNAME";

/// Makes NCCL use the network interface of exactly this name. NCCL reads the choice from the environment as it is
/// first used, so this comes before the process has a second thread.
///
/// # Errors
/// If the process has one.
pub fn choose_interface(name: &str) -> Result<(), crate::Error> {
    let threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        let reason = format!("{VARIABLE} cannot be set in a process of {threads} threads");
        return Err(crate::Error::NoNccl(reason));
    }
    // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
    unsafe { env::set_var(VARIABLE, format!("={name}")) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_many_threads_keeps_its_environment() {
        // The test's own thread is beside the main one.
        let error = choose_interface("eth0").unwrap_err().to_string();
        assert!(error.contains("cannot be set in a process of"), "{error}");
        assert!(env::var_os(VARIABLE).is_none());
    }
}
