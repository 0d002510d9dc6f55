//! Which network interface processes talk through, chosen by name, subnet or address.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use nix::ifaddrs::getifaddrs;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// The interface of this name.
    Name(String),
    /// The interface with an address in this network, of so many leading bits.
    Subnet(IpAddr, u8),
}

/// An address of this machine, and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Of the interface.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl Interface {
    /// The interface on this machine.
    ///
    /// # Errors
    /// If there is none such; the message lists those that there are.
    pub fn find(&self) -> io::Result<Local> {
        self.choose(&locals()?).map_err(io::Error::other)
    }

    /// The first that fits; among those of one name IPv4 goes first.
    fn choose(&self, locals: &[Local]) -> Result<Local, NoInterface> {
        let fits = |local: &&Local| match self {
            Self::Name(name) => local.name == *name,
            Self::Subnet(network, bits) => shares(*network, local.address, *bits),
        };
        let found = locals.iter().filter(fits).min_by_key(|local| local.address.is_ipv6());
        found.cloned().ok_or_else(|| NoInterface { wanted: self.clone(), locals: locals.to_vec() })
    }
}

impl Interface {
    /// As a command line has it.
    pub fn word(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Subnet(network, bits) => format!("{network}/{bits}"),
        }
    }
}

/// Nothing on this machine is what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("no interface {wanted}: there are {}", list(.locals))]
pub struct NoInterface {
    wanted: Interface,
    locals: Vec<Local>,
}

fn list(locals: &[Local]) -> String {
    let words: Vec<_> = locals.iter().map(|local| format!("{} ({})", local.name, local.address)).collect();
    words.join(", ")
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "is named {name}"),
            Self::Subnet(network, bits) => write!(f, "has an address in {network}/{bits}"),
        }
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Subnet(address, width(address)));
        }
        let Some((network, bits)) = text.split_once('/') else {
            return if text.is_empty() { Err("no name".into()) } else { Ok(Self::Name(text.to_owned())) };
        };
        let network = network.parse().map_err(|_| format!("{network:?} is no address"))?;
        match bits.parse() {
            Ok(bits) if bits <= width(network) => Ok(Self::Subnet(network, bits)),
            _ => Err(format!("{bits:?} is no number of bits up to {}", width(network))),
        }
    }
}

/// The first address of this machine that others may reach; that of the loopback where it has no other.
///
/// # Errors
/// If the system does not tell its addresses.
pub fn reachable() -> io::Result<IpAddr> {
    Ok(first_reachable(&locals()?))
}

/// The address that others find this machine at: that of the interface where one is named, else [`reachable`].
///
/// # Errors
/// If there is no such interface.
pub fn address(interface: Option<&Interface>) -> io::Result<IpAddr> {
    match interface {
        Some(interface) => Ok(interface.find()?.address),
        None => reachable(),
    }
}

fn first_reachable(locals: &[Local]) -> IpAddr {
    let others = locals.iter().map(|local| local.address).filter(|address| !address.is_loopback());
    others.min_by_key(IpAddr::is_ipv6).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// The bits of an address.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Whether two addresses of one family begin with the same `bits`.
fn shares(network: IpAddr, address: IpAddr, bits: u8) -> bool {
    // Both are pushed to the top of 128 bits.
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let rest = 128 - u32::from(bits);
    let differs = number(network) ^ number(address);
    network.is_ipv4() == address.is_ipv4() && differs.checked_shr(rest).unwrap_or(0) == 0
}

/// The addresses of this machine. Those of IPv6 that hold on one link only cannot be told to others, and are left out.
fn locals() -> nix::Result<Vec<Local>> {
    let local = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let address = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(four), _) => IpAddr::V4(four.ip()),
            (None, Some(six)) if !six.ip().is_unicast_link_local() => IpAddr::V6(six.ip()),
            _ => return None,
        };
        Some(Local { name: interface.interface_name, address })
    };
    Ok(getifaddrs()?.filter_map(local).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Local> {
        let rows = [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("eth0", "fd00:1::7"),
            ("eth0", "192.168.4.7"),
            ("ib0", "10.1.2.3"),
            ("ib1", "10.1.200.3"),
        ];
        rows.map(|(name, address)| Local { name: name.into(), address: address.parse().unwrap() }).into()
    }

    #[test]
    fn an_interface_is_found_by_name_network_or_address() {
        for (wanted, name, address) in [
            ("eth0", "eth0", "192.168.4.7"),
            ("10.1.0.0/16", "ib0", "10.1.2.3"),
            ("10.1.128.9/17", "ib1", "10.1.200.3"),
            ("10.1.200.3", "ib1", "10.1.200.3"),
            ("fd00:1::/64", "eth0", "fd00:1::7"),
            ("::1", "lo", "::1"),
            ("0.0.0.0/0", "lo", "127.0.0.1"),
            ("::/0", "lo", "::1"),
        ] {
            let found = wanted.parse::<Interface>().unwrap().choose(&machine()).unwrap();
            assert_eq!((found.name.as_str(), found.address), (name, address.parse().unwrap()), "{wanted}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error_that_lists_what_is() {
        for (wanted, said) in [
            ("eth9", "no interface is named eth9: there are lo (127.0.0.1), lo (::1), eth0"),
            ("10.2.0.0/16", "no interface has an address in 10.2.0.0/16: there are lo (127.0.0.1)"),
            ("fd00:2::/32", "no interface has an address in fd00:2::/32: "),
        ] {
            let error = wanted.parse::<Interface>().unwrap().choose(&machine()).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn others_reach_any_address_but_the_loopbacks() {
        assert_eq!(first_reachable(&machine()).to_string(), "192.168.4.7");
        assert!(first_reachable(&machine()[..2]).is_loopback());
        assert_eq!(first_reachable(&machine()[..3]).to_string(), "fd00:1::7");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["10.1.0.0/33", "10.1.0.0/", "eth0/8", "::/129", "10.1.0.0/-1", ""] {
            assert!(wrong.parse::<Interface>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let found = "127.0.0.0/8".parse::<Interface>().unwrap().find().unwrap();
        assert!(found.address.is_loopback());
        assert_eq!(Interface::Name(found.name.clone()).find().unwrap().name, found.name);
    }
}
