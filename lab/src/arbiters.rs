//! The arbiters of a lab: a shared disk, and a witness and an etcd on a machine of their own.
//!
//! They are real, and they can be killed, stopped, slowed down, hidden from some nodes and started again while a
//! cluster asks them.

mod stutter;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::enter;
use crate::lab::Lab;
use crate::spec::{self, ARBITER, ARBITER_HOST};
use stutter::Stutter;

const WITNESS_PORT: u16 = 7402;
const ETCD_PORT: u16 = 2379;

/// Who breaks the ties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tie {
    /// A shared disk.
    Disk,
    /// A witness on the arbiters' machine.
    Witness,
    /// An etcd on the arbiters' machine.
    Etcd,
    /// These three, of which two must agree.
    Three,
    /// A person.
    Manual,
    /// Nobody.
    None,
}

impl Tie {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Disk, Self::Witness, Self::Etcd, Self::Three, Self::Manual, Self::None];

    /// Its name on a command line; of a single one, also in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Witness => "witness",
            Self::Etcd => "etcd",
            Self::Three => "three",
            Self::Manual => "manual",
            Self::None => "none",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tie| tie.name() == name)
    }

    /// The arbiters that it consists of.
    pub(crate) fn parts(self) -> &'static [Self] {
        match self {
            Self::Disk => &[Self::Disk],
            Self::Witness => &[Self::Witness],
            Self::Etcd => &[Self::Etcd],
            Self::Three => &[Self::Disk, Self::Witness, Self::Etcd],
            Self::Manual | Self::None => &[],
        }
    }

    pub(crate) fn decides(self) -> bool {
        !self.parts().is_empty()
    }
}

/// The arbiters that run outside.
pub(crate) struct Arbiters {
    program: String,
    /// Those that are slow. They come before the processes, which must not be reaped before.
    stutters: Vec<(Tie, Stutter)>,
    children: Vec<(Tie, Child)>,
}

impl Arbiters {
    /// Starts those of `tie` for the nodes of a lab that has not started any.
    pub(crate) fn start_all(lab: &mut Lab, tie: Tie) -> Result<Self> {
        let program = lab.spec().program.to_str().context("the program's path is not text")?;
        let mut arbiters =
            Self { program: program.to_owned(), stutters: Vec::new(), children: Vec::new() };
        for part in tie.parts() {
            // What an arbiter of an earlier lab in this process remembers is of another cluster.
            match std::fs::remove_dir_all(Self::directory(*part)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context("removing what an arbiter remembered");
                }
                _ => {}
            }
            if *part == Tie::Witness {
                introduce(lab, &arbiters.program)?;
            }
            arbiters.start(lab, *part)?;
        }
        Ok(arbiters)
    }

    fn directory(part: Tie) -> String {
        format!("{}/{}", enter::DIRECTORY, part.name())
    }

    /// Starts one of them, or repairs it.
    pub(crate) fn start(&mut self, lab: &Lab, part: Tie) -> Result<()> {
        let address = spec::node_address(0, ARBITER_HOST);
        let directory = Self::directory(part);
        let words: Vec<String> = match part {
            Tie::Disk if lab.disk_can_fail() => return lab.disk_thaw(None),
            Tie::Witness => {
                let listen = format!("{address}:{WITNESS_PORT}");
                let words = ["witness", "serve", "--dir", &directory, "--listen", &listen];
                words.map(str::to_owned).to_vec()
            }
            Tie::Etcd => {
                let clients = format!("http://{address}:{ETCD_PORT}");
                let peers = format!("http://{address}:{}", ETCD_PORT + 1);
                let cluster = format!("default={peers}");
                let words = [
                    ["--data-dir", &directory],
                    ["--listen-client-urls", &clients],
                    ["--advertise-client-urls", &clients],
                    ["--listen-peer-urls", &peers],
                    ["--initial-advertise-peer-urls", &peers],
                    ["--initial-cluster", &cluster],
                ];
                words.as_flattened().iter().map(|word| (*word).to_owned()).collect()
            }
            Tie::Disk | Tie::Three | Tie::Manual | Tie::None => return Ok(()),
        };
        let program = if part == Tie::Etcd { "etcd" } else { &self.program };
        let child = outside(lab, program, &words, |command| {
            let log = std::fs::File::create(format!("{directory}.log"))?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            command.spawn()
        });
        self.children.push((part, child.with_context(|| format!("starting {}", part.name()))?));
        Ok(())
    }

    /// Kills one of them; a disk freezes, and what was written before may land when it thaws.
    pub(crate) fn kill(&mut self, lab: &Lab, part: Tie) -> Result<()> {
        if part == Tie::Disk {
            return lab.disk_freeze(None);
        }
        self.stutters.retain(|(of, _)| *of != part);
        let place = self.children.iter().position(|(of, _)| *of == part);
        let (_, mut child) = self.children.remove(place.context("it runs")?);
        child.kill().context("killing the tie-breaker")?;
        child.wait().context("waiting for the tie-breaker")?;
        Ok(())
    }

    /// Stops one of them without ending it, or lets it go on: what it was asked meanwhile it does
    /// then, and answers late. A disk freezes and thaws.
    pub(crate) fn stop(&mut self, lab: &Lab, part: Tie, signal: Signal) -> Result<()> {
        if part == Tie::Disk {
            return if signal == Signal::STOP {
                lab.disk_freeze(None)
            } else {
                lab.disk_thaw(None)
            };
        }
        let child = self.children.iter().find(|(of, _)| *of == part);
        let (_, child) = child.context("it runs")?;
        let pid = Pid::from_child(child);
        kill_process(pid, signal).with_context(|| format!("signalling {}", part.name()))
    }

    /// Each answer of one of them is late by up to `delay`, until [`Self::hasten`]: a disk takes so long for each
    /// request, a process stands still for so long again and again.
    pub(crate) fn slow(&mut self, lab: &Lab, part: Tie, delay: Duration) -> Result<()> {
        if part == Tie::Disk {
            return lab.disk_slow(None, delay);
        }
        let child = self.children.iter().find(|(of, _)| *of == part);
        let (_, child) = child.context("it runs")?;
        self.stutters.push((part, Stutter::start(Pid::from_child(child), delay)?));
        Ok(())
    }

    /// One that was slow is as fast as ever.
    pub(crate) fn hasten(&mut self, lab: &Lab, part: Tie) -> Result<()> {
        if part == Tie::Disk {
            return lab.disk_thaw(None);
        }
        let place = self.stutters.iter().position(|(of, _)| *of == part);
        let (_, stutter) = self.stutters.remove(place.context("it was slowed down")?);
        stutter.end().with_context(|| format!("slowing {} down", part.name()))
    }

    /// Only these nodes reach it, until all is healed. What runs on the arbiters' machine is hidden together.
    pub(crate) fn hide(lab: &mut Lab, part: Tie, reaching: &[String]) -> Result<()> {
        let names = lab.node_names();
        let hidden = names.iter().filter(|name| !reaching.contains(name)).map(String::as_str);
        let hidden: Vec<&str> = hidden.collect();
        match part {
            Tie::Disk => hidden.iter().try_for_each(|name| lab.disk_freeze(Some(name))),
            _ => lab.partition(&[ARBITER], &hidden),
        }
    }
}

impl Drop for Arbiters {
    fn drop(&mut self) {
        self.stutters.clear();
        for (_, child) in &mut self.children {
            // The lab ends, and everything in it.
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

/// Starts something on the arbiters' machine.
fn outside<T: Send>(
    lab: &Lab,
    program: &str,
    words: &[String],
    start: impl FnOnce(&mut Command) -> std::io::Result<T> + Send,
) -> Result<T> {
    lab.arbiter().namespace().run(|| {
        let mut command = Command::new(program);
        for variable in enter::PRIVATE {
            command.env_remove(variable);
        }
        Ok(start(command.args(words))?)
    })
}

/// Who breaks the ties, in the words of the configuration.
pub(crate) fn tables(lab: &Lab, tie: Tie) -> String {
    match tie.parts() {
        [] => format!("\n[tiebreaker]\nkind = \"{}\"\n", tie.name()),
        parts => parts.iter().map(|part| table(lab, *part)).collect(),
    }
}

/// One arbiter in the configuration.
fn table(lab: &Lab, part: Tie) -> String {
    let address = spec::node_address(0, ARBITER_HOST);
    let how = match part {
        Tie::Disk => {
            let end = |name: String| {
                let path = spec::disk_path(&name);
                format!("{name} = \"{}\"", path.display())
            };
            let ends: Vec<String> = lab.node_names().into_iter().map(end).collect();
            format!("nodes = {{ {} }}", ends.join(", "))
        }
        Tie::Witness => format!("address = \"{address}:{WITNESS_PORT}\""),
        Tie::Etcd => format!("endpoints = [\"http://{address}:{ETCD_PORT}\"]"),
        Tie::Three | Tie::Manual | Tie::None => String::new(),
    };
    format!("\n[[tiebreaker]]\nkind = \"{}\"\n{how}\n", part.name())
}

/// `witness key` on a member, `witness add` on the witness.
fn introduce(lab: &mut Lab, program: &str) -> Result<()> {
    let output = lab.run_program("n1", &["witness", "key"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let directory = Arbiters::directory(Tie::Witness);
    let words = ["witness", "add", "demo", "--id", "10", "--dir", &directory].map(str::to_owned);
    let added = outside(lab, program, &words, |command| {
        let all = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = all.spawn()?;
        child.stdin.take().expect("it is piped").write_all(&output.stdout)?;
        child.wait_with_output()
    })?;
    ensure!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    Ok(())
}
