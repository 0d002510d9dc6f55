//! Who this process is.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::{IpAddr, SocketAddr, UdpSocket},
};

use fulcrum_common::{
    Key,
    plan::CODE_VERSION,
    program,
    protocol::{Hello, PROTOCOL_VERSION},
};

use crate::device::Device;

/// This process's introduction, to which its store and what the process before it left are still to be added. The
/// incarnation tells it from every other process of its seat; it decides no result.
pub(crate) fn hello(seat: &str, device: Device, threads: u32) -> Hello {
    let pid = std::process::id();
    let chance = RandomState::new().build_hasher().finish();
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Hello {
        protocol: PROTOCOL_VERSION,
        code: CODE_VERSION,
        worker: seat.to_owned(),
        incarnation: Key::of(format!("{pid} {chance}").as_bytes()).short(),
        host: host.unwrap_or_else(|| "unknown".to_owned()),
        pid,
        device: device.to_string(),
        threads,
        fell: None,
        build: program::own_digest().map(|build| build.to_string()).unwrap_or_default(),
        store: String::new(),
    }
}

/// This machine's address on the way to the coordinator, which is the one its peers use.
pub(crate) fn host_towards(coordinator: SocketAddr) -> std::io::Result<IpAddr> {
    let any: SocketAddr = match coordinator {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    // Connecting a datagram socket sends nothing: it only asks the routing table.
    let socket = UdpSocket::bind(any)?;
    socket.connect(coordinator)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_one_seat_differ() {
        let (one, two) = (hello("w0", Device::Cpu, 1), hello("w0", Device::Cpu, 1));
        assert_eq!((one.worker.as_str(), one.device.as_str()), ("w0", "cpu"));
        assert_ne!(one.incarnation, two.incarnation);
    }

    #[test]
    fn peers_of_a_local_coordinator_meet_on_loopback() {
        assert!(host_towards("127.0.0.1:9".parse().unwrap()).unwrap().is_loopback());
    }
}
