//! Frames on a TCP connection: four bytes of length, then the frame; and never longer than until a
//! deadline, however slowly the other side speaks.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base::Instant;
use os::clock;

use super::wire::FRAME_SIZE_MAX;

fn left(until: Instant) -> io::Result<Duration> {
    match until.since(clock::boottime().min(until)) {
        Duration::ZERO => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
        left => Ok(left),
    }
}

/// A deadline in the kernel's words: a call that ran out of time says that it would block.
fn timely(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "no answer in time"),
        _ => error,
    }
}

/// Writes one frame.
pub(super) fn write(stream: &mut TcpStream, frame: &[u8], until: Instant) -> io::Result<()> {
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(rest).map_err(timely)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => rest = &rest[count..],
        }
    }
    Ok(())
}

/// Reads one frame.
pub(super) fn read(stream: &mut TcpStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    fill(stream, &mut length, until)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_SIZE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what answers is no witness"));
    }
    let mut frame = vec![0; length];
    fill(stream, &mut frame, until)?;
    Ok(frame)
}

fn fill(stream: &mut TcpStream, bytes: &mut [u8], until: Instant) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut bytes[done..]).map_err(timely)? {
            0 => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it closed the connection without a word",
                ));
            }
            count => done += count,
        }
    }
    Ok(())
}
