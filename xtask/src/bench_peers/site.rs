//! One product's lab: it waits for orders on its standard input and answers on its standard output,
//! a line of JSON each. When the orders end, the lab ends, and with it everything that runs there.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::cluster::SERVICE_ADDRESS;
use lab::{Card, Lab, Mode, Probe, Spec, clock, responder, scene, wait};
use serde::{Deserialize, Serialize};

use super::addresses::logs;
use super::product::{Installed, Product, demand};
use super::usage::{self, Usage};

/// Until a cluster has formed, or is whole again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// For how long nothing may have changed before the next fault.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two looks at a product, which may cost it a program.
const STEP: Duration = Duration::from_millis(250);
/// How long after a takeover the cut is healed: the node that was cut off has noticed by then.
const CUT_OFF: Duration = Duration::from_secs(3);
/// An answer older than this does not tell who has the address.
const FRESH: Duration = Duration::from_millis(300);
/// A part begins so much before the fault: the gap counts from the last answer before it.
const LEAD: Duration = Duration::from_millis(100);

/// Answers that were on their way when a cable was pulled are there after this time.
const ON_ITS_WAY: Duration = Duration::from_millis(50);
/// The card through which the client reaches a node.
const CLIENT_CARD: &str = "net0";

/// Faults come at different places within a second: without this they would keep the step of the
/// product's own heartbeats, because the repair before them did. The golden ratio spreads any number
/// of them evenly.
const PHASE: (u64, u64) = (618, 1000);

/// What to do to a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fault {
    /// Cut all networks of the node that has the address; heal after another has it.
    Cut,
    /// Pull the cable of that node's card in the client's network; it has another one there.
    Cable,
    /// Move the address gracefully.
    Move,
}

impl Fault {
    /// In a few words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "all networks cut",
            Self::Cable => "one cable pulled",
            Self::Move => "graceful move",
        }
    }
}

/// What a lab is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Do nothing for so long and say what that cost.
    Idle {
        /// For how long.
        seconds: u32,
    },
    /// Measure one fault.
    Measure {
        /// Which.
        fault: Fault,
    },
}

/// What a lab says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The cluster has formed and is quiet.
    Ready {
        /// From the start of the first daemon on.
        seconds: f64,
    },
    /// The cost of doing nothing, by node.
    Idle(Vec<Usage>),
    /// What the client saw of a fault.
    Gap(Gap),
    /// It could not be measured.
    Failed {
        /// Why not.
        why: String,
    },
}

/// What the client saw of one fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// From the last answer before the fault to the first one after it.
    pub milliseconds: f64,
    /// The node that gave the former.
    pub from: String,
    /// The node that gave the latter: the same one where the address only changed its card.
    pub to: String,
    /// Answers of a node after another had begun to answer: a second owner.
    pub late: u64,
    /// Changes after the first one: the address moved again when the cluster was repaired.
    pub again: usize,
    /// What became of a TCP connection that was open meanwhile; of a pulled cable only.
    pub stream: Option<Connection>,
}

/// What became of a TCP connection whose every byte is checked ([`lab::stream`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// It went on to the end, and every byte came back right.
    pub is_exact: bool,
    /// The longest time in which nothing came back.
    pub pause_ms: f64,
}

impl Gap {
    /// In one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut text = format!("{:.0} ms, {} to {}", self.milliseconds, self.from, self.to);
        if self.again > 0 {
            text += &format!(", then it moved {} more times", self.again);
        }
        if self.late > 0 {
            text += &format!(", {} answers of a node that no longer had it", self.late);
        }
        match self.stream {
            Some(Connection { is_exact: true, pause_ms }) => {
                text += &format!(", TCP went on byte-exact after {pause_ms:.0} ms");
            }
            Some(Connection { is_exact: false, .. }) => text += ", TCP broke",
            None => {}
        }
        text
    }
}

struct Site {
    lab: Lab,
    product: Product,
    installed: Box<dyn Installed>,
    /// Faults so far.
    faults: u64,
}

/// Runs a product's lab until the orders end.
///
/// # Errors
/// When there is no such product or its cluster does not form.
pub fn serve(product: &str, program: &str) -> Result<ExitCode> {
    let product = Product::named(product)?;
    lab::enter()?;
    let start = clock::now();
    let mut site = Site::open(product, Path::new(program))?;
    answer(&Answer::Ready { seconds: (clock::now() - start).as_secs_f64() })?;
    for line in std::io::stdin().lines() {
        let order = serde_json::from_str(&line?).context("an order")?;
        let done = match order {
            Order::Idle { seconds } => site.idle(seconds).map(Answer::Idle),
            Order::Measure { fault } => site.measure(fault).map(Answer::Gap),
        };
        // One line: the causes follow each other.
        answer(&done.unwrap_or_else(|error| Answer::Failed { why: format!("{error:#}") }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(answer: &Answer) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    Ok(out.flush()?)
}

impl Site {
    fn open(product: Product, program: &Path) -> Result<Self> {
        let shape = Spec { program: program.to_owned(), standbys: true, ..Spec::new(3, 2)? };
        let mut lab = Lab::new(shape)?;
        for node in lab.node_names() {
            // Two cards in one switch: else each answers ARP for what the other one has.
            let words = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore"];
            demand(&mut lab, &node, &words)?;
        }
        let port = responder::PORT.to_string();
        let program = program.to_str().context("the program's path is text")?;
        for node in lab.node_names() {
            let words = [program, "lab", "responder", "--name", &node, "--port", &port];
            lab.spawn_in(&node, &words)?;
        }
        let mut site = Self { lab, product, installed: product.install(), faults: 0 };
        site.installed.start(&mut site.lab)?;
        let mut probe = site.probe()?;
        site.wait_until_settled(probe.as_mut())?;
        Ok(site)
    }

    /// The client's question, where there is an address to ask.
    fn probe(&self) -> Result<Option<Probe>> {
        if !self.product.has_address() {
            return Ok(None);
        }
        let mode = Mode::Udp(responder::PORT);
        self.lab.client().probe(SERVICE_ADDRESS.into(), mode, scene::INTERVAL).map(Some)
    }

    /// Waits until product and client agree for a while that all is well; who has the address.
    fn wait_until_settled(&mut self, mut probe: Option<&mut Probe>) -> Result<String> {
        let limit = clock::now() + PATIENCE;
        let mut since: Option<(Duration, String)> = None;
        loop {
            let node = match &mut probe {
                Some(probe) => fresh(probe)?,
                None => Some(String::new()),
            };
            let node = match node {
                Some(node) if self.installed.is_settled(&mut self.lab)? => Some(node),
                _ => None,
            };
            since = match (since.take(), node) {
                (Some((at, old)), Some(node)) if old == node => Some((at, old)),
                (_, Some(node)) => Some((clock::now(), node)),
                (_, None) => None,
            };
            if let Some((at, node)) = &since
                && clock::now() - *at >= SETTLE
            {
                return Ok(node.clone());
            }
            ensure!(
                clock::now() < limit,
                "waited for a whole and quiet cluster\n{}",
                logs(&self.lab)
            );
            clock::pause(STEP);
        }
    }

    /// What nothing costs. The client is silent too.
    fn idle(&mut self, seconds: u32) -> Result<Vec<Usage>> {
        let mut before = Vec::new();
        for node in self.lab.node_names() {
            before.push(usage::ticks(&usage::processes(&mut self.lab, &node)?));
        }
        clock::pause(Duration::from_secs(seconds.into()));
        let mut found = Vec::new();
        for (node, before) in self.lab.node_names().iter().zip(&before) {
            found.push(usage::usage(&usage::processes(&mut self.lab, node)?, before)?);
        }
        Ok(found)
    }

    /// One fault on the node that has the address, and its repair.
    fn measure(&mut self, fault: Fault) -> Result<Gap> {
        let mut probe = self.probe()?.context("there is no address to move")?;
        let from = self.wait_until_settled(Some(&mut probe))?;
        let stream = match fault {
            Fault::Cable => {
                self.wait_until_home(&from)?;
                let port = responder::stream_port(responder::PORT);
                Some(self.lab.client().stream(SERVICE_ADDRESS.into(), port)?)
            }
            Fault::Cut | Fault::Move => None,
        };
        self.faults += 1;
        clock::pause(Duration::from_millis(self.faults * PHASE.0 % PHASE.1));
        let start = clock::now();
        self.inflict(fault, &from)?;
        let (what, is_new) = match fault {
            Fault::Cable => ("an answer".to_owned(), None),
            Fault::Cut | Fault::Move => {
                (format!("another node than {from} to answer"), Some(&from))
            }
        };
        let after = start + ON_ITS_WAY;
        let answer = wait::until(&what, PATIENCE, || {
            let last = probe.last()?.filter(|(_, at)| *at > after || fault != Fault::Cable);
            Ok(last.map(|(node, _)| node).filter(|node| is_new != Some(node)))
        });
        let to = answer.with_context(|| logs(&self.lab))?;
        // Of a cable only the loss is measured, not what a return costs.
        clock::pause(if fault == Fault::Cable { CUT_OFF } else { Duration::ZERO });
        let lost = clock::now();
        let stream = match stream {
            Some(stream) => {
                let carried = stream.finish()?;
                let pause_ms = carried.longest_between(start, lost);
                Some(Connection { is_exact: carried.is_exact(), pause_ms })
            }
            None => None,
        };
        self.repair(fault, &from)?;
        self.wait_until_settled(Some(&mut probe))?;
        let trace = probe.stop()?.between(start.saturating_sub(LEAD), clock::now());
        let verdict = trace.verdict();
        let changes = verdict.changes.len();
        let (milliseconds, moved) = match fault {
            Fault::Cable => {
                let gap = trace.between(start.saturating_sub(LEAD), lost).longest_gap();
                (gap.context("there were no probes")?.milliseconds, usize::from(to != from))
            }
            Fault::Cut | Fault::Move => {
                (verdict.changes.first().context("nothing moved")?.milliseconds, 1)
            }
        };
        let late = if changes <= 1 { verdict.late_answers } else { 0 };
        Ok(Gap { milliseconds, from, to, late, again: changes.saturating_sub(moved), stream })
    }

    /// Waits until the client sends to the card whose cable is to be pulled: after an earlier one the
    /// address may still be on the other card, and nothing would happen.
    fn wait_until_home(&self, owner: &str) -> Result<()> {
        let what = format!("the address to be on {CLIENT_CARD} of {owner}");
        wait::until(&what, PATIENCE, || {
            let told = self.lab.client().neighbour(SERVICE_ADDRESS.into())?;
            let card = told.and_then(Card::of);
            Ok(card.filter(|(node, card)| node == owner && !card.is_standby).map(drop))
        })
        .with_context(|| logs(&self.lab))
    }

    fn cards(&self) -> Vec<String> {
        self.lab.spec().cards().iter().map(ToString::to_string).collect()
    }

    fn inflict(&mut self, fault: Fault, node: &str) -> Result<()> {
        match fault {
            Fault::Move => self.installed.begin_move(&mut self.lab, node),
            Fault::Cut => self.cards().iter().try_for_each(|card| self.lab.cut(node, card)),
            Fault::Cable => self.lab.cut(node, CLIENT_CARD),
        }
    }

    fn repair(&mut self, fault: Fault, node: &str) -> Result<()> {
        match fault {
            Fault::Move => self.installed.end_move(&mut self.lab, node),
            Fault::Cut => {
                clock::pause(CUT_OFF);
                self.cards().iter().try_for_each(|card| self.lab.heal(node, card))
            }
            Fault::Cable => self.lab.heal(node, CLIENT_CARD),
        }
    }
}

/// Who answers now.
fn fresh(probe: &mut Probe) -> Result<Option<String>> {
    let now = clock::now();
    let last = probe.last()?;
    Ok(last.filter(|(_, at)| now.saturating_sub(*at) < FRESH).map(|(node, _)| node))
}
