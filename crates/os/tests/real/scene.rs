//! Namespaces and virtual cables for tests.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use base::Instant;
use os::event::{Events, Poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;

/// When a test gives up waiting: only tells a failure from a hang.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until: Instant = os::clock::boottime() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(os::clock::boottime() < until, "gave up waiting for {what}");
        let poll = Poll::new().unwrap();
        poll.wait(&mut Events::with_capacity(1), Some(Duration::from_millis(2))).unwrap();
    }
}

/// Puts the calling thread into a namespace of its own; false (and a line that says why) if the
/// kernel forbids it.
pub(crate) fn isolate(flags: UnshareFlags) -> bool {
    #[expect(deprecated, reason = "only the file-table flag of unshare is unsafe; not used here")]
    let result = rustix::thread::unshare(flags);
    if let Err(error) = result {
        println!("skipped: the kernel forbids a namespace {flags:?} here: {error}");
    }
    result.is_ok()
}

fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let flags = flags | 1 | 4;
    let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0_u8; 4_096];
    rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    match i32::from_ne_bytes(answer[16..20].try_into().unwrap()) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn link(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

/// Sets an interface up or down.
pub(crate) fn set_up(index: u32, up: bool) {
    request(16, 0, &link(index, u32::from(up), 1)).unwrap();
}

/// Takes an interface away; of a cable both ends go.
pub(crate) fn remove(index: u32) {
    request(17, 0, &link(index, 0, 0)).unwrap();
}

/// Makes a cable with the ends `left` and `right`, both up; returns their indexes.
pub(crate) fn cable(left: &str, right: &str) -> (u32, u32) {
    let mut peer = link(0, 0, 0);
    peer.extend(attribute(3, format!("{right}\0").as_bytes()));
    let kind = attribute(1, b"veth");
    let data = attribute(2, &attribute(1, &peer));
    let mut body = link(0, 0, 0);
    body.extend(attribute(3, format!("{left}\0").as_bytes()));
    body.extend(attribute(18, &[kind, data].concat()));
    request(16, 0x600, &body).unwrap();
    let interfaces = os::netlink::Netlink::open().unwrap().interfaces().unwrap();
    let index = |name: &str| interfaces.iter().find(|i| i.name == name).expect("just made").index;
    let ends = (index(left), index(right));
    set_up(ends.0, true);
    set_up(ends.1, true);
    ends
}

/// A network namespace beside the calling thread's.
pub(crate) struct Beside(std::fs::File);

impl Beside {
    /// Makes one; none (and a line that says why) if the kernel forbids it.
    pub(crate) fn make() -> Option<Beside> {
        std::thread::spawn(|| {
            isolate(UnshareFlags::NEWNET)
                .then(|| Beside(std::fs::File::open("/proc/thread-self/ns/net").unwrap()))
        })
        .join()
        .unwrap()
    }

    /// Does something there; sockets that are opened there stay there.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(self.0.as_fd(), Some(kind)).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    /// Makes a cable from the calling thread's namespace to this one, both ends up.
    pub(crate) fn cable(&self, left: &str, right: &str) -> (u32, u32) {
        let mut peer = link(0, 0, 0);
        peer.extend(attribute(3, format!("{right}\0").as_bytes()));
        peer.extend(attribute(28, &self.0.as_raw_fd().to_ne_bytes()));
        let kind = attribute(1, b"veth");
        let data = attribute(2, &attribute(1, &peer));
        let mut body = link(0, 0, 0);
        body.extend(attribute(3, format!("{left}\0").as_bytes()));
        body.extend(attribute(18, &[kind, data].concat()));
        request(16, 0x600, &body).unwrap();
        let ends = (interface(left).index, self.within(|| interface(right).index));
        set_up(ends.0, true);
        self.within(|| set_up(ends.1, true));
        ends
    }
}

/// The interface called so.
pub(crate) fn interface(name: &str) -> os::netlink::Interface {
    let interfaces = os::netlink::Netlink::open().unwrap().interfaces().unwrap();
    interfaces.into_iter().find(|one| one.name == name).expect("there is one")
}

/// Makes an interface of a kind that needs no more than its name.
pub(crate) fn device(name: &str, kind: &str) -> u32 {
    let mut body = link(0, 0, 0);
    body.extend(attribute(3, format!("{name}\0").as_bytes()));
    body.extend(attribute(18, &attribute(1, kind.as_bytes())));
    request(16, 0x600, &body).unwrap();
    let index = interface(name).index;
    set_up(index, true);
    index
}

/// Makes an interface of a kind that lies upon another one; its data are attributes.
pub(crate) fn upon(lower: u32, name: &str, kind: &str, data: &[(u16, &[u8])]) -> io::Result<u32> {
    let mut body = link(0, 0, 0);
    body.extend(attribute(3, format!("{name}\0").as_bytes()));
    body.extend(attribute(5, &lower.to_ne_bytes()));
    let data: Vec<u8> = data.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect();
    let info = [attribute(1, kind.as_bytes()), attribute(2, &data)].concat();
    body.extend(attribute(18, &info));
    request(16, 0x600, &body)?;
    let index = interface(name).index;
    set_up(index, true);
    Ok(index)
}

/// Makes an interface a port of a bridge.
pub(crate) fn join_bridge(port: u32, bridge: u32) {
    let mut body = link(port, 0, 0);
    body.extend(attribute(10, &bridge.to_ne_bytes()));
    request(16, 0, &body).unwrap();
}

/// Writes down for ever which station has an address.
pub(crate) fn neighbour(interface: u32, address: IpAddr, mac: [u8; 6]) {
    const PERMANENT: u8 = 0x80;
    let (family, bytes) = match address {
        IpAddr::V4(address) => (2_u8, address.octets().to_vec()),
        IpAddr::V6(address) => (10, address.octets().to_vec()),
    };
    let mut body = vec![family, 0, 0, 0];
    body.extend(interface.to_ne_bytes());
    body.extend([PERMANENT, 0, 0, 0]);
    body.extend(attribute(1, &bytes));
    body.extend(attribute(2, &mac));
    request(28, 0x500, &body).unwrap();
}

/// Adds a route over the interface, as an administrator would.
pub(crate) fn route(interface: u32, (to, prefix): (IpAddr, u8), gateway: Option<IpAddr>) {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let scope = if gateway.is_some() { 0 } else { 253 };
    // struct rtmsg: family, two lengths, TOS, table main, protocol static, scope, unicast, flags.
    let mut body = vec![u8::try_from(family).unwrap(), prefix, 0, 0, 254, 4, scope, 1, 0, 0, 0, 0];
    if prefix > 0 {
        body.extend(attribute(1, &octets(to)));
    }
    body.extend(attribute(4, &interface.to_ne_bytes()));
    if let Some(gateway) = gateway {
        body.extend(attribute(5, &octets(gateway)));
    }
    request(24, 0x600, &body).unwrap();
}

/// The names of the interfaces that routes of this family lead over, with what the kernel's own table
/// says of each route.
pub(crate) fn routes(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("Iface"));
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match file {
            "route" => (words[0].to_owned(), format!("{} {}", words[1], words[2])),
            // The last word is the interface.
            _ => (words[9].to_owned(), format!("{}/{} {}", words[0], words[1], words[4])),
        }
    };
    lines.map(route).collect()
}

/// Takes away all filters of an interface, as `tc qdisc del dev … clsact` does.
pub(crate) fn remove_filters(interface: u32) {
    let mut body = vec![0; 4];
    body.extend(interface.to_ne_bytes());
    body.extend(0xffff_0000_u32.to_ne_bytes());
    body.extend(0xffff_fff1_u32.to_ne_bytes());
    body.extend([0; 4]);
    request(37, 0, &body).unwrap();
}

/// Gives an interface the older kind of discipline for what comes in.
pub(crate) fn ingress_discipline(interface: u32) {
    let mut body = vec![0; 4];
    body.extend(interface.to_ne_bytes());
    body.extend(0xffff_0000_u32.to_ne_bytes());
    body.extend(0xffff_fff1_u32.to_ne_bytes());
    body.extend([0; 4]);
    body.extend(attribute(1, b"ingress\0"));
    request(36, 0x600, &body).unwrap();
}

/// Gives an interface filters that it shares with others: nobody can add one for it alone.
pub(crate) fn shared_filters(interface: u32) {
    let mut body = vec![0; 4];
    body.extend(interface.to_ne_bytes());
    body.extend(0xffff_0000_u32.to_ne_bytes());
    body.extend(0xffff_fff1_u32.to_ne_bytes());
    body.extend([0; 4]);
    body.extend(attribute(1, b"clsact\0"));
    for (direction, block) in [(13, 7_u32), (14, 8)] {
        body.extend(attribute(direction, &block.to_ne_bytes()));
    }
    request(36, 0x600, &body).unwrap();
}

/// How many filters an interface has for what comes in and what goes out.
pub(crate) fn filters(interface: u32) -> [usize; 2] {
    [0xffff_fff2_u32, 0xffff_fff3].map(|parent| {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let mut message = 36_u32.to_ne_bytes().to_vec();
        message.extend([46_u16.to_ne_bytes(), 0x301_u16.to_ne_bytes()].concat());
        message.extend([0; 12]);
        message.extend(interface.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(parent.to_ne_bytes());
        message.extend([0; 4]);
        rustix::net::send(&socket, &message, SendFlags::empty()).unwrap();
        let mut count = 0;
        let mut answer = vec![0_u8; 65_536];
        loop {
            let (_, length) = rustix::net::recv(&socket, &mut *answer, RecvFlags::empty()).unwrap();
            let mut rest = &answer[..length];
            while rest.len() >= 16 {
                let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
                match u16::from_ne_bytes(rest[4..6].try_into().unwrap()) {
                    // The number of a list's head is zero.
                    44 => count += usize::from(rest[24..28] != [0; 4]),
                    _ => return count,
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            }
        }
    })
}
