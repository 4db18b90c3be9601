//! A cluster on machines: two networks, an address with a responder behind it, and the outsider
//! who asks for it.
//!
//! Names and addresses are those of the lab: machine 2 is `n2` and has 10.77.0.2 and 10.77.1.2.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::cluster::{Cluster, Resource, SERVICE, SERVICE_ADDRESS, Service};
use lab::trace::Verdict;
use lab::{Spec, Status, clock, responder, spec};
use serde_json::Value;

use super::Bench;
use super::image::{self, DiskFile};
use super::machine::{Card, Machine, Plan};
use super::outsider::Outsider;
use super::patience::Patience;
use super::wire::{self, Wires};

/// Networks of each cluster.
pub(crate) const NETWORKS: u8 = 2;
/// How fast failures are noticed. The machines are emulated and share a processor or two with
/// whatever else runs here; one of them may well stand still for a second.
const DETECTION: &str = "normal";
/// What is slower than that.
const TIMES: &str = concat!(
    ", trouble_high = \"1s\", trouble_low = \"1s\", path_timeout = \"3s\"",
    ", serial_timeout = \"3s\", lease = \"7s\""
);
/// Until a cluster has formed, or is whole again, once its machines are up.
const FORMED: Duration = Duration::from_secs(180);
/// What `init` says when the program ended with the exit code of a configuration that is none.
const REFUSED: &str = "machine: mainstay run ended with 64";
/// For how long nothing may have changed before the next fault.
const SETTLE: Duration = Duration::from_secs(3);
/// What is looked at begins so much before the fault: a gap counts from the last answer before it.
const LEAD: Duration = Duration::from_secs(1);
/// An answer older than this does not tell who has the address.
const FRESH: Duration = Duration::from_secs(1);
/// What a start costs an emulated machine beside the times that `mainstay bound` prints: a process
/// is started and an address added by a processor that is some twenty times slower.
const SLOW_START: Duration = Duration::from_secs(5);

/// What differs between the clusters of the scenarios.
pub(crate) struct Wish {
    /// Number of machines.
    pub(crate) machines: u8,
    /// Seconds after which a kernel that has panicked restarts; 0: never.
    pub(crate) panic: u32,
    /// Lines of a machine's `machine.sh` that make its interfaces and their addresses; given its
    /// number.
    pub(crate) interfaces: fn(u8) -> String,
    /// Cards of each machine, by the network that they are plugged into.
    pub(crate) cards: &'static [u8],
    /// Lines of `machine.sh` before the cluster manager is started; given its number.
    pub(crate) before: fn(u8) -> String,
    /// Machines that may run the service: n1 and those after it.
    pub(crate) runners: u8,
    /// Further lines of the service's table in the configuration.
    pub(crate) service: &'static str,
    /// Its further resources, which are started last.
    pub(crate) resources: &'static str,
    /// Words at the end of the configuration.
    pub(crate) tail: &'static str,
}

impl Wish {
    /// A usual one of so many machines.
    #[must_use]
    pub(crate) fn new(machines: u8) -> Self {
        Self {
            machines,
            panic: 0,
            interfaces: plain_interfaces,
            cards: &[0, 1],
            before: |_| String::new(),
            runners: machines,
            service: "",
            resources: "",
            tail: "",
        }
    }
}

/// A card for each network.
fn plain_interfaces(id: u8) -> String {
    let line = |network| {
        let address = spec::node_address(network, id);
        format!("ip addr add {address}/24 dev eth{network}; ip link set eth{network} up\n")
    };
    (0..NETWORKS).map(line).collect()
}

/// A running cluster.
pub(crate) struct Scene {
    /// The machines in the order of their numbers.
    pub(crate) machines: Vec<Machine>,
    /// Waits, and says what happens.
    pub(crate) patience: Patience,
    wires: Wires,
    begin: Duration,
}

impl Scene {
    /// Makes the machines and their disks, switches them on, and waits for a whole and quiet
    /// cluster.
    ///
    /// # Errors
    /// When that does not come about, with what the machines say.
    pub(crate) fn start(bench: &Bench, wish: &Wish) -> Result<Self> {
        let shape = Spec { program: "/bin/mainstay".into(), ..Spec::new(wish.machines, NETWORKS)? };
        let names = shape.node_names();
        let hardware = (1..=wish.machines).map(|id| spec::hardware(0, id)).collect();
        let outsider = Outsider::new(SERVICE_ADDRESS, responder::PORT, hardware);
        let wires = Wires::lay(&bench.sockets, &names, wish.cards, outsider)?;
        let text = configuration(&names, wish).text(&shape);
        let key = key()?;
        let mut machines = Vec::new();
        for (id, name) in (1..=wish.machines).zip(&names) {
            let disk = bench.logs.join(format!("{name}.disk"));
            image::disk(&disk, &files(name, id, wish, &text, &key))?;
            machines.push(Machine::new(plan(bench, name, id, wish, disk), bench.patience.clone())?);
        }
        fs::write(bench.logs.join("cluster.toml"), text)?;
        let begin = clock::now();
        let mut scene = Self { machines, patience: bench.patience.clone(), wires, begin };
        for machine in &mut scene.machines {
            machine.power_on()?;
        }
        for machine in &mut scene.machines {
            machine.wait_for_boot()?;
        }
        let seconds = (clock::now() - scene.begin).as_secs();
        scene.patience.say(&format!("{} machines are up after {seconds} s", names.len()));
        let active = scene.settle()?;
        let seconds = (clock::now() - scene.begin).as_secs();
        scene.patience.say(&format!("the cluster is whole after {seconds} s; {active} is active"));
        for name in &names {
            let gate = scene.status(name)?.node.gate;
            ensure!(
                gate == "kernel",
                "{name}: this kernel has the lease gate, and status says {gate}"
            );
        }
        let text = scene.machine(&active).try_run("mainstay status", STATUS)?.text;
        fs::write(bench.logs.join("status"), text)?;
        Ok(scene)
    }

    /// The machine of that name.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn machine(&mut self, name: &str) -> &mut Machine {
        let found = self.machines.iter_mut().find(|machine| machine.name() == name);
        found.expect("the name is that of a machine")
    }

    /// How many lines each console has: what follows came later.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn marks(&self) -> Result<BTreeMap<String, usize>> {
        let mark =
            |machine: &Machine| Ok((machine.name().to_owned(), machine.console().lines()?.len()));
        self.machines.iter().map(mark).collect()
    }

    /// What a machine says of the cluster.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn status(&mut self, name: &str) -> Result<Status> {
        // Its exit code is part of the answer.
        let text = self.machine(name).try_run("mainstay --json status", STATUS)?.text;
        serde_json::from_str(&text).with_context(|| format!("{name}: mainstay status: {text}"))
    }

    /// How long after its last contact a lost node's services are free, and within what time its
    /// service has to answer elsewhere, as `mainstay bound` says it.
    ///
    /// # Errors
    /// When the machine does not answer.
    pub(crate) fn bounds(&mut self, name: &str) -> Result<(Duration, Duration)> {
        let text = self.machine(name).run("mainstay --json bound")?;
        let bound: Value = serde_json::from_str(&text).context("the bounds are not JSON")?;
        let services = bound["services"].as_array().into_iter().flatten();
        let service = services.into_iter().find(|service| service["name"] == SERVICE);
        let service = service.context("the bounds do not have the service")?;
        let millis = |name: &str| service[name].as_u64().map(Duration::from_millis);
        let free = millis("free_ms").context("the bounds do not say when the service is free")?;
        let wait = millis("fence_wait_ms").context("the bounds do not say how long F is")?;
        Ok((wait, free + SLOW_START))
    }

    /// Waits until all machines with power are members, the service runs, and the outsider gets
    /// answers, all from one, for a while; who that is.
    ///
    /// # Errors
    /// When that does not come about, with what the machines say.
    pub(crate) fn settle(&mut self) -> Result<String> {
        let patience = self.patience.clone();
        let mut since: Option<(Duration, String)> = None;
        let outcome = patience.wait("a whole and quiet cluster", FORMED, || {
            for machine in &self.machines {
                let ended = machine.console().find(REFUSED, 0)?;
                ensure!(ended.is_none(), "{} refuses its configuration", machine.name());
            }
            let active = match self.answers_now()? {
                Some(active) if self.is_whole()? => Some(active),
                _ => None,
            };
            since = match (since.take(), active) {
                (Some((at, old)), Some(active)) if old == active => Some((at, old)),
                (_, Some(active)) => Some((clock::now(), active)),
                (_, None) => None,
            };
            let quiet = since.as_ref().filter(|(at, _)| clock::now() - *at >= SETTLE);
            Ok(quiet.map(|(_, active)| active.clone()))
        });
        self.explain(outcome)
    }

    /// Whether all machines with power say that they, and no others, are members of the view.
    fn is_whole(&mut self) -> Result<bool> {
        let names = self.powered();
        for name in &names {
            let answer = self.machine(name).try_run("mainstay --json status", STATUS)?;
            // No daemon yet: no JSON.
            let Ok(status) = serde_json::from_str::<Status>(&answer.text) else {
                return Ok(false);
            };
            let mut members = status.view.members;
            members.sort();
            if status.node.state != "member" || members != names {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Names of the machines with power.
    fn powered(&self) -> Vec<String> {
        let on = self.machines.iter().filter(|machine| machine.is_on());
        on.map(|machine| machine.name().to_owned()).collect()
    }

    /// Who answers the outsider now.
    fn answers_now(&mut self) -> Result<Option<String>> {
        let trace = self.wires.seen()?.answers;
        let Some(last) = trace.answers.last() else { return Ok(None) };
        let age = clock::now().saturating_sub(Duration::from_nanos(last.received));
        Ok(trace.last_responder().filter(|_| age < FRESH).map(str::to_owned))
    }

    /// Waits until another machine answers the outsider.
    ///
    /// # Errors
    /// When none does, with what the machines say.
    pub(crate) fn wait_for_another(&mut self, old: &str, limit: Duration) -> Result<String> {
        let patience = self.patience.clone();
        let what = format!("another machine than {old} to answer");
        let outcome =
            patience.wait(&what, limit, || Ok(self.answers_now()?.filter(|active| active != old)));
        self.explain(outcome)
    }

    /// How long after `start` the first answer of this machine came.
    ///
    /// # Errors
    /// When none came, or the switches have ended.
    pub(crate) fn first_answer(&mut self, of: &str, start: Duration) -> Result<Duration> {
        let runs = self.wires.seen()?.answers.between(start, clock::now()).runs();
        let run = runs.into_iter().find(|run| run.responder == of);
        let run = run.with_context(|| format!("{of} did not answer"))?;
        Ok(Duration::from_nanos(run.first).saturating_sub(start))
    }

    /// What the outsider has seen since shortly before `start`: by questions, and by ARP.
    ///
    /// # Errors
    /// When the switches have ended.
    pub(crate) fn seen_since(&mut self, start: Duration) -> Result<(Verdict, Verdict)> {
        let seen = self.wires.seen()?;
        let (start, now) = (start.saturating_sub(LEAD), clock::now());
        let answers = seen.answers.between(start, now).verdict();
        Ok((answers, seen.owners.between(start, now).verdict()))
    }

    /// Demands that one machine took over once, in time, and that there never were two owners; says
    /// how long the service was away.
    ///
    /// # Errors
    /// What was otherwise.
    pub(crate) fn judge(&mut self, start: Duration, limit: Duration) -> Result<String> {
        let (answers, owners) = self.seen_since(start)?;
        let [change] = &answers.changes[..] else {
            return self.explain(Err(anyhow::anyhow!("not one takeover: {:?}", answers.changes)));
        };
        let away = Duration::from_secs_f64(change.milliseconds / 1000.0);
        let outcome = (|| {
            ensure!(
                answers.answered_twice == 0,
                "{} questions had two answers",
                answers.answered_twice
            );
            ensure!(answers.late_answers == 0, "{} answers of the old owner", answers.late_answers);
            ensure!(
                owners.late_answers == 0,
                "{} ARP replies of the old owner",
                owners.late_answers
            );
            // Else nothing was asked: the new one has to say that it has the address.
            ensure!(
                owners.responders.contains(&change.to),
                "{} answers, and ARP replies came from {:?}",
                change.to,
                owners.responders
            );
            ensure!(away <= limit, "away for {} s, not {} s", secs(away), secs(limit));
            Ok(())
        })();
        self.explain(outcome)?;
        Ok(format!(
            "{} to {} in {} s (at most {} s), {} questions, never two answers",
            change.from,
            change.to,
            secs(away),
            secs(limit),
            answers.sent
        ))
    }

    /// Demands that nothing moved or was started again, that there was one owner, and that it was never
    /// silent for longer than `silence`; the longest time that it was, in milliseconds.
    ///
    /// # Errors
    /// What was otherwise.
    pub(crate) fn demand_quiet(&mut self, start: Duration, silence: Duration) -> Result<f64> {
        let (answers, owners) = self.seen_since(start)?;
        let outcome = (|| {
            ensure!(answers.changes.is_empty(), "the service moved: {:?}", answers.changes);
            ensure!(answers.responders.len() == 1, "answered by {:?}", answers.responders);
            ensure!(owners.responders == answers.responders, "by ARP at {:?}", owners.responders);
            let processes = answers.pids.values().flatten().count();
            ensure!(processes == 1, "the service was started again: processes {:?}", answers.pids);
            ensure!(
                answers.answered_twice == 0,
                "{} questions had two answers",
                answers.answered_twice
            );
            let gap = answers.longest_gap.context("nothing was asked")?.milliseconds;
            ensure!(
                gap <= clock::milliseconds(silence),
                "{gap:.0} ms without an answer, not {} s",
                secs(silence)
            );
            Ok(gap)
        })();
        self.explain(outcome)
    }

    /// Adds what the machines say to an error.
    ///
    /// # Errors
    /// The one given.
    pub(crate) fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            let tails = self.machines.iter().map(|machine| {
                format!("  {} says:\n{}", machine.name(), machine.console().tail(14))
            });
            error.context(tails.collect::<String>())
        })
    }
}

/// How long `mainstay status` may take there.
const STATUS: Duration = Duration::from_secs(30);

/// Seconds with two digits.
pub(crate) fn secs(length: Duration) -> String {
    format!("{:.2}", length.as_secs_f64())
}

fn configuration(names: &[String], wish: &Wish) -> Cluster {
    let address = format!("{SERVICE_ADDRESS}/24");
    let command = ["/bin/mainstay", "lab", "responder", "--port", &responder::PORT.to_string()];
    let service = Service {
        name: SERVICE.to_owned(),
        nodes: names[..usize::from(wish.runners)].to_vec(),
        head: wish.service.to_owned(),
        resources: vec![
            Resource::Address { name: "ip".to_owned(), address },
            Resource::Process {
                name: "server".to_owned(),
                command: command.map(str::to_owned).to_vec(),
            },
        ],
    };
    let times = TIMES.to_owned();
    Cluster {
        services: vec![service],
        times,
        // The service is the last table but those of the tail: what follows is part of it.
        tail: format!("{}{}", wish.resources, wish.tail),
        ..Cluster::new(DETECTION)
    }
}

/// A random key, as the file has it.
fn key() -> Result<String> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut bytes = [0u8; 32];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("a random key")?;
    Ok(format!("{}\n", bytes.map(|byte| format!("{byte:02x}")).concat()))
}

fn files(name: &str, id: u8, wish: &Wish, cluster: &str, key: &str) -> Vec<DiskFile> {
    let script = format!("{}{}\nsupervise\n", (wish.interfaces)(id), (wish.before)(id));
    let file =
        |path: &str, permissions, content: &str| (path.to_owned(), permissions, content.to_owned());
    vec![
        file("name", 0o644, name),
        file("machine.sh", 0o755, &script),
        file("etc/mainstay/cluster.toml", 0o644, cluster),
        file("etc/mainstay/node", 0o644, &format!("{name}\n")),
        file("etc/mainstay/key", 0o600, key),
    ]
}

fn plan(bench: &Bench, name: &str, id: u8, wish: &Wish, disk: PathBuf) -> Plan {
    let cards = (0..).zip(wish.cards).map(|(at, _)| Card {
        socket: wire::socket(&bench.sockets, name, usize::from(at)),
        hardware: spec::hardware(at, id),
    });
    Plan {
        name: name.to_owned(),
        kernel: bench.kernel.image.clone(),
        image: bench.image.clone(),
        kernel_words: format!("panic={}", wish.panic),
        cards: cards.collect(),
        disk,
        sockets: bench.sockets.clone(),
        logs: bench.logs.clone(),
    }
}
