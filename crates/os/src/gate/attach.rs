//! Where packets meet the gate: on every interface that could carry a service address.
//!
//! Linux answers for any of its addresses on any interface (the weak model of RFC 1122, 3.3.4.2), so
//! one interface without the gate would open all addresses. Gated are all but the loop and the ports
//! of bridges: what a port hears is the bridge's to deliver, and the bridge is an interface itself.
//!
//! Mechanism: a `clsact` queueing discipline with one filter of kind `bpf` in either direction, in
//! direct-action mode (tc-bpf(8)). It stays when its maker dies. **Rule: one filter per direction.**
//! Ours is known by its name, which carries the node's: it is replaced in place, which lets nothing
//! through. The first free place is taken, because filters before ours could decide in its stead. Where
//! somebody else's `ingress` discipline has the place, only what comes in can be gated: that is half the
//! gate, and enough that nobody is answered.
//!
//! A person, or another program, can take filters away (`tc qdisc del`), so whoever keeps the gate
//! listens ([`Watch::of_filters`](crate::netlink::Watch::of_filters)) and calls
//! [`Attachments::keep`], which only looks when nothing is missing. Both the guard and the daemon may
//! do so at the same time: what they ask for is the same.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::netlink::{
    IFF_LOOPBACK, IFLA_IFNAME, Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST,
    Netlink, NetlinkError, RTM_GETLINK, RTM_NEWLINK, each_attribute, u32_at,
};

// linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const DIRECT_ACTION: u32 = 1;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_PORT_KIND: u16 = 4;
const ALL_PROTOCOLS: u16 = 0x0003;

/// Where filters of the two directions hang: in, out.
const DIRECTIONS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];
/// The loop's number in every network namespace (net/core/dev.c, `LOOPBACK_IFINDEX`).
const LOOP: u32 = 1;
/// Interfaces that are looked at in one go; more are reported as an error.
const LINKS_MAX: usize = 4_096;
/// Places (priorities) that are tried.
const PLACES_MAX: u32 = 32;
/// Bytes of the filter's name (the kernel's limit is 255).
const NAME_MAX: usize = 200;
const BODY: usize = 20;

/// The gate on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The interface's number.
    pub interface: u32,
    /// Its name.
    pub name: String,
    /// What comes in passes through the gate.
    pub ingress: bool,
    /// What goes out does.
    pub egress: bool,
    /// It is a port of a bridge: the bridge is gated instead.
    pub is_port: bool,
}

/// What [`Attachments::keep`] found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Filters that were missing and are there now.
    pub attached: u32,
    /// Interfaces on which what comes in passes through the gate now.
    pub gated: u32,
    /// An interface on which one is missing still, and the kernel's error number.
    pub refused: Option<(u32, i32)>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    index: u32,
    is_port: bool,
}

/// What hangs in one direction of one interface.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Our filter: place and number, and the program's id.
    ours: Option<(u32, u32, u32)>,
    /// Filters that are not ours.
    others: u32,
    /// Places (by bit) that filters of another kind have.
    taken: u64,
}

/// Puts the two programs on interfaces.
#[derive(Debug)]
pub struct Attachments {
    netlink: Netlink,
    name: String,
    handle: u32,
    programs: Option<[(OwnedFd, u32); 2]>,
    links: Vec<Link>,
}

impl Attachments {
    /// For the node with this name; the filters are called `mainstay NAME`.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub(super) fn new(node: &str) -> io::Result<Attachments> {
        let mut name = format!("mainstay {node}");
        while name.len() >= NAME_MAX {
            name.pop();
        }
        // Another number than filters that were made by hand have.
        let handle = crc32fast::hash(name.as_bytes()) & 0x7fff_ffff | 1 << 30;
        let links = Vec::with_capacity(LINKS_MAX);
        Ok(Attachments { netlink: Netlink::open()?, name, handle, programs: None, links })
    }

    /// From now on these two, ingress and egress, each with its id.
    pub(super) fn use_programs(&mut self, programs: [(OwnedFd, u32); 2]) {
        self.programs = Some(programs);
    }

    pub(super) fn programs(&self) -> [BorrowedFd<'_>; 2] {
        let [(ingress, _), (egress, _)] = self.programs.as_ref().expect("a gate has its programs");
        [ingress.as_fd(), egress.as_fd()]
    }

    /// The id of a program that is attached under our name, from any life of ours.
    pub(super) fn find_former(&mut self) -> Result<Option<u32>, NetlinkError> {
        self.read_links()?;
        for at in 0..self.links.len() {
            for parent in DIRECTIONS {
                if let Some((_, _, id)) = self.look(self.links[at].index, parent)?.ours {
                    return Ok(Some(id));
                }
            }
        }
        Ok(None)
    }

    /// Puts back what is missing on any interface; takes what is there from ports of bridges. Does not
    /// allocate.
    ///
    /// # Errors
    /// When the kernel does not answer; what it refuses is in the result.
    pub fn keep(&mut self) -> Result<Kept, NetlinkError> {
        let mut kept = Kept::default();
        self.read_links()?;
        for at in 0..self.links.len() {
            let link = self.links[at];
            self.keep_one(link, &mut kept)?;
        }
        Ok(kept)
    }

    /// As [`Attachments::keep`], on one interface: before an address comes to it.
    ///
    /// # Errors
    /// When what comes in would not pass through the gate.
    pub fn keep_on(&mut self, interface: u32) -> Result<(), NetlinkError> {
        self.read_links()?;
        let Some(link) = self.links.iter().find(|link| link.index == interface).copied() else {
            // There is nothing to be gated: the loop, or an interface that is gone.
            return Ok(());
        };
        let mut kept = Kept::default();
        self.keep_one(link, &mut kept)?;
        let refused = |errno| NetlinkError::Refused {
            operation: format!("put the lease gate on interface {interface}"),
            source: io::Error::from_raw_os_error(errno),
        };
        let is_in = link.is_port || self.look(interface, DIRECTIONS[0])?.ours.is_some();
        match kept.refused {
            Some((_, errno)) if !is_in => Err(refused(errno)),
            _ => Ok(()),
        }
    }

    fn keep_one(&mut self, link: Link, kept: &mut Kept) -> Result<(), NetlinkError> {
        let Some(programs) = &self.programs else { return Ok(()) };
        let ids = [programs[0].1, programs[1].1];
        for (direction, parent) in DIRECTIONS.into_iter().enumerate() {
            let seen = self.look(link.index, parent)?;
            let is_there = |id| id == ids[direction] && !link.is_port;
            let errno = match seen.ours {
                Some((_, _, id)) if is_there(id) => {
                    kept.gated += u32::from(direction == 0);
                    continue;
                }
                Some((place, number, _)) if link.is_port => {
                    self.detach(link.index, parent, place, number)?
                }
                None if link.is_port => continue,
                _ => self.attach(link.index, direction, seen)?,
            };
            match errno {
                0 if link.is_port => {}
                0 => {
                    kept.attached += 1;
                    kept.gated += u32::from(direction == 0);
                }
                // The interface has gone meanwhile.
                libc::ENODEV => {}
                errno => kept.refused = Some((link.index, errno)),
            }
        }
        Ok(())
    }

    /// Whether this kernel has what the gate needs: puts it on the loop, which is in every network
    /// namespace and is never gated else, and takes it away at once.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(super) fn rehearse(&mut self) -> Result<Kept, NetlinkError> {
        let mut kept = Kept::default();
        self.keep_one(Link { index: LOOP, is_port: false }, &mut kept)?;
        self.remove_from(LOOP)?;
        Ok(kept)
    }

    /// Takes the gate away from all interfaces.
    ///
    /// # Errors
    /// When the kernel does not answer, or refuses.
    pub fn remove(&mut self) -> Result<(), NetlinkError> {
        self.read_links()?;
        for at in 0..self.links.len() {
            self.remove_from(self.links[at].index)?;
        }
        Ok(())
    }

    fn remove_from(&mut self, index: u32) -> Result<(), NetlinkError> {
        let (mut ours, mut others) = (false, 0);
        for parent in DIRECTIONS {
            let seen = self.look(index, parent)?;
            others += seen.others;
            let Some((place, number, _)) = seen.ours else { continue };
            ours = true;
            match self.detach(index, parent, place, number)? {
                0 | libc::ENOENT | libc::ENODEV => {}
                errno => {
                    return Err(NetlinkError::Refused {
                        operation: format!("take the lease gate from interface {index}"),
                        source: io::Error::from_raw_os_error(errno),
                    });
                }
            }
        }
        if ours && others == 0 {
            // Nobody else uses it. Should it stay, it is empty and harmless.
            let mut message = request(RTM_DELQDISC, 0, index, CLSACT, CLSACT_HANDLE, 0);
            message.finish();
            self.netlink.ask(&mut message)?;
        }
        Ok(())
    }

    /// The gate on all interfaces but the loop, as it is.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn survey(&mut self) -> Result<Vec<Attached>, NetlinkError> {
        let mut names = Vec::new();
        self.netlink.dump(RTM_GETLINK, &[0; 16], |kind, body| {
            if let Some((link, name)) = read_link(kind, body) {
                names.push((link, String::from_utf8_lossy(name).into_owned()));
            }
        })?;
        let ids = self.programs.as_ref().map(|programs| [programs[0].1, programs[1].1]);
        let mut all = Vec::new();
        for (link, name) in names {
            let mut is_attached = [false; 2];
            for (direction, parent) in DIRECTIONS.into_iter().enumerate() {
                let ours = self.look(link.index, parent)?.ours;
                is_attached[direction] =
                    ours.is_some_and(|(_, _, id)| ids.is_some_and(|ids| id == ids[direction]));
            }
            let [ingress, egress] = is_attached;
            let is_port = link.is_port;
            all.push(Attached { interface: link.index, name, ingress, egress, is_port });
        }
        Ok(all)
    }

    fn read_links(&mut self) -> Result<(), NetlinkError> {
        let links = &mut self.links;
        links.clear();
        let mut too_many = false;
        self.netlink.dump(RTM_GETLINK, &[0; 16], |kind, body| {
            let Some((link, _)) = read_link(kind, body) else { return };
            too_many |= links.len() == LINKS_MAX;
            if !too_many {
                links.push(link);
            }
        })?;
        if too_many {
            return Err(NetlinkError::Answer(format!("more than {LINKS_MAX} interfaces")));
        }
        Ok(())
    }

    fn look(&mut self, interface: u32, parent: u32) -> Result<Seen, NetlinkError> {
        let mut seen = Seen::default();
        let name = self.name.as_bytes();
        let question = body(interface, parent, 0, 0);
        let looked = self.netlink.dump(RTM_GETTFILTER, &question, |kind, body| {
            if kind == RTM_NEWTFILTER {
                read_filter(&mut seen, name, body);
            }
        });
        match looked {
            Ok(_) => Ok(seen),
            // The interface has gone.
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(seen),
            Err(error) => Err(error),
        }
    }

    /// Attaches a program, or replaces what is attached; the kernel's error number.
    fn attach(
        &mut self,
        interface: u32,
        direction: usize,
        seen: Seen,
    ) -> Result<i32, NetlinkError> {
        let programs = self.programs.as_ref().expect("callers have looked");
        let program = programs[direction].0.as_raw_fd();
        let mut message = request(RTM_NEWQDISC, NLM_F_CREATE, interface, CLSACT, CLSACT_HANDLE, 0);
        message.attribute(TCA_KIND, b"clsact\0");
        message.finish();
        match self.netlink.ask(&mut message)? {
            0 => {}
            // Somebody has a discipline of kind `ingress` there, which has one list for both parents:
            // what we put into "out" would judge what comes in.
            libc::EINVAL if direction == 0 => {}
            errno => return Ok(errno),
        }
        let free = (1..PLACES_MAX).find(|place| seen.taken & 1 << place == 0);
        let (place, number) = match (seen.ours, free) {
            (Some((place, number, _)), _) => (place, number),
            (None, Some(place)) => (place, self.handle),
            (None, None) => return Ok(libc::ENOSPC),
        };
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        let parent = DIRECTIONS[direction];
        let mut message =
            request(RTM_NEWTFILTER, flags, interface, parent, number, filter_info(place));
        message.attribute(TCA_KIND, b"bpf\0");
        message.nested(TCA_OPTIONS, |options| {
            let mut name = [0; NAME_MAX];
            name[..self.name.len()].copy_from_slice(self.name.as_bytes());
            options.attribute(TCA_BPF_FD, &program.to_ne_bytes());
            options.attribute(TCA_BPF_NAME, &name[..=self.name.len()]);
            options.attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
        });
        message.finish();
        self.netlink.ask(&mut message)
    }

    fn detach(
        &mut self,
        interface: u32,
        parent: u32,
        place: u32,
        number: u32,
    ) -> Result<i32, NetlinkError> {
        let mut message = request(RTM_DELTFILTER, 0, interface, parent, number, filter_info(place));
        message.attribute(TCA_KIND, b"bpf\0");
        message.finish();
        self.netlink.ask(&mut message)
    }
}

/// `struct tcmsg`.
fn body(interface: u32, parent: u32, number: u32, info: u32) -> [u8; BODY] {
    let mut body = [0; BODY];
    for (at, value) in [(4, interface), (8, number), (12, parent), (16, info)] {
        body[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    body
}

fn request(
    kind: u16,
    flags: u16,
    interface: u32,
    parent: u32,
    number: u32,
    info: u32,
) -> Message<320> {
    let mut message = Message::new(kind, NLM_F_REQUEST | NLM_F_ACK | flags, 0);
    message.put(&body(interface, parent, number, info));
    message
}

/// A filter's place and the protocols that it is for.
fn filter_info(place: u32) -> u32 {
    place << 16 | u32::from(ALL_PROTOCOLS.to_be())
}

/// An interface that is not the loop, and its name.
fn read_link(kind: u16, body: &[u8]) -> Option<(Link, &[u8])> {
    let is_loop = u32_at(body, 8)? & IFF_LOOPBACK != 0;
    if kind != RTM_NEWLINK || is_loop {
        return None;
    }
    let mut link = Link { index: u32_at(body, 4)?, is_port: false };
    let mut name = &[][..];
    each_attribute(body.get(16..)?, |attribute, value| match attribute {
        IFLA_IFNAME => name = text(value),
        IFLA_LINKINFO => each_attribute(value, |attribute, value| {
            if attribute == IFLA_INFO_PORT_KIND {
                link.is_port = matches!(text(value), b"bridge" | b"openvswitch");
            }
        }),
        _ => {}
    });
    Some((link, name))
}

/// One filter of a dump. What has no number is the head of a list and no filter.
fn read_filter(seen: &mut Seen, name: &[u8], body: &[u8]) {
    let (Some(number), Some(info)) = (u32_at(body, 8), u32_at(body, 16)) else { return };
    let place = info >> 16;
    let (mut is_bpf, mut is_ours, mut id) = (false, false, 0);
    each_attribute(body.get(BODY..).unwrap_or(&[]), |attribute, value| match attribute {
        TCA_KIND => is_bpf = text(value) == b"bpf",
        TCA_OPTIONS => each_attribute(value, |attribute, value| match attribute {
            TCA_BPF_NAME => is_ours = text(value) == name,
            TCA_BPF_ID => id = u32_at(value, 0).unwrap_or(0),
            _ => {}
        }),
        _ => {}
    });
    if !is_bpf {
        seen.taken |= 1_u64.checked_shl(place).unwrap_or(0);
    }
    if is_bpf && is_ours {
        seen.ours = Some((place, number, id));
    } else if number != 0 {
        seen.others += 1;
    }
}

/// Up to the zero that ends it.
fn text(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == 0).next().unwrap_or(&[])
}
