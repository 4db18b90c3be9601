//! Faults by name, from a shell inside the lab: `mainstay lab cut n1 net0`.
//!
//! The lab listens on a socket in its directory; a request is one line of JSON (a list of words), so
//! is the answer. Parsing is apart from doing, so that a wrong word changes nothing.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::lab::{Lab, Which};
use crate::switch::Silence;

/// Environment variable with the lab's directory.
pub const VARIABLE: &str = "MAINSTAY_LAB";
/// All commands, for help texts.
pub const USAGE: &str = "\
cut MACHINE CARD                    pull its cable out of the switch (carrier goes)
silence MACHINE CARD [in|out|both]  lose what it receives, sends, or all (carrier stays)
cut-one-way FROM TO NETWORK         drop frames of one direction only
partition A,B,… C,D,…               two sides that do not hear each other, on all networks
loss MACHINE CARD PERMILLE          lose frames by chance, in each direction; 0 repairs
link-down NODE CARD                 set the interface down inside the node
heal MACHINE CARD | heal            repair that cable, or everything
disk freeze [NODE]                  the shared disk answers nothing, to one node or to all
disk break [NODE]                   it answers reads and writes with errors
disk thaw [NODE]                    it works again
line cut A B                        nothing gets through the serial line between two nodes
line cut-one-way FROM TO            nothing gets through in that direction
line noise A B PERMILLE             bytes come out as others, by chance; 0 repairs
line pause A B                      bytes wait in it
line heal A B                       repair it
kill NODE [daemon|guard|both|everything]   kill -9 (default: daemon)
stop NODE [daemon|guard|both]       SIGSTOP (default: daemon)
cont NODE [daemon|guard|both]       SIGCONT
start NODE                          start the daemon
power-off NODE                      everything of it ends at once
power-on NODE                       interfaces and daemon come up again";
const SOCKET: &str = ".control.sock";
/// Longest request or answer.
const LINE_MAX: u64 = 64 << 10;

/// One thing to do to the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// [`Lab::cut`]
    Cut(String, String),
    /// [`Lab::silence`]
    Silence(String, String, Silence),
    /// [`Lab::cut_one_way`]
    CutOneWay(String, String, String),
    /// [`Lab::partition`]
    Partition(Vec<String>, Vec<String>),
    /// [`Lab::loss`]
    Loss(String, String, u32),
    /// [`Lab::link_down`]
    LinkDown(String, String),
    /// [`Lab::heal`]
    Heal(String, String),
    /// [`Lab::heal_all`]
    HealAll,
    /// [`Lab::disk_freeze`]
    DiskFreeze(Option<String>),
    /// [`Lab::disk_break`]
    DiskBreak(Option<String>),
    /// [`Lab::disk_thaw`]
    DiskThaw(Option<String>),
    /// [`Lab::line_cut`]
    LineCut(String, String),
    /// [`Lab::line_cut_one_way`]
    LineCutOneWay(String, String),
    /// [`Lab::line_noise`]
    LineNoise(String, String, u32),
    /// [`Lab::line_pause`]
    LinePause(String, String),
    /// [`Lab::line_heal`]
    LineHeal(String, String),
    /// [`Lab::kill`]
    Kill(String, Which),
    /// [`Lab::stop`]
    Stop(String, Which),
    /// [`Lab::cont`]
    Cont(String, Which),
    /// [`Lab::start`]
    Start(String),
    /// [`Lab::power_off`]
    PowerOff(String),
    /// [`Lab::power_on`] and [`Lab::start`]
    PowerOn(String),
}

impl Command {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// When they are no command; says which there are.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let own = |word: &str| word.to_owned();
        let number = |word: &str| word.parse().with_context(|| format!("{word}: no number"));
        let names = |word: &str| word.split(',').map(str::to_owned).collect();
        Ok(match words {
            ["cut", machine, network] => Self::Cut(own(machine), own(network)),
            ["silence", machine, card, what @ ..] => {
                Self::Silence(own(machine), own(card), parse_silence(what)?)
            }
            ["cut-one-way", from, to, network] => Self::CutOneWay(own(from), own(to), own(network)),
            ["partition", one, other] => Self::Partition(names(one), names(other)),
            ["loss", machine, network, permille] => {
                Self::Loss(own(machine), own(network), number(permille)?)
            }
            ["link-down", node, network] => Self::LinkDown(own(node), own(network)),
            ["heal", machine, network] => Self::Heal(own(machine), own(network)),
            ["heal"] => Self::HealAll,
            ["disk", "freeze", node @ ..] => Self::DiskFreeze(parse_node(node)?),
            ["disk", "break", node @ ..] => Self::DiskBreak(parse_node(node)?),
            ["disk", "thaw", node @ ..] => Self::DiskThaw(parse_node(node)?),
            ["line", "cut", one, other] => Self::LineCut(own(one), own(other)),
            ["line", "cut-one-way", from, to] => Self::LineCutOneWay(own(from), own(to)),
            ["line", "noise", one, other, permille] => {
                Self::LineNoise(own(one), own(other), number(permille)?)
            }
            ["line", "pause", one, other] => Self::LinePause(own(one), own(other)),
            ["line", "heal", one, other] => Self::LineHeal(own(one), own(other)),
            ["kill", node, which @ ..] => Self::Kill(own(node), parse_which(which)?),
            ["stop", node, which @ ..] => Self::Stop(own(node), parse_which(which)?),
            ["cont", node, which @ ..] => Self::Cont(own(node), parse_which(which)?),
            ["start", node] => Self::Start(own(node)),
            ["power-off", node] => Self::PowerOff(own(node)),
            ["power-on", node] => Self::PowerOn(own(node)),
            _ => bail!("no such command: {}\n\n{USAGE}", words.join(" ")),
        })
    }

    /// Does it; the answer is a sentence.
    ///
    /// # Errors
    /// As the lab says.
    pub fn apply(&self, lab: &mut Lab) -> Result<String> {
        Ok(match self {
            Self::Cut(machine, network) => {
                lab.cut(machine, network)?;
                format!("{machine} is cut off from {network}")
            }
            Self::Silence(machine, card, what) => {
                lab.silence(machine, card, *what)?;
                let what = match what {
                    Silence::In => "what comes for it",
                    Silence::Out => "what it sends",
                    Silence::Both => "everything",
                };
                format!("{card} of {machine} loses {what}")
            }
            Self::CutOneWay(from, to, network) => {
                lab.cut_one_way(from, to, network)?;
                format!("nothing gets from {from} to {to} over {network}")
            }
            Self::Partition(one, other) => {
                let a: Vec<&str> = one.iter().map(String::as_str).collect();
                let b: Vec<&str> = other.iter().map(String::as_str).collect();
                lab.partition(&a, &b)?;
                format!("{} and {} do not hear each other", a.join(", "), b.join(", "))
            }
            Self::Loss(machine, network, permille) => {
                lab.loss(machine, network, *permille)?;
                format!("{machine} loses {permille} of 1000 frames on {network}, each way")
            }
            Self::LinkDown(node, network) => {
                lab.link_down(node, network)?;
                format!("{network} of {node} is set down")
            }
            Self::Heal(machine, network) => {
                lab.heal(machine, network)?;
                format!("{machine} and {network} are well")
            }
            Self::HealAll => {
                lab.heal_all()?;
                "all networks, lines and the disk are well".to_owned()
            }
            Self::DiskFreeze(node) => {
                lab.disk_freeze(node.as_deref())?;
                format!("the disk answers nothing to {}", whom(node))
            }
            Self::DiskBreak(node) => {
                lab.disk_break(node.as_deref())?;
                format!("the disk answers with errors to {}", whom(node))
            }
            Self::DiskThaw(node) => {
                lab.disk_thaw(node.as_deref())?;
                format!("the disk works for {}", whom(node))
            }
            Self::LineCut(one, other) => {
                lab.line_cut(one, other)?;
                format!("nothing gets through the line between {one} and {other}")
            }
            Self::LineCutOneWay(from, to) => {
                lab.line_cut_one_way(from, to)?;
                format!("nothing gets through the line from {from} to {to}")
            }
            Self::LineNoise(one, other, permille) => {
                lab.line_noise(one, other, *permille)?;
                format!("the line between {one} and {other} spoils {permille} of 1000 bytes")
            }
            Self::LinePause(one, other) => {
                lab.line_pause(one, other)?;
                format!("the line between {one} and {other} stands still")
            }
            Self::LineHeal(one, other) => {
                lab.line_heal(one, other)?;
                format!("the line between {one} and {other} is well")
            }
            Self::Kill(node, which) => {
                lab.kill(node, Signal::KILL, *which)?;
                format!("killed on {node}: {which:?}").to_lowercase()
            }
            Self::Stop(node, which) => {
                lab.stop(node, *which)?;
                format!("stopped on {node}: {which:?}").to_lowercase()
            }
            Self::Cont(node, which) => {
                lab.cont(node, *which)?;
                format!("goes on on {node}: {which:?}").to_lowercase()
            }
            Self::Start(node) => {
                lab.start(node)?;
                format!("the daemon of {node} is started")
            }
            Self::PowerOff(node) => {
                lab.power_off(node)?;
                format!("{node} has no power")
            }
            Self::PowerOn(node) => {
                lab.power_on(node)?;
                lab.start(node)?;
                format!("{node} has power, its daemon is started")
            }
        })
    }
}

fn whom(node: &Option<String>) -> &str {
    node.as_deref().unwrap_or("everyone")
}

fn parse_node(words: &[&str]) -> Result<Option<String>> {
    match words {
        [] => Ok(None),
        [node] => Ok(Some((*node).to_owned())),
        _ => bail!("{}: it is one node, or none for all", words.join(" ")),
    }
}

fn parse_silence(words: &[&str]) -> Result<Silence> {
    Ok(match words {
        [] | ["both"] => Silence::Both,
        ["in"] => Silence::In,
        ["out"] => Silence::Out,
        _ => bail!("{}: it is in, out or both", words.join(" ")),
    })
}

fn parse_which(words: &[&str]) -> Result<Which> {
    Ok(match words {
        [] | ["daemon"] => Which::Daemon,
        ["guard"] => Which::Guard,
        ["both"] => Which::Both,
        ["everything"] => Which::Everything,
        _ => bail!("{}: it is daemon, guard, both or everything", words.join(" ")),
    })
}

#[derive(Serialize, Deserialize)]
struct Answer {
    done: bool,
    text: String,
}

/// Listens in the lab's directory; [`serve`] answers.
pub(crate) fn listen(directory: &Path) -> Result<UnixListener> {
    let path = directory.join(SOCKET);
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context("removing the socket of a former lab"),
    }
    UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))
}

/// Answers one request after the other until the process ends.
pub(crate) fn serve(listener: &UnixListener, lab: &Mutex<Lab>) {
    for stream in listener.incoming() {
        // One who goes away in the middle of a request gets no answer; the next one does.
        if let Err(error) = stream.map_err(Into::into).and_then(|stream| answer(stream, lab)) {
            eprintln!("lab: a request broke off: {error:#}");
        }
    }
}

fn answer(stream: UnixStream, lab: &Mutex<Lab>) -> Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
    let mut line = String::new();
    let mut reader = BufReader::new(std::io::Read::take(&stream, LINE_MAX));
    reader.read_line(&mut line).context("reading it")?;
    let words: Vec<String> = serde_json::from_str(&line).context("it is no list of words")?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = Command::parse(&words).and_then(|command| {
        let mut lab = lab.lock().unwrap_or_else(PoisonError::into_inner);
        command.apply(&mut lab)
    });
    let answer = match outcome {
        Ok(text) => Answer { done: true, text },
        Err(error) => Answer { done: false, text: format!("{error:#}") },
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    (&stream).write_all(text.as_bytes()).context("answering")
}

/// The directory of the lab in whose shell this process runs.
///
/// # Errors
/// When it does not run in one.
pub fn directory() -> Result<PathBuf> {
    let path = std::env::var_os(VARIABLE).map(PathBuf::from);
    path.with_context(|| {
        format!("{VARIABLE} is not set: this works in the shell that `mainstay lab shell` opens")
    })
}

/// Has the surrounding lab do something; the answer is a sentence.
///
/// # Errors
/// When there is no lab around, or what the lab says.
pub fn send(words: &[&str]) -> Result<String> {
    Command::parse(words)?;
    let path = directory()?.join(SOCKET);
    let mut stream =
        UnixStream::connect(&path).with_context(|| format!("no lab at {}", path.display()))?;
    let mut line = serde_json::to_string(words)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).context("asking the lab")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("waiting for the lab")?;
    let answer: Answer = serde_json::from_str(&line).context("the lab's answer makes no sense")?;
    if answer.done { Ok(answer.text) } else { bail!("{}", answer.text) }
}

#[cfg(test)]
mod tests;
