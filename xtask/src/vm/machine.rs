//! A machine: a QEMU process, its console, its shell, and the plug.
//!
//! Software emulation (`-accel tcg`) needs nothing of the machine that it runs on, and is slow:
//! every wait here is generous. QEMU ends with the thread that started it, whatever became of that
//! one (`setpriv --pdeathsig`, prctl(2)), so machines are switched on by the main thread only.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::Hardware;
use serde_json::json;

use super::console::{Console, Line};
use super::control::{Answer, Control};
use super::patience::Patience;
use super::qmp::Qmp;

/// From power to the end of `init`.
const BOOT: Duration = Duration::from_secs(240);
/// Until QEMU has made its sockets.
const START: Duration = Duration::from_secs(30);
/// For a command, unless it says otherwise.
const COMMAND: Duration = Duration::from_secs(60);

/// A card of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    /// Where the wire listens for it.
    pub(crate) socket: PathBuf,
    /// Its address.
    pub(crate) hardware: Hardware,
}

/// What a machine is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) name: String,
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// The first file system.
    pub(crate) image: PathBuf,
    /// Further words for the kernel.
    pub(crate) kernel_words: String,
    /// In the order of their names in the machine: eth0, eth1, …
    pub(crate) cards: Vec<Card>,
    /// The file that is its disk: vda in the machine.
    pub(crate) disk: PathBuf,
    /// For its sockets: the path is short.
    pub(crate) sockets: PathBuf,
    /// For what it leaves behind.
    pub(crate) logs: PathBuf,
}

/// A machine, on or off.
pub(crate) struct Machine {
    plan: Plan,
    console: Console,
    power: Option<Power>,
    /// How often it was seen to have booted.
    boots: usize,
    patience: Patience,
}

/// What there is while a machine is on.
struct Power {
    child: Child,
    qmp: Qmp,
    control: Control,
}

impl Machine {
    /// A machine that is off.
    ///
    /// # Errors
    /// When its console cannot be watched.
    pub(crate) fn new(plan: Plan, patience: Patience) -> Result<Self> {
        let console = Console::new(plan.logs.join(format!("{}.console", plan.name)))?;
        Ok(Self { plan, console, power: None, boots: 0, patience })
    }

    /// Its name.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// What it says.
    #[must_use]
    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    /// Switches it on; it boots while we go on.
    ///
    /// # Errors
    /// When QEMU does not start, with what it said.
    pub(crate) fn power_on(&mut self) -> Result<()> {
        ensure!(self.power.is_none(), "{} is on", self.plan.name);
        let plan = &self.plan;
        let sockets =
            ["qmp", "shell"].map(|kind| plan.sockets.join(format!("{}.{kind}", plan.name)));
        for socket in &sockets {
            // Of a QEMU that was killed.
            if socket.exists() {
                std::fs::remove_file(socket)?;
            }
        }
        let said = plan.logs.join(format!("{}.qemu", plan.name));
        let mut command = self.command(&sockets)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&said)?);
        let mut child = command.spawn().context("start QEMU")?;
        let what = format!("the QEMU of {}", plan.name);
        let opened = self.patience.wait(&what, START, || {
            if let Some(status) = child.try_wait()? {
                let words = std::fs::read_to_string(&said).unwrap_or_default();
                bail!("QEMU has ended ({status}): {}", words.trim());
            }
            // Not yet there, or not yet listening.
            let (Ok(qmp), Ok(control)) = (Qmp::open(&sockets[0]), Control::open(&sockets[1]))
            else {
                return Ok(None);
            };
            Ok(Some((qmp, control)))
        });
        match opened {
            Ok((qmp, control)) => self.power = Some(Power { child, qmp, control }),
            Err(error) => {
                child.kill().and_then(|()| child.wait()).context("end QEMU")?;
                return Err(error);
            }
        }
        Ok(())
    }

    fn command(&self, [qmp, shell]: &[PathBuf; 2]) -> Result<Command> {
        let plan = &self.plan;
        let (qmp, shell) = (option_text(qmp)?, option_text(shell)?);
        let console = option_text(self.console.path())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-accel", "tcg", "-machine", "pc", "-cpu", "max", "-smp", "1", "-m", "320"]);
        command.arg("-kernel").arg(&plan.kernel).arg("-initrd").arg(&plan.image);
        // What a machine says of its death must come out, and only that and warnings.
        command
            .arg("-append")
            .arg(format!("console=ttyS0,115200 loglevel=5 net.ifnames=0 {}", plan.kernel_words));
        command.arg("-chardev").arg(format!("file,id=console,append=on,path={console}"));
        command.args(["-serial", "chardev:console"]);
        command.arg("-chardev").arg(format!("socket,id=shell,server=on,wait=off,path={shell}"));
        command.args(["-device", "virtio-serial-pci"]);
        command.args(["-device", "virtserialport,chardev=shell,name=shell"]);
        command.arg("-qmp").arg(format!("unix:{qmp},server=on,wait=off"));
        let disk = option_text(&plan.disk)?;
        command.arg("-drive").arg(format!("if=virtio,format=raw,file={disk}"));
        for (at, card) in plan.cards.iter().enumerate() {
            let socket = option_text(&card.socket)?;
            let hardware = card.hardware.map(|byte| format!("{byte:02x}")).join(":");
            command
                .arg("-netdev")
                .arg(format!("stream,id=wire{at},server=off,addr.type=unix,addr.path={socket}"));
            command
                .arg("-device")
                .arg(format!("virtio-net-pci,id=eth{at},netdev=wire{at},mac={hardware},romfile="));
        }
        Ok(command)
    }

    fn on(&mut self) -> Result<&mut Power> {
        let name = &self.plan.name;
        self.power.as_mut().with_context(|| format!("{name} has no power"))
    }

    /// Whether it has power.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.power.is_some()
    }

    /// Waits until `init` is through once more than it was.
    ///
    /// # Errors
    /// When it takes too long or QEMU ends.
    pub(crate) fn wait_for_boot(&mut self) -> Result<()> {
        let (name, console) = (self.plan.name.clone(), self.console.clone());
        let words = format!("machine: {name} is up");
        let boots = self.boots + 1;
        let what = format!("{name} to boot");
        let power = self.power.as_mut().with_context(|| format!("{name} has no power"))?;
        let outcome = self.patience.wait(&what, BOOT, || {
            if let Some(status) = power.child.try_wait()? {
                bail!("the QEMU of {name} has ended ({status})");
            }
            Ok((console.count(&words)? >= boots).then_some(()))
        });
        outcome.with_context(|| format!("{name} says:\n{}", console.tail(20)))?;
        self.boots = boots;
        Ok(())
    }

    /// Waits for words on its console, in lines from number `from` on.
    ///
    /// # Errors
    /// When they do not come within `limit`.
    pub(crate) fn wait_for(&self, words: &str, from: usize, limit: Duration) -> Result<Line> {
        let what = format!("{} to say: {words}", self.plan.name);
        let outcome = self.patience.wait(&what, limit, || self.console.find(words, from));
        outcome.with_context(|| format!("{} says:\n{}", self.plan.name, self.console.tail(20)))
    }

    /// Runs a command in it.
    ///
    /// # Errors
    /// When it does not end in time, or not with 0.
    pub(crate) fn run(&mut self, command: &str) -> Result<String> {
        let Answer { code, text } = self.try_run(command, COMMAND)?;
        ensure!(code == 0, "{}: {command}: exit code {code}: {text}", self.plan.name);
        Ok(text)
    }

    /// Runs a command in it that may fail.
    ///
    /// # Errors
    /// When it does not end in time.
    pub(crate) fn try_run(&mut self, command: &str, limit: Duration) -> Result<Answer> {
        let name = self.plan.name.clone();
        self.on()?.control.run(command, limit).with_context(|| name)
    }

    /// Runs a command that nobody waits for.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub(crate) fn send(&mut self, command: &str) -> Result<()> {
        self.on()?.control.send(command)
    }

    /// Sets the carrier of a card: 0 is eth0.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub(crate) fn set_carrier(&mut self, card: usize, up: bool) -> Result<()> {
        let arguments = json!({ "name": format!("eth{card}"), "up": up });
        self.on()?.qmp.execute("set_link", &arguments).map(drop)
    }

    /// Takes the power away: the machine ends between two instructions.
    ///
    /// # Errors
    /// When QEMU cannot be ended.
    pub(crate) fn cut_power(&mut self) -> Result<()> {
        let mut power = self.power.take().with_context(|| format!("{} is off", self.plan.name))?;
        power.child.kill().context("end QEMU")?;
        power.child.wait().context("wait for the end of QEMU")?;
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.power.is_some() {
            // A failure has its own words already; the kernel ends QEMU after us in any case.
            let _ = self.cut_power();
        }
    }
}

/// A comma ends an option's value unless it is doubled.
fn option_text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path is not text")?.replace(',', ",,"))
}
