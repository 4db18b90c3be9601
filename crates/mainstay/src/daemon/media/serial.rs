//! Frames on a serial line.

use std::io;
use std::path::Path;

use base::NetworkId;
use os::event::{Interest, Poll};
use os::serial::Tty;

use super::token;

/// Bytes taken in one turn.
const BYTES_PER_TURN: usize = 16 << 10;

pub(super) struct Line {
    tty: Tty,
    line: transport::serial::Line,
    /// A chunk that the kernel has taken in part.
    rest: Vec<u8>,
    /// Whether the loop waits for room.
    waits: bool,
}

impl Line {
    pub(super) fn open(device: &str, baud: u32, flow: bool) -> io::Result<Line> {
        let tty = Tty::open(Path::new(device), baud, flow)?;
        let line = transport::serial::Line::new();
        Ok(Line { tty, line, rest: Vec::new(), waits: false })
    }

    pub(super) fn tty(&self) -> &Tty {
        &self.tty
    }

    pub(super) fn send(&mut self, bytes: &[u8], id: NetworkId, poll: &Poll) -> io::Result<()> {
        let _counted = self.line.push(bytes, transport::is_pressing(bytes));
        self.flush(id, poll)
    }

    /// Takes what came, and sends what there is room for.
    pub(super) fn take(
        &mut self,
        frames: &mut Vec<Vec<u8>>,
        id: NetworkId,
        poll: &Poll,
    ) -> io::Result<()> {
        let mut buffer = [0; 4096];
        for _ in 0..BYTES_PER_TURN / buffer.len() {
            match self.tty.read(&mut buffer)? {
                0 => break,
                count => self.line.receive(&buffer[..count], frames),
            }
        }
        self.flush(id, poll)
    }

    /// Little waits in the kernel at any time, so that a heartbeat never stands behind much.
    fn flush(&mut self, id: NetworkId, poll: &Poll) -> io::Result<()> {
        loop {
            if self.rest.is_empty() && !self.line.next_chunk(&mut self.rest) {
                break;
            }
            let count = self.tty.write(&self.rest)?;
            if count == 0 {
                break;
            }
            self.rest.drain(..count);
        }
        let waits = !self.rest.is_empty() || !self.line.is_idle();
        if waits != self.waits {
            let interest = if waits { Interest::ReadWrite } else { Interest::Read };
            poll.modify(&self.tty, token(id), interest)?;
            self.waits = waits;
        }
        Ok(())
    }
}
