//! The requests of linux/pr.h: persistent reservations of SCSI-3 and NVMe alike.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::ioctl::opcode;

/// The letter of all its requests.
const PERSISTENT: u8 = b'p';

/// `struct pr_registration`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Registration {
    pub(crate) old_key: u64,
    pub(crate) new_key: u64,
    pub(crate) flags: u32,
    pub(crate) padding: u32,
}

/// `struct pr_reservation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reservation {
    pub(crate) key: u64,
    pub(crate) kind: u32,
    pub(crate) flags: u32,
}

/// `struct pr_preempt`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Preemption {
    pub(crate) old_key: u64,
    pub(crate) new_key: u64,
    pub(crate) kind: u32,
    pub(crate) flags: u32,
}

/// `struct pr_clear`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clearing {
    pub(crate) key: u64,
    pub(crate) flags: u32,
    pub(crate) padding: u32,
}

/// `struct pr_read_keys`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct ReadKeys {
    generation: u32,
    num_keys: u32,
    keys: u64,
}

/// `struct pr_read_reservation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) key: u64,
    pub(crate) generation: u32,
    pub(crate) kind: u32,
}

/// A request that takes one structure and changes something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    Register(&'a Registration),
    Reserve(&'a Reservation),
    Release(&'a Reservation),
    PreemptAndAbort(&'a Preemption),
    Clear(&'a Clearing),
}

const REGISTER: u32 = opcode::write::<Registration>(PERSISTENT, 200);
const RESERVE: u32 = opcode::write::<Reservation>(PERSISTENT, 201);
const RELEASE: u32 = opcode::write::<Reservation>(PERSISTENT, 202);
const PREEMPT_ABORT: u32 = opcode::write::<Preemption>(PERSISTENT, 204);
const CLEAR: u32 = opcode::write::<Clearing>(PERSISTENT, 205);
const READ_KEYS: u32 = opcode::read::<ReadKeys>(PERSISTENT, 206);
const READ_RESERVATION: u32 = opcode::read::<Held>(PERSISTENT, 207);

// As they are on most machines; a few have other bits for the direction.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const _: () = {
    assert!(REGISTER == 0x4018_70c8);
    assert!(RESERVE == 0x4010_70c9);
    assert!(RELEASE == 0x4010_70ca);
    assert!(PREEMPT_ABORT == 0x4018_70cc);
    assert!(CLEAR == 0x4010_70cd);
    assert!(READ_KEYS == 0x8010_70ce);
    assert!(READ_RESERVATION == 0x8010_70cf);
};

/// 0: done. Positive: the device's own status, `errno` says nothing then.
fn answer(result: libc::c_int) -> io::Result<u32> {
    match u32::try_from(result) {
        Ok(status) => Ok(status),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Changes registrations or the reservation; the device's status, 0 for done.
pub(crate) fn change(device: BorrowedFd<'_>, change: Change<'_>) -> io::Result<u32> {
    let fd = device.as_raw_fd();
    let request = |number: u32| libc::Ioctl::from(number);
    // SAFETY: each number carries the size of the structure that the pointer leads to, which lives as
    // long as its borrow; the kernel only reads it.
    let result = unsafe {
        match change {
            Change::Register(what) => libc::ioctl(fd, request(REGISTER), core::ptr::from_ref(what)),
            Change::Reserve(what) => libc::ioctl(fd, request(RESERVE), core::ptr::from_ref(what)),
            Change::Release(what) => libc::ioctl(fd, request(RELEASE), core::ptr::from_ref(what)),
            Change::PreemptAndAbort(what) => {
                libc::ioctl(fd, request(PREEMPT_ABORT), core::ptr::from_ref(what))
            }
            Change::Clear(what) => libc::ioctl(fd, request(CLEAR), core::ptr::from_ref(what)),
        }
    };
    answer(result)
}

/// The registered keys, at most as many as `keys` has room for; how many there are, and the status.
pub(crate) fn read_keys(device: BorrowedFd<'_>, keys: &mut [u64]) -> io::Result<(u32, u32)> {
    let mut request = ReadKeys {
        generation: 0,
        num_keys: u32::try_from(keys.len()).unwrap_or(u32::MAX),
        keys: keys.as_mut_ptr() as u64,
    };
    // SAFETY: the number carries the size of the structure; the kernel writes at most `num_keys` keys to
    // where `keys` leads, which is a slice of that many that nobody else uses.
    let result = unsafe {
        let number = libc::Ioctl::from(READ_KEYS);
        libc::ioctl(device.as_raw_fd(), number, &raw mut request)
    };
    Ok((request.num_keys, answer(result)?))
}

/// The reservation that is held, key 0 for none; and the status.
pub(crate) fn read_reservation(device: BorrowedFd<'_>) -> io::Result<(Held, u32)> {
    let mut held = Held::default();
    // SAFETY: the number carries the size of the structure, which is ours to write.
    let result = unsafe {
        let number = libc::Ioctl::from(READ_RESERVATION);
        libc::ioctl(device.as_raw_fd(), number, &raw mut held)
    };
    Ok((held, answer(result)?))
}

/// `SG_IO` of scsi/sg.h: a command for a SCSI device.
const SG_IO: u32 = 0x2285;
const FROM_DEVICE: libc::c_int = -3;
/// Milliseconds that the device may take.
const SCSI_PATIENCE: u32 = 30_000;
/// PERSISTENT RESERVE IN (SPC-4, 6.15).
const PERSISTENT_RESERVE_IN: u8 = 0x5e;
/// What went wrong outside of the device (host and driver), beside its own status.
const OUTSIDE: u32 = 0x1_0000;

/// `struct sg_io_hdr`.
#[repr(C)]
struct ScsiCommand {
    interface: libc::c_int,
    direction: libc::c_int,
    command_size: u8,
    sense_size_max: u8,
    vectors: u16,
    size: u32,
    answer: *mut u8,
    command: *const u8,
    sense: *mut u8,
    timeout: u32,
    flags: u32,
    number: libc::c_int,
    user: *mut libc::c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_size: u8,
    host_status: u16,
    driver_status: u16,
    missing: libc::c_int,
    duration: u32,
    info: u32,
}

/// Asks a SCSI disk itself: action 0 reads keys, 1 the reservation. How many bytes came, and the status.
pub(crate) fn persistent_reserve_in(
    device: BorrowedFd<'_>,
    action: u8,
    bytes: &mut [u8],
) -> io::Result<(usize, u32)> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let command = [PERSISTENT_RESERVE_IN, action, 0, 0, 0, 0, 0, high, low, 0];
    let mut request = ScsiCommand {
        interface: libc::c_int::from(b'S'),
        direction: FROM_DEVICE,
        command_size: command.len() as u8,
        sense_size_max: 0,
        vectors: 0,
        size: u32::from(length),
        answer: bytes.as_mut_ptr(),
        command: command.as_ptr(),
        sense: core::ptr::null_mut(),
        timeout: SCSI_PATIENCE,
        flags: 0,
        number: 0,
        user: core::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_size: 0,
        host_status: 0,
        driver_status: 0,
        missing: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: `request` has the kernel's layout; `command` and `bytes` outlive the call and have the sizes
    // that stand in it, and nothing is written to sense data of size 0.
    let result = unsafe {
        let number = libc::Ioctl::from(SG_IO);
        libc::ioctl(device.as_raw_fd(), number, &raw mut request)
    };
    answer(result)?;
    let came = usize::from(length).saturating_sub(usize::try_from(request.missing).unwrap_or(0));
    let outside = request.host_status != 0;
    let status = u32::from(request.status) | if outside { OUTSIDE } else { 0 };
    Ok((came, status))
}
