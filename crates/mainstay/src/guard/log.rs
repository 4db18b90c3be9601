//! Lines to standard error that cannot stop the guard: no allocation, no waiting for a reader.

use std::fmt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes of a line; a longer one is cut. Below the size that a pipe takes whole.
const LINE_MAX: usize = 400;

/// A line under construction.
pub(super) struct Line {
    bytes: [u8; LINE_MAX],
    length: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LINE_MAX - 1 - self.length;
        let taken = text.len().min(room);
        self.bytes[self.length..self.length + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        Ok(())
    }
}

impl Line {
    /// An empty one.
    pub(super) fn new() -> Line {
        Line { bytes: [0; LINE_MAX], length: 0 }
    }

    /// What was written into it.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// Writes one line if standard error takes it now; a line that it does not take is lost.
pub(super) fn write(arguments: fmt::Arguments<'_>) {
    use fmt::Write;
    let mut line = Line::new();
    let complete = line.write_str("mainstay guard: ").and_then(|()| line.write_fmt(arguments));
    if complete.is_err() {
        return;
    }
    line.bytes[line.length] = b'\n';
    let bytes = &line.bytes[..=line.length];
    let stderr = rustix::stdio::stderr();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let takes = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&now));
    if takes.is_ok_and(|count| count > 0) {
        // Nobody to tell when even this fails.
        let _lost = rustix::io::write(stderr, bytes);
    }
}

/// Writes one line to standard error, formatted as by `format!`.
macro_rules! say {
    ($($argument:tt)*) => { $crate::guard::log::write(format_args!($($argument)*)) };
}
pub(super) use say;
