//! A shell in a machine, behind a virtio port (an emulated serial port loses interrupts when much is
//! written).
//!
//! A command goes there as one line, between two marks with a number: what comes back before the
//! first mark belongs to an earlier command (one that nobody waited for any longer, or one of the
//! time before a reset) and does not count. The shell takes one command after the other.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::clock;

/// How long one read waits, so that the limit is looked at.
const TURN: Duration = Duration::from_millis(200);
/// Longest answer that is kept.
const ANSWER_MAX: usize = 4 << 20;
/// Longest command.
const COMMAND_MAX: usize = 3000;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it printed, on either stream.
    pub(crate) text: String,
}

/// The connection to the shell.
pub(super) struct Control {
    stream: UnixStream,
    number: u64,
    /// Bytes that came and are not used yet.
    come: Vec<u8>,
}

impl Control {
    pub(super) fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("connect to the machine's shell")?;
        stream.set_read_timeout(Some(TURN))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, number: 0, come: Vec::new() })
    }

    /// Runs a command and waits for its end.
    pub(super) fn run(&mut self, command: &str, limit: Duration) -> Result<Answer> {
        self.send(command)?;
        let end = clock::now() + limit;
        let mut buffer = [0; 4096];
        loop {
            if let Some(answer) = answer(&self.come, self.number) {
                self.come.clear();
                return Ok(answer);
            }
            ensure!(clock::now() < end, "no answer within {} s to: {command}", limit.as_secs());
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the machine's shell is gone; the command was: {command}"),
                Ok(length) => self.come.extend(&buffer[..length]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("hear the machine's shell"),
            }
            ensure!(self.come.len() <= ANSWER_MAX, "endless output of: {command}");
        }
    }

    /// Runs a command whose end is not waited for: one that ends the machine.
    pub(super) fn send(&mut self, command: &str) -> Result<()> {
        ensure!(!command.contains('\n'), "a command is one line");
        ensure!(command.len() <= COMMAND_MAX, "a command has at most {COMMAND_MAX} bytes");
        self.number += 1;
        let line = line(command, self.number);
        self.stream.write_all(line.as_bytes()).context("tell the machine's shell")
    }
}

/// What the shell is told: the command in a shell of its own, between its marks.
fn line(command: &str, number: u64) -> String {
    let (begin, end) = marks(number);
    format!("printf '\\n{begin}\\n'; ( {command} ) </dev/null 2>&1; printf '\\n{end}%d\\n' $?\n")
}

fn marks(number: u64) -> (String, String) {
    (format!("=begin={number}="), format!("=end={number}="))
}

/// The answer to command `number` in what came, once all of it is there.
fn answer(come: &[u8], number: u64) -> Option<Answer> {
    let text = String::from_utf8_lossy(come);
    let (begin, end) = marks(number);
    let (_, rest) = text.split_once(&format!("\n{begin}\n"))?;
    let (said, rest) = match rest.strip_prefix(&format!("\n{end}")) {
        Some(rest) => ("", rest),
        None => rest.split_once(&format!("\n{end}"))?,
    };
    let (code, _) = rest.split_once('\n')?;
    Some(Answer { code: code.trim().parse().ok()?, text: said.trim_end().to_owned() })
}

#[cfg(test)]
mod tests;
