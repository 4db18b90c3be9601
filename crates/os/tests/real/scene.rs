//! Namespaces and virtual cables for tests.

use std::io;
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
