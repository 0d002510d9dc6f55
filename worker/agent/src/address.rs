//! Where a coordinator is, as a command line has it.

use std::{io, net::SocketAddr, str::FromStr, time::Duration};

use tokio::{net::lookup_host, time::timeout};

/// How long a name may take to become an address.
const ANSWER: Duration = Duration::from_secs(5);

/// A host, by its address or its name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// A text that names no host and port.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: say HOST:PORT, such as 10.1.2.3:4600, [fd00::1]:4600 or head.example:4600")]
pub(crate) struct NoAddress(String);

impl Address {
    /// Where that is now: a name may lead to another machine the next time.
    ///
    /// # Errors
    /// If nobody knows the name, or tells in time.
    pub(crate) async fn find(&self) -> io::Result<SocketAddr> {
        let found = timeout(ANSWER, lookup_host((self.host.as_str(), self.port)));
        let late =
            |_| io::Error::new(io::ErrorKind::TimedOut, format!("the name {} is not resolved", self.host));
        let first = found.await.map_err(late)??.next();
        first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.host)))
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let wrong = || NoAddress(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            let (host, port) = (address.ip().to_string(), address.port());
            return if port == 0 { Err(wrong()) } else { Ok(Self { host, port }) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let is_name = |part: &str| {
            !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        match port.parse() {
            Ok(port) if port > 0 && host.len() < 254 && host.split('.').all(is_name) => {
                Ok(Self { host: host.to_owned(), port })
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_an_address() {
        for (text, host, port) in [
            ("10.1.2.3:4600", "10.1.2.3", 4600),
            ("[fd00::1]:4600", "fd00::1", 4600),
            ("head:1", "head", 1),
            (
                "fulcrum-exp.research.svc.cluster.local.:65535",
                "fulcrum-exp.research.svc.cluster.local",
                65535,
            ),
        ] {
            assert_eq!(text.parse(), Ok(Address { host: host.to_owned(), port }), "{text}");
        }
        let long = format!("{}:1", "a.".repeat(130));
        for text in [
            "",
            ":",
            "head",
            "head:",
            ":4600",
            "head:0",
            "10.1.2.3:0",
            "head:70000",
            "a b:1",
            "a..b:1",
            "fd00::1",
            "http://head:1",
            &long,
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_each_time() {
        let found = "localhost:4600".parse::<Address>().unwrap().find().await.unwrap();
        assert!(found.ip().is_loopback() && found.port() == 4600, "{found}");
        assert!("no-such-host.invalid:4600".parse::<Address>().unwrap().find().await.is_err());
    }
}
