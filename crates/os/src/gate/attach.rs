//! Where packets meet the gate: on every interface that could carry a service address.
//!
//! Linux answers for any of its addresses on any interface (the weak model of RFC 1122, 3.3.4.2), so
//! one interface without the gate would open all addresses. Gated are all but the loop and the ports
//! of bridges: what a port hears is the bridge's to deliver, and the bridge is an interface itself.
//!
//! Mechanism: a `clsact` queueing discipline with one filter of kind `bpf` in either direction, in
//! direct-action mode (tc-bpf(8)). It stays when its maker dies. **Rule: one filter per direction.**
//! Ours is known by its name, which carries the node's: it is replaced in place, which lets nothing
//! through. The first free place is taken, because filters before ours could decide in its stead. When
//! one comes there later, ours is put before it: a new one at the head of the list, then the old one
//! goes. What cannot be solved so is for [`order`], which has what is asked before all filters. Nothing
//! is moved twice within [`PEACE`], so that two who both want to be first do not keep a processor busy.
//! Where somebody else's `ingress` discipline has the place, only what comes in can be gated: that is half the
//! gate, and enough that nobody is answered.
//!
//! A person, or another program, can take filters away (`tc qdisc del`), so whoever keeps the gate
//! listens ([`Watch::of_filters`](crate::netlink::Watch::of_filters)) and calls
//! [`Attachments::keep`], which only looks when nothing is missing. Both the guard and the daemon may
//! do so at the same time: what they ask for is the same.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use base::Instant;

use super::order::{self, Came, Needed};
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
const TCA_CHAIN: u16 = 11;
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
/// What filters are called, before the node's name.
const NAME: &str = "mainstay ";
/// Bytes of the filter's name (the kernel's limit is 255).
const NAME_MAX: usize = 200;
const BODY: usize = 20;
/// How long nothing is moved to the front after something was.
const PEACE: Duration = Duration::from_secs(1);

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
    /// Programs of others that are asked before the gate, and may decide in its stead; first those for
    /// what comes in.
    pub before: Vec<String>,
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
    /// How often it was put before programs of others that had come before it.
    pub moved: u32,
    /// An interface on which a program of others is asked before it.
    pub behind: Option<u32>,
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
    /// Another one of ours behind it: what an interrupted move leaves.
    second: Option<(u32, u32)>,
    /// Filters that are not ours and are asked before ours.
    before: u32,
    /// Of these, the place of the last one: it is asked right before ours.
    before_at: u32,
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
    program_names: [String; 2],
    programs: Option<[(OwnedFd, u32); 2]>,
    links: Vec<Link>,
    /// When something may be moved to the front again.
    peace_until: Instant,
}

impl Attachments {
    /// For the node with this name; the filters are called `mainstay NAME`.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub(super) fn new(node: &str) -> io::Result<Attachments> {
        let mut name = format!("{NAME}{node}");
        while name.len() >= NAME_MAX {
            name.pop();
        }
        // Another number than filters that were made by hand have.
        let handle = crc32fast::hash(name.as_bytes()) & 0x7fff_ffff | 1 << 30;
        let program_names = super::program_names(node);
        let links = Vec::with_capacity(LINKS_MAX);
        let peace_until = Instant::ZERO;
        let netlink = Netlink::open()?;
        let programs = None;
        Ok(Attachments { netlink, name, handle, program_names, programs, links, peace_until })
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
            let index = self.links[at].index;
            for (direction, parent) in DIRECTIONS.into_iter().enumerate() {
                if let Some((_, _, id)) = self.look(index, parent)?.ours {
                    return Ok(Some(id));
                }
                let name = &self.program_names[direction];
                // Who may not ask has left no program there either.
                if let Ok(Some(id)) = order::find(index, direction, name) {
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
                    self.mind_order(link.index, direction, seen, kept)?;
                    continue;
                }
                Some((place, number, _)) if link.is_port => {
                    self.leave_row(link.index, direction, kept);
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
                    let seen = self.look(link.index, parent)?;
                    self.mind_order(link.index, direction, seen, kept)?;
                }
                // The interface has gone meanwhile.
                libc::ENODEV => {}
                errno => kept.refused = Some((link.index, errno)),
            }
        }
        Ok(())
    }

    /// Has the gate asked before what others have put there, as far as it can be.
    fn mind_order(
        &mut self,
        interface: u32,
        direction: usize,
        seen: Seen,
        kept: &mut Kept,
    ) -> Result<(), NetlinkError> {
        let now = crate::clock::boottime();
        let may_move = now >= self.peace_until;
        let parent = DIRECTIONS[direction];
        if let Some((place, number)) = seen.second {
            self.detach(interface, parent, place, number)?;
        }
        let moved = kept.moved;
        let mut before = seen.before;
        if let Some((place, number, _)) = seen.ours
            && before > 0
            && may_move
        {
            let first = (1..PLACES_MAX).find(|place| seen.taken & 1 << place == 0);
            let helps = |first: &u32| *first < place || *first == place && seen.before_at == place;
            if let Some(first) = first.filter(helps) {
                // Another number than the old one has: a new filter, which comes to the head.
                let other = if number == self.handle { self.handle + 1 } else { self.handle };
                if self.put(interface, direction, first, other)? == 0 {
                    self.detach(interface, parent, place, number)?;
                    kept.moved += 1;
                }
                before = self.look(interface, parent)?.before;
            }
        }
        let programs = self.programs.as_ref().expect("callers have looked");
        let ours = (programs[direction].0.as_fd(), programs[direction].1);
        let name = &self.program_names[direction];
        let needed = if before > 0 { Needed::Always } else { Needed::BesideOthers };
        match order::come_first(interface, direction, ours, name, needed, may_move) {
            Ok(Came::IsFirst) => {}
            Ok(Came::Moved) => kept.moved += 1,
            // A kernel that does not say who is first is as one where somebody else is.
            Ok(Came::Behind) | Err(_) => kept.behind = Some(interface),
        }
        if kept.moved > moved {
            self.peace_until = now + PEACE;
        }
        Ok(())
    }

    /// Takes programs of the newer kind away that are ours.
    fn leave_row(&self, interface: u32, direction: usize, kept: &mut Kept) {
        let name = &self.program_names[direction];
        if let Err(error) = order::sweep(interface, direction, name, None) {
            kept.refused = Some((interface, error.raw_os_error().unwrap_or(libc::EIO)));
        }
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

    /// As [`Attachments::remove`], where there may be none, and perhaps no right to ask of programs.
    pub(super) fn remove_former(&mut self) -> Result<(), NetlinkError> {
        self.read_links()?;
        for at in 0..self.links.len() {
            let index = self.links[at].index;
            let mut is_there = false;
            for parent in DIRECTIONS {
                is_there |= self.look(index, parent)?.ours.is_some();
            }
            if is_there {
                self.remove_from(index)?;
            }
        }
        Ok(())
    }

    fn remove_from(&mut self, index: u32) -> Result<(), NetlinkError> {
        let (mut ours, mut others) = (false, 0);
        let refused = |source| NetlinkError::Refused {
            operation: format!("take the lease gate from interface {index}"),
            source,
        };
        for (direction, parent) in DIRECTIONS.into_iter().enumerate() {
            let name = &self.program_names[direction];
            order::sweep(index, direction, name, None).map_err(refused)?;
            let seen = self.look(index, parent)?;
            others += seen.others;
            let ours_here = seen.ours.map(|(place, number, _)| (place, number));
            for (place, number) in ours_here.into_iter().chain(seen.second) {
                ours = true;
                match self.detach(index, parent, place, number)? {
                    0 | libc::ENOENT | libc::ENODEV => {}
                    errno => return Err(refused(io::Error::from_raw_os_error(errno))),
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
            let mut before = Vec::new();
            for (direction, parent) in DIRECTIONS.into_iter().enumerate() {
                let way = ["in", "out"][direction];
                let mut ahead = Vec::new();
                let look = |said: Ahead<'_>| ahead.push(said.describe());
                let ours = self.look_and(link.index, parent, look)?.ours;
                let Some((_, _, id)) = ours.filter(|_| !link.is_port) else { continue };
                // Filters of kind u32 come with their tables.
                ahead.dedup();
                is_attached[direction] = ids.is_some_and(|ids| id == ids[direction]);
                let row = order::read(link.index, direction).map_err(|source| {
                    let operation = "list programs of interfaces".to_owned();
                    NetlinkError::Refused { operation, source }
                })?;
                let ahead = order::describe(row.as_ref(), id, ahead);
                before.extend(ahead.into_iter().map(|said| format!("{way}: {said}")));
            }
            let [ingress, egress] = is_attached;
            let is_port = link.is_port;
            all.push(Attached { interface: link.index, name, ingress, egress, is_port, before });
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
        self.look_and(interface, parent, |_| {})
    }

    /// As [`Attachments::look`], with a word about each filter before ours.
    fn look_and(
        &mut self,
        interface: u32,
        parent: u32,
        mut ahead: impl FnMut(Ahead<'_>),
    ) -> Result<Seen, NetlinkError> {
        let mut seen = Seen::default();
        let name = self.name.as_bytes();
        let question = body(interface, parent, 0, 0);
        let looked = self.netlink.dump(RTM_GETTFILTER, &question, |kind, body| {
            if kind == RTM_NEWTFILTER {
                read_filter(&mut seen, name, body, &mut ahead);
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
        self.put(interface, direction, place, number)
    }

    /// A filter of ours at this place with this number: a new one at its head, or another program in
    /// one that is there.
    fn put(
        &mut self,
        interface: u32,
        direction: usize,
        place: u32,
        number: u32,
    ) -> Result<i32, NetlinkError> {
        let programs = self.programs.as_ref().expect("callers have looked");
        let program = programs[direction].0.as_raw_fd();
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

/// A filter that is asked before ours.
struct Ahead<'a> {
    kind: &'a [u8],
    name: &'a [u8],
    place: u32,
}

/// One filter of a dump, which is in the order in which the kernel asks them. What has no number is the
/// head of a list and no filter; other chains than the first are entered from a filter of the first.
fn read_filter(seen: &mut Seen, name: &[u8], body: &[u8], ahead: &mut impl FnMut(Ahead<'_>)) {
    let (Some(number), Some(info)) = (u32_at(body, 8), u32_at(body, 16)) else { return };
    let place = info >> 16;
    let (mut kind, mut chain) = (&[][..], 0);
    let (mut filter, mut id) = (&[][..], 0);
    each_attribute(body.get(BODY..).unwrap_or(&[]), |attribute, value| match attribute {
        TCA_KIND => kind = text(value),
        TCA_CHAIN => chain = u32_at(value, 0).unwrap_or(0),
        TCA_OPTIONS => each_attribute(value, |attribute, value| match attribute {
            TCA_BPF_NAME => filter = text(value),
            TCA_BPF_ID => id = u32_at(value, 0).unwrap_or(0),
            _ => {}
        }),
        _ => {}
    });
    let is_bpf = kind == b"bpf";
    if chain != 0 {
        seen.others += u32::from(number != 0);
        return;
    }
    if !is_bpf {
        seen.taken |= 1_u64.checked_shl(place).unwrap_or(0);
    }
    if is_bpf && filter == name {
        match seen.ours {
            None => seen.ours = Some((place, number, id)),
            Some(_) => seen.second = Some((place, number)),
        }
    } else if number != 0 {
        seen.others += 1;
        // Another node's gate hands on what it does not drop.
        let is_gate = is_bpf && filter.starts_with(NAME.as_bytes());
        if seen.ours.is_none() && !is_gate {
            seen.before += 1;
            seen.before_at = place;
            ahead(Ahead { kind, name: if is_bpf { filter } else { &[] }, place });
        }
    }
}

impl Ahead<'_> {
    fn describe(&self) -> String {
        let [kind, name] = [self.kind, self.name].map(String::from_utf8_lossy);
        let named = if name.is_empty() { String::new() } else { format!(" {name}") };
        format!("filter of kind {kind}{named}, pref {}", self.place)
    }
}

/// Up to the zero that ends it.
fn text(value: &[u8]) -> &[u8] {
    value.split(|&byte| byte == 0).next().unwrap_or(&[])
}
