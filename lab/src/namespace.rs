//! Network namespaces: a switch, a node, the client each live in one.
//!
//! A namespace lives as long as somebody has it open; ours are held by a descriptor and have no
//! name in the file system, so nothing is left when the lab is killed.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::RouteSocket;
use crate::sys;

/// Settings of every new namespace: as systemd's defaults on Debian where they matter to addresses
/// that come and go, and no waiting for duplicate detection.
const SETTINGS: [(&str, &str); 6] = [
    ("ipv4/conf/all/promote_secondaries", "1"),
    ("ipv4/conf/default/promote_secondaries", "1"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
];

/// A network namespace of our own.
pub(crate) struct Namespace {
    file: File,
    route: RouteSocket,
}

impl Namespace {
    /// Makes one, with its loopback interface up.
    pub(crate) fn create() -> Result<Self> {
        on_a_thread(|| {
            sys::unshare_network().context("making a network namespace")?;
            let file = File::open("/proc/thread-self/ns/net").context("holding the namespace")?;
            for (name, value) in SETTINGS {
                let path = format!("/proc/sys/net/{name}");
                // A kernel without IPv6 has no such settings.
                if fs::exists(&path).unwrap_or(false) {
                    fs::write(&path, value).with_context(|| format!("setting {path}"))?;
                }
            }
            let mut route = RouteSocket::open()?;
            route.set_up("lo", true)?;
            Ok(Self { file, route })
        })
    }

    /// Runs something on a thread inside; sockets that it opens stay inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_a_thread(|| {
            self.enter_this_thread()?;
            work()
        })
    }

    /// Moves the calling thread inside, for good.
    pub(crate) fn enter_this_thread(&self) -> Result<()> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering a network namespace")
    }

    pub(crate) fn route(&mut self) -> &mut RouteSocket {
        &mut self.route
    }

    /// Sets a cable end up with its addresses.
    pub(crate) fn configure(&mut self, interface: &str, addresses: &[(IpAddr, u8)]) -> Result<()> {
        self.route.set_up(interface, true)?;
        addresses
            .iter()
            .try_for_each(|(address, prefix)| self.route.add_address(interface, *address, *prefix))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        // A panic there is ours: let it go on here.
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
