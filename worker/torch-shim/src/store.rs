//! The store where the members of a process group meet.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::IntoRawFd,
    ptr::{self, NonNull},
    time::Duration,
};

use crate::{
    Error,
    sys::{self, c_string, made, millis},
};

/// A key-value store over TCP in which the members of a group find each other.
#[derive(Debug)]
pub struct Store {
    raw: NonNull<sys::Store>,
    address: SocketAddr,
}

// SAFETY: c10d stores serialize their operations with a lock of their own.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Serves a store on a free port of `host` (nothing else listens), and is its first client.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn serve(host: IpAddr, timeout: Duration) -> Result<Self, Error> {
        let cannot = |error: std::io::Error| Error::new(format!("cannot listen on {host}: {error}"));
        let listener = TcpListener::bind((host, 0)).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let name = c_string(&address.ip().to_string())?;
        let mut raw = ptr::null_mut();
        // SAFETY: the string and the out pointer outlive the call; the descriptor is a bound socket that
        // is given away here, whatever the outcome.
        sys::check(unsafe {
            let fd = listener.into_raw_fd();
            sys::fulcrum_store_server(name.as_ptr(), address.port(), fd, millis(timeout), &mut raw)
        })?;
        Ok(Self { raw: made(raw), address })
    }

    /// Connects to a served store.
    ///
    /// # Errors
    /// If nothing answers within `timeout`.
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, Error> {
        let name = c_string(&address.ip().to_string())?;
        let mut raw = ptr::null_mut();
        // SAFETY: the string and the out pointer outlive the call.
        sys::check(unsafe {
            sys::fulcrum_store_client(name.as_ptr(), address.port(), millis(timeout), &mut raw)
        })?;
        Ok(Self { raw: made(raw), address })
    }

    /// Keeps `value` under `key`, for everybody.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let key = c_string(key)?;
        // SAFETY: the store is alive; the string and the bytes outlive the call, which copies them.
        sys::check(unsafe {
            sys::fulcrum_store_set(self.raw.as_ptr(), key.as_ptr(), value.as_ptr(), value.len())
        })
    }

    /// Waits until somebody has set `key`, and reads its value of `limit` bytes at most.
    ///
    /// # Errors
    /// If nobody does within the timeout of this client, the server is gone, or the value is longer.
    pub fn get(&self, key: &str, limit: usize) -> Result<Vec<u8>, Error> {
        let (key, mut value, mut length) = (c_string(key)?, vec![0; limit], limit);
        // SAFETY: the store is alive, the string outlives the call, and `length` is the room in `value`.
        sys::check(unsafe {
            sys::fulcrum_store_get(self.raw.as_ptr(), key.as_ptr(), value.as_mut_ptr(), &mut length)
        })?;
        value.truncate(length);
        Ok(value)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Store {
    pub(crate) fn raw(&self) -> *mut sys::Store {
        self.raw.as_ptr()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the C face and is freed once. Groups hold their own reference.
        unsafe { sys::fulcrum_store_free(self.raw.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_store_listens_where_it_was_told_and_nowhere_else() {
        let store = Store::serve(Ipv4Addr::LOCALHOST.into(), Duration::from_secs(5)).unwrap();
        assert!(store.address().ip().is_loopback());
        Store::connect(store.address(), Duration::from_secs(5)).unwrap();
        // All of 127.0.0.0/8 reaches this machine: a server bound to every address would answer here too.
        let elsewhere = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), store.address().port());
        assert!(std::net::TcpStream::connect(elsewhere).is_err());
    }

    #[test]
    fn what_one_client_sets_another_gets_even_if_it_asks_first() {
        let (host, patience) = (Ipv4Addr::LOCALHOST.into(), Duration::from_secs(5));
        let store = Store::serve(host, patience).unwrap();
        let value = [0u8, 255, 10, 0];
        std::thread::scope(|scope| {
            let address = store.address();
            let asks = scope.spawn(move || Store::connect(address, patience).unwrap().get("id", 4).unwrap());
            store.set("id", &value).unwrap();
            assert_eq!(asks.join().unwrap(), value);
        });
        let error = store.get("id", 3).unwrap_err().to_string();
        assert_eq!(error, "id has 4 bytes in the store, and 3 are the most");
        store.set("nothing", &[]).unwrap();
        assert!(store.get("nothing", 0).unwrap().is_empty());
    }

    #[test]
    fn a_value_that_nobody_sets_is_an_error_in_time() {
        let store = Store::serve(Ipv4Addr::LOCALHOST.into(), Duration::from_millis(100)).unwrap();
        assert!(store.get("id", 4).is_err());
    }

    #[test]
    fn a_store_that_does_not_answer_is_an_error() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        assert!(Store::connect(free, Duration::from_millis(100)).is_err());
    }
}
