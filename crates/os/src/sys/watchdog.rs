//! The requests of linux/watchdog.h.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::ioctl::opcode;

use super::check;

/// The letter of all its requests.
const WATCHDOG: u8 = b'W';

/// `struct watchdog_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Information {
    pub(crate) options: u32,
    pub(crate) firmware: u32,
    pub(crate) identity: [u8; 32],
}

/// A request that carries one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    KeepAlive,
    SetTimeout,
    Timeout,
    TimeLeft,
    SetOptions,
}

impl Number {
    const fn request(self) -> u32 {
        match self {
            Number::SetOptions => opcode::read::<libc::c_int>(WATCHDOG, 4),
            Number::KeepAlive => opcode::read::<libc::c_int>(WATCHDOG, 5),
            Number::SetTimeout => opcode::read_write::<libc::c_int>(WATCHDOG, 6),
            Number::Timeout => opcode::read::<libc::c_int>(WATCHDOG, 7),
            Number::TimeLeft => opcode::read::<libc::c_int>(WATCHDOG, 10),
        }
    }
}

// As they are on most machines; a few have other bits for the direction.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const _: () = {
    assert!(opcode::read::<Information>(WATCHDOG, 0) == 0x8028_5700);
    assert!(Number::SetOptions.request() == 0x8004_5704);
    assert!(Number::KeepAlive.request() == 0x8004_5705);
    assert!(Number::SetTimeout.request() == 0xc004_5706);
    assert!(Number::Timeout.request() == 0x8004_5707);
    assert!(Number::TimeLeft.request() == 0x8004_570a);
};

/// What the device is (`WDIOC_GETSUPPORT`). `ENOTTY`: no watchdog.
pub(crate) fn support(device: BorrowedFd<'_>) -> io::Result<Information> {
    let request = libc::Ioctl::from(opcode::read::<Information>(WATCHDOG, 0));
    let mut information = Information::default();
    // SAFETY: the number of the request carries the size of the structure, which is ours to write.
    check(unsafe { libc::ioctl(device.as_raw_fd(), request, &raw mut information) })?;
    Ok(information)
}

/// One request with its number: the one that goes in, or comes out.
pub(crate) fn number(device: BorrowedFd<'_>, what: Number, number: i32) -> io::Result<i32> {
    let mut number: libc::c_int = number;
    let request = libc::Ioctl::from(what.request());
    // SAFETY: all of these read or write one `int`, which lives through the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), request, &raw mut number) })?;
    Ok(number)
}
