//! The lab: switches, machines, the client, and what can be asked of them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::card::Card;
use crate::client::Client;
use crate::device::Device;
use crate::disk::Disk;
use crate::enter;
use crate::line::{Line, Terminals};
use crate::machine::{LOG, Machine};
use crate::namespace::Namespace;
use crate::processes::Process;
use crate::spec::{self, Spec};
use crate::switch::Switch;

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The daemon: the guard's child.
    Daemon,
    /// The guard: the process that `mainstay run` is.
    Guard,
    /// Guard and daemon.
    Both,
    /// Every process of the node, services included.
    Everything,
}

/// A node: its disk, and its machine while that has power.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) id: u8,
    pub(crate) root: PathBuf,
    pub(crate) machine: Option<Machine>,
}

/// Networks, nodes and an outside client, all in namespaces; see the crate's documentation.
pub struct Lab {
    pub(crate) spec: Spec,
    pub(crate) switches: Vec<Switch>,
    pub(crate) nodes: Vec<Node>,
    client: Client,
    observer: Client,
    stranger: Client,
    arbiter: Client,
    /// Cables that are cut, by machine and card.
    pub(crate) cut: BTreeSet<(String, Card)>,
    /// Cards of nodes that were set down inside the node.
    pub(crate) down: BTreeSet<(String, Card)>,
    pub(crate) disk: Option<Disk>,
    pub(crate) device: Option<Device>,
    pub(crate) lines: Vec<Line>,
    terminals: Option<Terminals>,
}

impl Lab {
    /// Builds the networks and switches every node on; nothing runs in them yet.
    ///
    /// # Errors
    /// When the process is not inside ([`fn@enter::enter`]), or the kernel refuses something.
    pub fn new(spec: Spec) -> Result<Self> {
        spec.check()?;
        ensure!(enter::is_inside(), "a lab can only be built after lab::enter()");
        let mut switches = (0..spec.networks).map(Switch::create).collect::<Result<Vec<_>>>()?;
        let mut outside = |name, host, networks: &[u8]| {
            connect_outside(&spec, &mut switches, (name, host), networks)
        };
        let client = outside(spec::CLIENT, spec::CLIENT_HOST, &spec.client_networks)?;
        let observer = outside(spec::OBSERVER, spec::OBSERVER_HOST, &spec.client_networks)?;
        let stranger = outside(spec::STRANGER, spec::STRANGER_HOST, &spec.stranger_networks)?;
        let arbiter = outside(spec::ARBITER, spec::ARBITER_HOST, &spec.client_networks)?;
        let nodes = (1..=spec.nodes).map(|id| {
            let name = spec::node_name(id);
            let root = Path::new(enter::DIRECTORY).join(&name);
            Node { name, id, root, machine: None }
        });
        let nodes = nodes.collect();
        let mut lab = Self {
            spec,
            switches,
            nodes,
            client,
            observer,
            stranger,
            arbiter,
            cut: BTreeSet::new(),
            down: BTreeSet::new(),
            disk: None,
            device: None,
            lines: Vec::new(),
            terminals: None,
        };
        for name in lab.spec.node_names() {
            for part in ["etc/mainstay", "var/lib/mainstay"] {
                let path = lab.node(&name)?.root.join(part);
                fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
            }
        }
        if lab.spec.disk {
            lab.disk = Some(Disk::create(&lab.spec)?);
        }
        if lab.spec.device {
            lab.device = Some(Device::create(&lab.spec)?);
        }
        if !lab.spec.lines.is_empty() {
            let terminals = lab.terminals.insert(Terminals::mount()?);
            for (one, other) in &lab.spec.lines {
                lab.lines.push(Line::lay(terminals, *one, *other)?);
            }
        }
        for name in lab.spec.node_names() {
            lab.power_on(&name)?;
        }
        Ok(lab)
    }

    /// The shape this lab was built from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The outside client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// A second machine outside. ARP probes belong here: the replies to them would also correct
    /// the client's own neighbour table, and hide that a new owner had not announced itself.
    pub fn observer(&self) -> &Client {
        &self.observer
    }

    pub(crate) fn observer_mut(&mut self) -> &mut Client {
        &mut self.observer
    }

    /// A third machine outside, in the networks of [`Spec::stranger_networks`]: attacks come from it.
    pub(crate) fn stranger(&self) -> &Client {
        &self.stranger
    }

    /// A fourth machine outside, beside the client: a witness and an etcd run there, so that the way to them can be
    /// cut and nobody who watches is.
    pub(crate) fn arbiter(&self) -> &Client {
        &self.arbiter
    }

    pub(crate) fn stranger_mut(&mut self) -> &mut Client {
        &mut self.stranger
    }

    /// The directory that has a root directory per node, named like it (`MAINSTAY_LAB`).
    pub fn directory(&self) -> &Path {
        Path::new(enter::DIRECTORY)
    }

    /// A node's root directory (`--root`).
    ///
    /// # Errors
    /// When there is no such node.
    pub fn root(&self, node: &str) -> Result<&Path> {
        Ok(&self.node(node)?.root)
    }

    /// Names of all nodes.
    pub fn node_names(&self) -> Vec<String> {
        self.spec.node_names()
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.with_context(|| self.no_such_node(name))
    }

    fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        let complaint = self.no_such_node(name);
        self.nodes.iter_mut().find(|node| node.name == name).context(complaint)
    }

    fn no_such_node(&self, name: &str) -> String {
        format!("there is no node {name}; the nodes are n1 to n{}", self.spec.nodes)
    }

    pub(crate) fn machine(&mut self, name: &str) -> Result<&mut Machine> {
        let complaint = format!("{name} has no power");
        self.node_mut(name)?.machine.as_mut().context(complaint)
    }

    /// True while the node has power.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn is_on(&self, node: &str) -> Result<bool> {
        Ok(self.node(node)?.machine.is_some())
    }

    /// Gives a node power: interfaces come up, `/run` is empty, nothing runs.
    ///
    /// # Errors
    /// When it is on already, or the kernel refuses something.
    pub fn power_on(&mut self, name: &str) -> Result<()> {
        let (id, root) = {
            let node = self.node(name)?;
            ensure!(node.machine.is_none(), "{name} has power already");
            (node.id, node.root.clone())
        };
        let machine = Machine::power_on(name, &root)?;
        self.node_mut(name)?.machine = Some(machine);
        for card in self.spec.cards() {
            self.plug(name, id, card)?;
        }
        Ok(())
    }

    /// A new cable from the switch to a new interface of a node: the primary with the node's
    /// addresses, a standby without any.
    pub(crate) fn plug(&mut self, name: &str, id: u8, card: Card) -> Result<()> {
        let complaint = self.no_such_node(name);
        let node = self.nodes.iter_mut().find(|node| node.name == name).context(complaint)?;
        let machine = node.machine.as_mut().with_context(|| format!("{name} has no power"))?;
        let switch = &mut self.switches[usize::from(card.network)];
        switch.connect((name, id), card, &machine.namespace)?;
        let addresses = self.spec.addresses(id, card.network);
        let addresses = if card.is_standby { &[][..] } else { &addresses };
        machine.namespace.configure(&card.to_string(), addresses)?;
        if !self.cut.contains(&(name.to_owned(), card)) {
            switch.set_port(name, card, true)?;
        }
        self.down.remove(&(name.to_owned(), card));
        write_neighbours(&self.spec, &mut machine.namespace, id, card.network)
    }

    /// Takes a node's power: nothing of it answers from now on, all its processes end at once, its
    /// interfaces, addresses and `/run` are gone. What it wrote to disk stays.
    ///
    /// # Errors
    /// When it has no power, or a process does not go within the kernel's time.
    pub fn power_off(&mut self, name: &str) -> Result<()> {
        self.machine(name)?;
        // Silence first, on all networks: to the outside this is the moment.
        let cards = self.spec.cards();
        for card in &cards {
            self.switches[usize::from(card.network)].set_port(name, *card, false)?;
        }
        let machine = self.node_mut(name)?.machine.take();
        let mut machine = machine.expect("checked above; nothing else took it");
        let ended = match &self.disk {
            Some(disk) => disk.without(name, || machine.end()),
            None => machine.end(),
        };
        for card in &cards {
            self.switches[usize::from(card.network)].disconnect(name, *card)?;
        }
        ended
    }

    /// Starts the node's daemon: `PROGRAM --root DIR run`, output to `DIR/daemon.log`.
    ///
    /// # Errors
    /// When it is running already, has no power, or the program cannot be started.
    pub fn start(&mut self, name: &str) -> Result<()> {
        let root = self.node(name)?.root.clone();
        let program = self.spec.program.to_str().context("the program's path is not text")?;
        let program = program.to_owned();
        self.machine(name)?.start_guard(&root, &program)
    }

    /// Starts the daemons of all nodes that have power.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub fn start_all(&mut self) -> Result<()> {
        for name in self.node_names() {
            if self.is_on(&name)? {
                self.start(&name)?;
            }
        }
        Ok(())
    }

    /// Sends a signal. SIGSTOP is waited for (except for everything): it has happened on return.
    ///
    /// # Errors
    /// When that process is not there.
    pub fn kill(&mut self, name: &str, signal: Signal, which: Which) -> Result<()> {
        if which == Which::Everything {
            return self.machine(name)?.signal_everything(signal);
        }
        let targets = self.targets(name, which)?;
        for target in &targets {
            let pid = Pid::from_raw(*target).context("a process has a number")?;
            kill_process(pid, signal).with_context(|| format!("signalling {target}"))?;
        }
        if signal != Signal::STOP {
            return Ok(());
        }
        crate::wait::until("processes to stop", crate::wait::KERNEL, || {
            let all = self.processes(name)?;
            let running = |pid: &i32| all.iter().any(|p| p.pid == *pid && p.state != 'T');
            Ok((!targets.iter().any(running)).then_some(()))
        })
    }

    fn targets(&mut self, name: &str, which: Which) -> Result<Vec<i32>> {
        let machine = self.machine(name)?;
        let missing = |what: &str| format!("no {what} runs on {name}");
        let mut targets = Vec::new();
        match which {
            Which::Everything => {}
            Which::Guard => targets.push(machine.guard()?.with_context(|| missing("guard"))?),
            Which::Daemon => targets.push(machine.daemon()?.with_context(|| missing("daemon"))?),
            Which::Both => {
                // The guard first, so that it cannot react to what happens to the daemon.
                targets.push(machine.guard()?.with_context(|| missing("guard"))?);
                targets.push(machine.daemon()?.with_context(|| missing("daemon"))?);
            }
        }
        Ok(targets)
    }

    /// Pauses (SIGSTOP).
    ///
    /// # Errors
    /// As [`Lab::kill`].
    pub fn stop(&mut self, name: &str, which: Which) -> Result<()> {
        self.kill(name, Signal::STOP, which)
    }

    /// Lets go on (SIGCONT).
    ///
    /// # Errors
    /// As [`Lab::kill`].
    pub fn cont(&mut self, name: &str, which: Which) -> Result<()> {
        self.kill(name, Signal::CONT, which)
    }

    /// Pids (seen from the lab) of guard and daemon, where they live.
    ///
    /// # Errors
    /// When the node has no power.
    pub fn daemon_pids(&mut self, name: &str) -> Result<(Option<i32>, Option<i32>)> {
        let machine = self.machine(name)?;
        Ok((machine.guard()?, machine.daemon()?))
    }

    /// All processes of a node.
    ///
    /// # Errors
    /// When it has no power.
    pub fn processes(&mut self, name: &str) -> Result<Vec<Process>> {
        self.machine(name)?.processes()
    }

    /// Starts a program on a node that stays; its output goes to the node's log. Returns its pid.
    ///
    /// # Errors
    /// When the node has no power or the program cannot be started.
    pub fn spawn_in(&mut self, name: &str, arguments: &[&str]) -> Result<i32> {
        let root = self.node(name)?.root.clone();
        self.machine(name)?.start_other(&root, arguments)
    }

    /// Runs a program on a node (or the client) to its end.
    ///
    /// # Errors
    /// When the node has no power or the program cannot be started.
    pub fn run_in(&mut self, name: &str, arguments: &[&str]) -> Result<Output> {
        if name != spec::CLIENT {
            return self.machine(name)?.run(arguments);
        }
        let Some((program, rest)) = arguments.split_first() else { bail!("no program given") };
        self.client.namespace().run(|| {
            let mut command = Command::new(program);
            for variable in enter::PRIVATE {
                command.env_remove(variable);
            }
            command.args(rest).stdin(Stdio::null()).output().context("running in the client")
        })
    }

    /// Runs the nodes' program on a node to its end: `PROGRAM --root DIR WORDS…`.
    ///
    /// # Errors
    /// As [`Lab::run_in`].
    pub fn run_program(&mut self, name: &str, words: &[&str]) -> Result<Output> {
        let root = self.node(name)?.root.clone();
        let root = root.to_str().context("the root directory is not text")?;
        let program = self.spec.program.clone();
        let program = program.to_str().context("the program's path is not text")?;
        let mut arguments = vec![program, "--root", root];
        arguments.extend(words);
        self.machine(name)?.run(&arguments)
    }

    /// Adds an address to a node by hand, as an operator would.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_address(
        &mut self,
        name: &str,
        network: &str,
        address: IpAddr,
        prefix: u8,
    ) -> Result<()> {
        self.card(network)?;
        self.machine(name)?.namespace.route().add_address(network, address, prefix)
    }

    /// Removes an address from a node by hand.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove_address(
        &mut self,
        name: &str,
        network: &str,
        address: IpAddr,
        prefix: u8,
    ) -> Result<()> {
        self.card(network)?;
        self.machine(name)?.namespace.route().remove_address(network, address, prefix)
    }

    /// Announces an IPv4 address from a node once, as `arping -U` would.
    ///
    /// # Errors
    /// When the node has no power or the interface is down.
    pub fn announce(&mut self, name: &str, network: &str, address: Ipv4Addr) -> Result<()> {
        let hardware = self.card(network)?.hardware(self.node(name)?.id);
        let namespace = &self.machine(name)?.namespace;
        namespace.run(|| crate::client::announce(network, hardware, address))
    }

    /// True when a node sees carrier on its interface of that network.
    ///
    /// # Errors
    /// When the node has no power.
    pub fn has_carrier(&mut self, name: &str, network: &str) -> Result<bool> {
        self.card(network)?;
        self.machine(name)?.namespace.route().has_carrier(network)
    }

    /// False where the kernel refuses a sysfs of its own to the node.
    ///
    /// # Errors
    /// When the node has no power.
    pub fn has_own_sysfs(&mut self, name: &str) -> Result<bool> {
        Ok(self.machine(name)?.has_own_sysfs)
    }

    /// What a node's programs printed.
    ///
    /// # Errors
    /// When there is no such node, or its log cannot be read.
    pub(crate) fn log(&self, name: &str) -> Result<String> {
        let path = self.node(name)?.root.join(LOG);
        match fs::read(&path) {
            Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            // Nothing was started there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// The last lines of what a node's programs printed.
    ///
    /// # Errors
    /// When there is no such node, or its log cannot be read.
    pub fn log_tail(&self, name: &str, lines: usize) -> Result<String> {
        let text = self.log(name)?;
        let all: Vec<&str> = text.lines().collect();
        Ok(all[all.len().saturating_sub(lines)..].join("\n"))
    }

    pub(crate) fn network(&self, name: &str) -> Result<u8> {
        let found = (0..self.spec.networks).find(|network| spec::network_name(*network) == name);
        let last = self.spec.networks - 1;
        found.with_context(|| format!("no network {name}; they are net0 to net{last}"))
    }

    /// The card of nodes whose interface has that name.
    pub(crate) fn card(&self, name: &str) -> Result<Card> {
        let cards = self.spec.cards();
        let found = cards.iter().find(|card| card.to_string() == name);
        found.copied().with_context(|| {
            let names: Vec<String> = cards.iter().map(Card::to_string).collect();
            format!("no card {name}; they are {}", names.join(", "))
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let machine = node.machine.take();
            match &self.disk {
                Some(disk) => disk.without(&node.name, || drop(machine)),
                None => drop(machine),
            }
        }
        self.lines.clear();
        self.terminals = None;
        if let Some(disk) = self.disk.take() {
            disk.remove();
        }
        self.device = None;
        for node in &mut self.nodes {
            // On a tmpfs that ends with the lab's process; this makes room for a next lab in it.
            let _ = fs::remove_dir_all(&node.root);
        }
    }
}

/// A machine outside, attached to these networks.
fn connect_outside(
    spec: &Spec,
    all: &mut [Switch],
    (name, host): (&str, u8),
    networks: &[u8],
) -> Result<Client> {
    let mut namespace = Namespace::create()?;
    for network in networks {
        let switch = &mut all[usize::from(*network)];
        let card = Card::primary(*network);
        switch.connect((name, host), card, &namespace)?;
        namespace.configure(&spec::network_name(*network), &spec.addresses(host, *network))?;
        switch.set_port(name, card, true)?;
        write_neighbours(spec, &mut namespace, host, *network)?;
    }
    Ok(Client::new(namespace, host))
}

/// Permanent neighbours of a machine in one network, in labs that need them.
fn write_neighbours(spec: &Spec, at: &mut Namespace, own: u8, network: u8) -> Result<()> {
    if !spec.has_permanent_neighbours() {
        return Ok(());
    }
    let (index, _) = at.route().interface(&spec::network_name(network))?;
    let mut hosts: Vec<u8> = (1..=spec.nodes).filter(|id| *id != own).collect();
    if own != spec::CLIENT_HOST && spec.client_networks.contains(&network) {
        hosts.push(spec::CLIENT_HOST);
    }
    for host in hosts {
        for (address, _) in spec.addresses(host, network) {
            at.route().add_permanent_neighbour(index, address, spec::hardware(network, host))?;
        }
    }
    Ok(())
}
