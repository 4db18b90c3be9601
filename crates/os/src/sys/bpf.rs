//! bpf(2): maps and programs. Each function is one call with one `union bpf_attr`, which is built here
//! as words at the offsets of linux/bpf.h; bytes after the known fields are zero, as the kernel wants.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;
const MAP_NEXT_KEY: i32 = 4;
const PROGRAM_LOAD: i32 = 5;
const ATTACH: i32 = 8;
const DETACH: i32 = 9;
const PROGRAM_BY_ID: i32 = 13;
const MAP_BY_ID: i32 = 14;
const INFORMATION: i32 = 15;
const QUERY: i32 = 16;

const NAME_MAX: usize = 15;
/// Maps that are looked for in a program's description.
const MAPS_MAX: usize = 8;

/// `union bpf_attr`.
#[repr(C, align(8))]
struct Attributes([u8; 128]);

impl Attributes {
    fn new() -> Attributes {
        Attributes([0; 128])
    }

    fn word(mut self, at: usize, value: u32) -> Attributes {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn address<T: ?Sized>(mut self, at: usize, pointer: *const T) -> Attributes {
        let address = pointer.cast::<u8>().addr() as u64;
        self.0[at..at + 8].copy_from_slice(&address.to_ne_bytes());
        self
    }

    fn name(mut self, at: usize, name: &str) -> Attributes {
        assert!(name.len() <= NAME_MAX, "the kernel's limit for {name}");
        self.0[at..at + name.len()].copy_from_slice(name.as_bytes());
        self
    }

    /// # Safety
    /// Every address in the attributes must be that of memory that lives through the call, as long as
    /// the command reads or writes.
    unsafe fn call(mut self, command: i32) -> io::Result<i32> {
        let size = size_of::<Attributes>();
        // SAFETY: the attributes are ours, of the stated size; what they point to is the caller's.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), size) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(i32::try_from(result).expect("a descriptor or zero"))
    }
}

fn owned(number: i32) -> OwnedFd {
    // SAFETY: bpf(2) has just opened it for us (always closed by exec), and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// What a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: u32,
    pub(crate) key: u32,
    pub(crate) value: u32,
    pub(crate) entries: u32,
    pub(crate) flags: u32,
}

pub(crate) fn create_map(shape: Shape, name: &str) -> io::Result<OwnedFd> {
    let attributes = Attributes::new()
        .word(0, shape.kind)
        .word(4, shape.key)
        .word(8, shape.value)
        .word(12, shape.entries)
        .word(16, shape.flags)
        .name(28, name);
    // SAFETY: no address in it.
    unsafe { attributes.call(MAP_CREATE) }.map(owned)
}

/// The value of a key; false if there is none. The slices must be as long as the map's shape says.
pub(crate) fn look_up(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let attributes =
        Attributes::new().word(0, number(map)).address(8, key).address(16, value.as_mut_ptr());
    // SAFETY: both slices live through the call; callers pass the lengths that they made the map with.
    match unsafe { attributes.call(MAP_LOOKUP) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets the value of a key.
pub(crate) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let attributes = Attributes::new().word(0, number(map)).address(8, key).address(16, value);
    // SAFETY: as for a look.
    unsafe { attributes.call(MAP_UPDATE) }.map(drop)
}

/// Takes a key out.
pub(crate) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let attributes = Attributes::new().word(0, number(map)).address(8, key);
    // SAFETY: as for a look.
    unsafe { attributes.call(MAP_DELETE) }.map(drop)
}

/// The key after `key`, or the first one; false if there is none.
pub(crate) fn next_key(
    map: BorrowedFd<'_>,
    key: Option<&[u8]>,
    next: &mut [u8],
) -> io::Result<bool> {
    let mut attributes = Attributes::new().word(0, number(map)).address(16, next.as_mut_ptr());
    if let Some(key) = key {
        attributes = attributes.address(8, key);
    }
    // SAFETY: as for a look.
    match unsafe { attributes.call(MAP_NEXT_KEY) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Loads a program of the kind that classifies packets; `log` takes what the kernel's check says.
pub(crate) fn load_classifier(
    instructions: &[u64],
    name: &str,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    const SCHED_CLS: u32 = 3;
    // What it calls (the routes, the clock) is for programs under the GPL or compatible with it only:
    // the text says under which licence these hundred instructions may be had as well.
    const LICENCE: &std::ffi::CStr = c"Dual MIT/GPL";
    let mut attributes = Attributes::new()
        .word(0, SCHED_CLS)
        .word(4, u32::try_from(instructions.len()).expect("a short program"))
        .address(8, instructions)
        .address(16, LICENCE.as_ptr())
        .name(48, name);
    if !log.is_empty() {
        let room = u32::try_from(log.len()).expect("a small log");
        attributes = attributes.word(24, 1).word(28, room).address(32, log.as_mut_ptr());
    }
    // SAFETY: instructions, licence and log live through the call, with their lengths stated.
    unsafe { attributes.call(PROGRAM_LOAD) }.map(owned)
}

/// Has a program judge a frame so many times; its verdict, and how long one took on average.
#[cfg(test)]
pub(crate) fn judge(
    program: BorrowedFd<'_>,
    frame: &[u8],
    times: u32,
) -> io::Result<(i32, std::time::Duration)> {
    const TEST_RUN: i32 = 10;
    let mut attributes = Attributes::new()
        .word(0, number(program))
        .word(8, u32::try_from(frame.len()).expect("a frame"))
        .address(16, frame)
        .word(32, times);
    let pointer = attributes.0.as_mut_ptr();
    // SAFETY: the frame lives through the call with its length stated, and no output is asked for. The
    // kernel writes verdict and duration into the attributes, which are ours.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, TEST_RUN, pointer, size_of::<Attributes>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let word =
        |at: usize| u32::from_ne_bytes(attributes.0[at..at + 4].try_into().expect("four bytes"));
    Ok((word(4).cast_signed(), std::time::Duration::from_nanos(word(36).into())))
}

pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no address in it.
    unsafe { Attributes::new().word(0, id).call(PROGRAM_BY_ID) }.map(owned)
}

pub(crate) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no address in it.
    unsafe { Attributes::new().word(0, id).call(MAP_BY_ID) }.map(owned)
}

/// Fills `struct bpf_prog_info` or `struct bpf_map_info`.
fn information(fd: BorrowedFd<'_>, information: &mut [u64]) -> io::Result<()> {
    let size = u32::try_from(size_of_val(information)).expect("a small structure");
    let attributes =
        Attributes::new().word(0, number(fd)).word(4, size).address(8, information.as_mut_ptr());
    // SAFETY: the words live through the call, and their size is stated. Callers have put into them
    // no address but that of a list that lives as long, with its room.
    unsafe { attributes.call(INFORMATION) }.map(drop)
}

/// A program's number and those of its maps.
pub(crate) fn program_information(program: BorrowedFd<'_>) -> io::Result<(u32, Vec<u32>)> {
    let mut maps = vec![0_u32; MAPS_MAX];
    let mut words = [0_u64; 32];
    // The kernel takes the room from the count, and puts the whole count there.
    set_word(&mut words, 52, MAPS_MAX as u32);
    words[7] = maps.as_mut_ptr().addr() as u64;
    information(program, &mut words)?;
    let count = word_at(&words, 52) as usize;
    maps.truncate(count);
    Ok((word_at(&words, 4), maps))
}

/// A program's name. Does not allocate.
pub(crate) fn program_name(program: BorrowedFd<'_>) -> io::Result<[u8; NAME_MAX + 1]> {
    let mut words = [0_u64; 32];
    information(program, &mut words)?;
    let mut name = [0; NAME_MAX + 1];
    for (at, word) in words[8..10].iter().enumerate() {
        name[at * 8..][..8].copy_from_slice(&word.to_ne_bytes());
    }
    Ok(name)
}

/// The ids of the programs of one kind on an interface, in the order in which the kernel asks them: how
/// many `ids` has now. Does not allocate.
pub(crate) fn attached(interface: u32, kind: u32, ids: &mut [u32]) -> io::Result<usize> {
    let room = u32::try_from(ids.len()).expect("a short list");
    let mut attributes = Attributes::new()
        .word(0, interface)
        .word(4, kind)
        .address(16, ids.as_mut_ptr())
        .word(24, room);
    let size = size_of::<Attributes>();
    let pointer = attributes.0.as_mut_ptr();
    // SAFETY: the list lives through the call with its length stated; the kernel writes the count into
    // the attributes, which are ours.
    let result = unsafe { libc::syscall(libc::SYS_bpf, QUERY, pointer, size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let count = u32::from_ne_bytes(attributes.0[24..28].try_into().expect("four bytes"));
    Ok((count as usize).min(ids.len()))
}

/// Puts a program before all others of one kind on an interface. It stays when its maker dies.
pub(crate) fn attach_first(interface: u32, kind: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    // Before whom, if nobody is named: before the first.
    const BEFORE: u32 = 1 << 3;
    let attributes = Attributes::new()
        .word(0, interface)
        .word(4, number(program))
        .word(8, kind)
        .word(12, BEFORE);
    // SAFETY: no address in it.
    unsafe { attributes.call(ATTACH) }.map(drop)
}

/// Takes a program from an interface.
pub(crate) fn detach(interface: u32, kind: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = Attributes::new().word(0, interface).word(4, number(program)).word(8, kind);
    // SAFETY: no address in it.
    unsafe { attributes.call(DETACH) }.map(drop)
}

/// What a map is, and its name.
pub(crate) fn map_information(map: BorrowedFd<'_>) -> io::Result<(Shape, String)> {
    let mut words = [0_u64; 16];
    information(map, &mut words)?;
    let shape = Shape {
        kind: word_at(&words, 0),
        key: word_at(&words, 8),
        value: word_at(&words, 12),
        entries: word_at(&words, 16),
        flags: word_at(&words, 20),
    };
    let name: Vec<u8> = words[3..5].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let name = name.split(|&byte| byte == 0).next().unwrap_or(&[]);
    Ok((shape, String::from_utf8_lossy(name).into_owned()))
}

fn word_at(words: &[u64], at: usize) -> u32 {
    let bytes = words[at / 8].to_ne_bytes();
    u32::from_ne_bytes(bytes[at % 8..at % 8 + 4].try_into().expect("four bytes"))
}

fn set_word(words: &mut [u64], at: usize, value: u32) {
    let mut bytes = words[at / 8].to_ne_bytes();
    bytes[at % 8..at % 8 + 4].copy_from_slice(&value.to_ne_bytes());
    words[at / 8] = u64::from_ne_bytes(bytes);
}
