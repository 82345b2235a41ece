//! The other end of a request: what a record, a budget and a log line know of it.

use super::progress::Progress;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// The other end of a connection, and the connection itself.
#[derive(Clone)]
pub(super) struct Peer {
    address: IpAddr,
    connection: Arc<Progress>,
}

impl Peer {
    /// At the other end of the socket.
    pub(super) const fn new(socket: SocketAddr, connection: Arc<Progress>) -> Self {
        Self { address: socket.ip(), connection }
    }

    /// Where the request comes from.
    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    /// The source that its budgets belong to.
    pub(super) fn source(&self) -> Source {
        Source::of(self.address)
    }

    /// The connection that brought the request.
    pub(super) const fn connection(&self) -> &Arc<Progress> {
        &self.connection
    }
}

/// Whose address it is: with IPv6 one customer holds a whole /64; an IPv4 address mapped into IPv6 is that address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    /// The source that this address belongs to.
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_source_and_a_mapped_address_is_ipv4() {
        let source = |address: &str| Source::of(address.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(source("2001:db8::1").to_string(), "2001:db8::/64");
    }
}
