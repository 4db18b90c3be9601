//! Who is asked before the gate, and how it comes to be first.
//!
//! The kernel asks the programs of the newer kind (tcx, Linux 6.6) first, in their order, and then all of
//! `clsact`, in both directions alike (net/core/dev.c, `sch_handle_ingress` and `sch_handle_egress`). A
//! program that answers "next" hands on; one that answers "pass", "drop" or "redirect" ends the matter,
//! and nobody behind it is asked. So a program before the gate can let through what the gate would
//! drop. The gate itself answers "next" to what passes: it takes nothing from anybody.
//!
//! **Rule:** where somebody else's tcx program is, or a filter that ours cannot get in front of, the
//! gate's program is the first of the tcx programs, too, besides its filter. Elsewhere the filter alone is
//! enough, and can be heard of when it goes (`RTNLGRP_TC`); of tcx the kernel tells nobody, so the keeper
//! looks now and then. A program of ours from any life is known by its name, which carries a number
//! made of the node's name. It is attached without a `bpf_link`, so it stays when we die. What passes
//! both is counted twice.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::bpf;

/// What comes in, what goes out (linux/bpf.h, `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`).
const KINDS: [u32; 2] = [46, 47];
/// The kernel's limit (`BPF_MPROG_MAX`).
const PROGRAMS_MAX: usize = 64;

/// The programs of one direction of one interface.
pub(super) struct Row {
    ids: [u32; PROGRAMS_MAX],
    count: usize,
}

/// None where the kernel does not know tcx, or the interface is gone. Does not allocate.
pub(super) fn read(interface: u32, direction: usize) -> io::Result<Option<Row>> {
    let mut row = Row { ids: [0; PROGRAMS_MAX], count: 0 };
    match bpf::attached(interface, KINDS[direction], &mut row.ids) {
        Ok(count) => row.count = count,
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    Ok(Some(row))
}

impl Row {
    fn ids(&self) -> &[u32] {
        &self.ids[..self.count]
    }

    /// Whether this program is there and nobody else's is asked before it.
    fn is_first(&self, id: u32) -> bool {
        let mut others = self.ids().iter().filter(|other| **other == id || is_foreign(**other));
        others.next() == Some(&id)
    }

    fn has_others(&self) -> bool {
        self.ids().iter().any(|id| is_foreign(*id))
    }
}

/// What is asked before ours, in words: others' tcx programs, and `ahead`, the filters before our filter.
pub(super) fn describe(row: Option<&Row>, id: u32, ahead: Vec<String>) -> Vec<String> {
    let Some(row) = row else { return ahead };
    if row.is_first(id) {
        return Vec::new();
    }
    let before = row.ids().iter().take_while(|other| **other != id);
    let others = before.filter(|other| is_foreign(**other));
    let mut said: Vec<_> = others.map(|other| format!("tcx program {}", name_of(*other))).collect();
    if !row.ids().contains(&id) {
        said.extend(ahead);
    }
    said
}

/// When our program is to be among the tcx programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// Our filter is the first of all filters.
    BesideOthers,
    /// It is not.
    Always,
}

/// What [`come_first`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Nobody is asked before us.
    IsFirst,
    /// Nor is anybody now.
    Moved,
    /// Somebody is.
    Behind,
}

/// Has our program (with its id) before all others, if needed; away if not. Does not allocate. Without
/// `may_move` nothing is put there.
pub(super) fn come_first(
    interface: u32,
    direction: usize,
    (program, id): (BorrowedFd<'_>, u32),
    name: &str,
    needed: Needed,
    may_move: bool,
) -> io::Result<Came> {
    let Some(row) = read(interface, direction)? else {
        return Ok(if needed == Needed::Always { Came::Behind } else { Came::IsFirst });
    };
    if needed == Needed::BesideOthers && !row.has_others() {
        sweep(interface, direction, name, None)?;
        return Ok(Came::IsFirst);
    }
    if row.is_first(id) {
        sweep(interface, direction, name, Some(id))?;
        return Ok(Came::IsFirst);
    }
    if !may_move {
        return Ok(Came::Behind);
    }
    // Without `CAP_SYS_ADMIN` nobody can tell whose a program is: the next guard could not take ours away,
    // and closed for ever it would keep the addresses silent.
    if bpf::program_by_id(id).is_err() {
        return Ok(Came::Behind);
    }
    // Meanwhile the filter judges, as before.
    sweep(interface, direction, name, None)?;
    bpf::attach_first(interface, KINDS[direction], program)?;
    let row = read(interface, direction)?;
    let is_first = row.is_some_and(|row| row.is_first(id));
    Ok(if is_first { Came::Moved } else { Came::Behind })
}

/// Takes programs of ours away, of this life or any other, but for one.
pub(super) fn sweep(
    interface: u32,
    direction: usize,
    name: &str,
    but: Option<u32>,
) -> io::Result<()> {
    let Some(row) = read(interface, direction)? else { return Ok(()) };
    for id in row.ids().iter().filter(|id| Some(**id) != but && is_ours(**id, name)) {
        let program = bpf::program_by_id(*id)?;
        match bpf::detach(interface, KINDS[direction], program.as_fd()) {
            Ok(()) => {}
            // Somebody else did it, or the interface is gone.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The id of a program of ours here, from any life.
pub(super) fn find(interface: u32, direction: usize, name: &str) -> io::Result<Option<u32>> {
    let row = read(interface, direction)?;
    Ok(row.and_then(|row| row.ids().iter().copied().find(|id| is_ours(*id, name))))
}

/// A program that is gone meanwhile is nobody's.
fn is_ours(id: u32, name: &str) -> bool {
    is_called(id, |found| found == name.as_bytes())
}

/// Whether it is somebody else's, and no other node's gate: that one hands on what it does not drop.
fn is_foreign(id: u32) -> bool {
    !is_called(id, |found| super::PROGRAMS.iter().any(|gate| found.starts_with(gate.as_bytes())))
}

fn is_called(id: u32, is: impl Fn(&[u8]) -> bool) -> bool {
    let named = bpf::program_by_id(id).and_then(|program| bpf::program_name(program.as_fd()));
    named.is_ok_and(|found| is(until_zero(&found)))
}

fn name_of(id: u32) -> String {
    let named = bpf::program_by_id(id).and_then(|program| bpf::program_name(program.as_fd()));
    match named.map(|name| String::from_utf8_lossy(until_zero(&name)).into_owned()) {
        Ok(name) if !name.is_empty() => name,
        _ => format!("number {id}"),
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or(&[])
}
