//! Ports that nobody else is given.

#![allow(clippy::unwrap_used)]

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt::set_socket_reuseaddr,
};

/// A port of this machine's own address that is a test's as long as this value is there, also while no server listens at
/// it: a socket has it that never does. Servers have it too, for they all set `SO_REUSEADDR`.
pub(crate) struct Port {
    /// Where that is.
    pub(crate) address: SocketAddr,
    _socket: OwnedFd,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = getsockname(&socket).unwrap().try_into().unwrap();
        Self { address, _socket: socket }
    }
}
