//! Hooks: programs of the administrator, run before and after events of networks.
//!
//! Nothing here runs on the loop. Each hook after an event has a thread (a lane) that takes the events one after the other, so it
//! never runs twice at a time and sees them in their order; what comes while too many wait is left out, and that is said. A switch
//! that has hooks before it gets a thread of its own that runs them in the file's order, so those of two networks may run
//! beside each other; the loop holds
//! the switch back meanwhile, and gives up waiting by its own clock, whatever became of that thread.

mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use api::v1::{self, EventLevel};
use base::Instant;
use network::Input as NetworkInput;
use node::{Event, EventKind, Input};
use os::event;

use super::Done;
use super::addresses::Request;
use super::drive::Daemon;
use crate::config::hook::When;
use crate::config::{Cluster, Hook, duration};
use run::{Ended, Run, Runner};

/// Events that wait for one hook.
const WAITING_MAX: usize = 16;
/// How long the end of what runs is waited for at the end of the daemon.
const END_MAX: Duration = Duration::from_secs(2);
const STACK_SIZE: usize = 256 << 10;

/// How one run ended, for the loop.
#[derive(Debug)]
pub(super) struct Report {
    hook: String,
    /// It ran on the lane of its hook, and not on the thread of a switch.
    is_lane: bool,
    occasion: String,
    ended: Ended,
}

/// A switch that waits for its hooks.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) operation: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) addresses: Vec<(std::net::IpAddr, u8)>,
    pub(super) net: String,
    pub(super) why: String,
}

struct Held {
    switch: Switch,
    /// Nobody waits for longer.
    until: Instant,
    /// The interface that the addresses leave did not work.
    was_failing: bool,
    /// Hooks that have not begun are not run any more.
    called_off: Arc<AtomicBool>,
}

struct Lane {
    runs: Sender<Run>,
    /// Handed over and not reported.
    waiting: usize,
    left_out: u64,
}

#[derive(Default)]
struct Counts {
    good: u64,
    bad: u64,
    left_out: u64,
}

/// What this node does about hooks.
pub(super) struct Hooks {
    /// The name of the control groups.
    tree: String,
    /// None until there is a hook.
    runner: Option<Runner>,
    lanes: BTreeMap<String, Lane>,
    held: BTreeMap<u64, Held>,
    /// What came of the newest run, of hooks that failed then.
    failing: BTreeMap<String, String>,
    counts: Counts,
    done: event::Sender<Done>,
    /// Each thread has one of these: at the end it shows whether any is left.
    alive: Sender<()>,
    over: Receiver<()>,
}

impl Hooks {
    pub(super) fn new(tree: &str, done: event::Sender<Done>) -> Hooks {
        let (alive, over) = channel();
        Hooks {
            // Beside the services: a hook must not look like a part of one.
            tree: format!("{tree}-hooks"),
            runner: None,
            lanes: BTreeMap::new(),
            held: BTreeMap::new(),
            failing: BTreeMap::new(),
            counts: Counts::default(),
            done,
            alive,
            over,
        }
    }

    /// When to stop waiting for the hooks of a switch.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// Other hooks are configured.
    ///
    /// # Errors
    /// When the first of them cannot be prepared for: no thread.
    fn configure(&mut self, hooks: &[Hook]) -> std::io::Result<()> {
        let is_there = |name: &String| hooks.iter().any(|hook| hook.name == *name);
        self.lanes.retain(|name, lane| is_there(name) || lane.waiting > 0);
        self.failing.retain(|name, _| is_there(name));
        if hooks.is_empty() || self.runner.is_some() {
            return Ok(());
        }
        let runner = self.runner.insert(Runner::new(&self.tree)).clone();
        let (done, alive) = (self.done.clone(), self.alive.clone());
        let work = move || {
            let _alive = alive;
            if let Err(reason) = runner.open() {
                // The loop has gone when the process is ending.
                let _ending = done.send_waiting(Done::Trouble(reason));
            }
        };
        thread().spawn(work).map(drop)
    }

    /// Hands an event to the lane of a hook; what there is to say when it does not fit.
    fn hand_over(&mut self, run: Run) -> Result<(), String> {
        let name = run.hook.name.clone();
        let lane = match self.lanes.get_mut(&name) {
            Some(lane) => lane,
            None => {
                let lane = self.start_lane().map_err(|error| {
                    format!("hook {name} {}: cannot be run: no thread: {error}", run.occasion)
                })?;
                self.lanes.entry(name.clone()).or_insert(lane)
            }
        };
        if lane.waiting >= WAITING_MAX {
            lane.left_out += 1;
            self.counts.left_out += 1;
            return match lane.left_out {
                1 => Err(format!(
                    "hook {name} {}: left out, and so is what follows: it is busy, and {} \
                     events wait for it",
                    run.occasion,
                    WAITING_MAX - 1
                )),
                _ => Ok(()),
            };
        }
        lane.runs.send(run).expect("a lane lives as long as its queue");
        lane.waiting += 1;
        Ok(())
    }

    fn start_lane(&self) -> std::io::Result<Lane> {
        let (sender, runs) = channel::<Run>();
        let runner = self.runner.clone().expect("there is a hook");
        let (done, alive) = (self.done.clone(), self.alive.clone());
        let work = move || {
            let _alive = alive;
            while let Ok(run) = runs.recv() {
                report(&runner, &run, true, &done);
            }
        };
        thread().spawn(work)?;
        Ok(Lane { runs: sender, waiting: 0, left_out: 0 })
    }

    /// Runs the hooks before a switch on a thread of their own.
    fn start_before(
        &self,
        operation: u64,
        runs: Vec<Run>,
        called_off: Arc<AtomicBool>,
    ) -> std::io::Result<()> {
        let runner = self.runner.clone().expect("there is a hook");
        let (done, alive) = (self.done.clone(), self.alive.clone());
        let work = move || {
            let _alive = alive;
            for run in runs {
                // What it was to be before has happened, or will not.
                if called_off.load(Ordering::Acquire) {
                    return;
                }
                report(&runner, &run, false, &done);
            }
            // The loop has gone when the process is ending.
            let _ending = done.send_waiting(Done::HooksOver { operation });
        };
        thread().spawn(work).map(drop)
    }

    /// Takes note of how a run ended; what there is to say besides.
    fn note(&mut self, report: &Report, is_configured: bool) -> Option<String> {
        let name = &report.hook;
        match report.ended.is_good() {
            true => {
                self.counts.good += 1;
                self.failing.remove(name);
            }
            false => {
                self.counts.bad += 1;
                let failed = format!("{}: {}", report.occasion, report.ended.sentence());
                if is_configured {
                    self.failing.insert(name.clone(), failed);
                }
            }
        }
        let lane = self.lanes.get_mut(name).filter(|_| report.is_lane)?;
        lane.waiting -= 1;
        let left_out = std::mem::take(&mut lane.left_out);
        if lane.waiting == 0 && !is_configured {
            self.lanes.remove(name);
        }
        (left_out > 0).then(|| format!("hook {name}: {left_out} events were left out meanwhile"))
    }

    /// Ends what runs; how many that were, and whether all of them are gone.
    fn end(&mut self) -> (usize, bool) {
        let lanes = std::mem::take(&mut self.lanes);
        let running = self.held.len() + lanes.values().filter(|lane| lane.waiting > 0).count();
        drop(lanes);
        let Some(runner) = self.runner.take() else { return (0, true) };
        runner.stop();
        // Of a thread that is gone the sender is as well; ours goes here.
        self.alive = channel().0;
        let are_gone = self.over.recv_timeout(END_MAX) == Err(RecvTimeoutError::Disconnected);
        // What does not end keeps its group, and the next life of the daemon sees to that.
        let is_gone = runner.dissolve().is_ok();
        (running, are_gone && is_gone)
    }
}

fn thread() -> std::thread::Builder {
    std::thread::Builder::new().name("hook".into()).stack_size(STACK_SIZE)
}

fn report(runner: &Runner, run: &Run, is_lane: bool, done: &event::Sender<Done>) {
    let ended = runner.run(run);
    let (hook, occasion) = (run.hook.name.clone(), run.occasion.clone());
    // The loop has gone when the process is ending.
    let _ending = done.send_waiting(Done::Hook(Report { hook, is_lane, occasion, ended }));
}

/// What a hook is told of an event.
#[derive(Debug, Default)]
struct Told {
    variables: Vec<(&'static str, String)>,
}

impl Told {
    /// A variable, where there is something to be said.
    fn say(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.variables.push((name, value));
        }
    }

    /// What an event says to programs.
    fn of(event: &Event, cluster: &Cluster) -> Told {
        let mut told = Told::default();
        let about = &event.about;
        let interface = about.interface.as_ref().or(about.from.as_ref());
        told.say("MAINSTAY_INTERFACE", interface.cloned().unwrap_or_default());
        told.say("MAINSTAY_TO_INTERFACE", about.to.clone().unwrap_or_default());
        told.say("MAINSTAY_ADDRESSES", listed(about.addresses.iter()));
        told.say("MAINSTAY_REASON", about.why.clone().unwrap_or_default());
        told.say("MAINSTAY_TEXT", event.sentence.clone());
        match event.kind {
            EventKind::NetworkDown => {
                let scope = if about.nodes.is_empty() { "global" } else { "local" };
                told.say("MAINSTAY_SCOPE", scope);
                let names = about.nodes.iter().map(|node| cluster.name_of(*node));
                told.say("MAINSTAY_NODES", listed(names));
            }
            EventKind::SwapAdapter => {
                let result = if about.failure.is_some() { "failed" } else { "done" };
                told.say("MAINSTAY_RESULT", result);
                told.say("MAINSTAY_FAILURE", about.failure.clone().unwrap_or_default());
            }
            _ => {}
        }
        told
    }
}

fn listed(words: impl Iterator<Item = impl ToString>) -> String {
    words.map(|word| word.to_string()).collect::<Vec<_>>().join(" ")
}

impl Daemon {
    /// The configuration may have other hooks than before.
    pub(super) fn mind_hooks(&mut self) {
        if let Err(error) = self.hooks.configure(&self.cluster.hooks) {
            // The first run does the same.
            self.journal.say(&format!("what hooks left is not looked for yet: no thread: {error}"));
        }
    }

    fn run_of(&self, hook: &Hook, kind: EventKind, net: &str, told: &Told) -> Run {
        let mut environment = vec![
            ("MAINSTAY_HOOK", hook.name.clone()),
            ("MAINSTAY_EVENT", kind.name().to_owned()),
            ("MAINSTAY_WHEN", hook.when.name().to_owned()),
            ("MAINSTAY_CLUSTER", self.cluster.name.clone()),
            ("MAINSTAY_NODE", self.cluster.name_of(self.node.local().node)),
            ("MAINSTAY_NETWORK", net.to_owned()),
            ("MAINSTAY_ROOT", self.root.directory().display().to_string()),
        ];
        environment.extend(told.variables.iter().cloned());
        let occasion = format!("{} {} of {net}", hook.when.name(), kind.name());
        Run { hook: hook.clone(), environment, occasion }
    }

    /// Something happened: the hooks after it.
    pub(super) fn run_hooks(&mut self, event: &Event) {
        let Some(net) = &event.about.network else { return };
        let mut hooks = self.cluster.hooks_of(event.kind, When::After, net).peekable();
        if hooks.peek().is_none() {
            return;
        }
        let told = Told::of(event, &self.cluster);
        let runs: Vec<Run> = hooks.map(|hook| self.run_of(hook, event.kind, net, &told)).collect();
        for run in runs {
            if let Err(said) = self.hooks.hand_over(run) {
                self.record_hook(EventLevel::Warning, &said);
            }
        }
    }

    /// Has the addresses of this node go to another interface, after the hooks before that.
    pub(super) fn switch(&mut self, switch: Switch) {
        let waits = self.cluster.switch_waits(&switch.net);
        let Some(waits) = waits else { return self.switch_now(switch) };
        let mut told = Told::default();
        let name = |index: u32| {
            let interfaces = self.node.network().interfaces();
            let interface = interfaces.iter().find(|interface| interface.index == index);
            interface.map_or_else(String::new, |interface| interface.name.clone())
        };
        told.say("MAINSTAY_INTERFACE", name(switch.from));
        told.say("MAINSTAY_TO_INTERFACE", name(switch.to));
        told.say("MAINSTAY_ADDRESSES", listed(switch.addresses.iter().map(|(address, _)| address)));
        told.say("MAINSTAY_REASON", switch.why.clone());
        let kind = EventKind::SwapAdapter;
        let hooks = self.cluster.hooks_of(kind, When::Before, &switch.net);
        let runs = hooks.map(|hook| self.run_of(hook, kind, &switch.net, &told)).collect();
        let called_off = Arc::new(AtomicBool::new(false));
        let started = self.hooks.start_before(switch.operation, runs, called_off.clone());
        if let Err(error) = started {
            let said = format!(
                "hooks before swap_adapter of {}: cannot be run: no thread: {error}; the addresses go all the same",
                switch.net
            );
            self.record_hook(EventLevel::Warning, &said);
            return self.switch_now(switch);
        }
        let until = os::clock::boottime() + waits;
        let was_failing = self.interface_trouble(switch.from).is_some();
        let held = Held { switch, until, was_failing, called_off };
        self.hooks.held.insert(held.switch.operation, held);
    }

    fn switch_now(&mut self, switch: Switch) {
        let Switch { operation, from, to, addresses, .. } = switch;
        self.request(Request::Switch { operation, from, to, addresses });
    }

    /// The hooks before a switch are over, or it has waited for long enough.
    pub(super) fn hooks_over(&mut self, operation: u64) {
        let Some(held) = self.hooks.held.remove(&operation) else { return };
        held.called_off.store(true, Ordering::Release);
        let why_not = self.is_pointless(&held);
        let switch = held.switch;
        // The network was taken out of the configuration meanwhile.
        if !self.node.is_switching(operation) {
            return;
        }
        match why_not {
            None => self.switch_now(switch),
            // The hooks took their time, and it is another situation by now: the core looks again.
            Some(trouble) => {
                let result = Err(trouble.into());
                self.feed(Input::Network(NetworkInput::Done { operation, result }));
            }
        }
    }

    /// What an interface has, if anything.
    fn interface_trouble(&self, index: u32) -> Option<String> {
        let interfaces = self.node.network().interfaces();
        match interfaces.iter().find(|interface| interface.index == index) {
            None => Some("the interface is gone".to_owned()),
            Some(one) => one.trouble().map(|trouble| format!("{} {trouble}", one.name)),
        }
    }

    /// Why a switch that waits for its hooks is not what is needed any more.
    fn is_pointless(&self, held: &Held) -> Option<String> {
        let works_again = held.was_failing && self.interface_trouble(held.switch.from).is_none();
        let works_again = works_again.then(|| "the interface works again".to_owned());
        self.interface_trouble(held.switch.to).or(works_again)
    }

    /// There is a new picture: what is not needed any more does not wait for its hooks.
    pub(super) fn mind_held(&mut self) {
        let held = self.hooks.held.iter();
        let pointless = held.filter(|(_, held)| self.is_pointless(held).is_some());
        let pointless: Vec<u64> = pointless.map(|(operation, _)| *operation).collect();
        for operation in pointless {
            self.hooks_over(operation);
        }
    }

    /// Lets go what has waited for its hooks for too long.
    pub(super) fn give_up_hooks(&mut self) {
        let now = os::clock::boottime();
        let held = self.hooks.held.iter().filter(|(_, held)| held.until <= now);
        let late: Vec<(u64, String)> =
            held.map(|(operation, held)| (*operation, held.switch.net.clone())).collect();
        for (operation, net) in late {
            let said = format!(
                "hooks before swap_adapter of {net}: they did not come to an end in time, and the addresses \
                 go without them"
            );
            self.record_hook(EventLevel::Warning, &said);
            self.hooks_over(operation);
        }
    }

    /// A hook has ended, or was ended.
    pub(super) fn hook_ended(&mut self, report: Report) {
        let is_configured = self.cluster.hooks.iter().any(|hook| hook.name == report.hook);
        let left_out = self.hooks.note(&report, is_configured);
        let Report { hook, is_lane, occasion, ended } = report;
        let (level, note) = match (ended.is_good(), is_lane) {
            (true, _) => (EventLevel::Info, ""),
            (false, true) => (EventLevel::Warning, ""),
            (false, false) => (EventLevel::Warning, "; the addresses go all the same"),
        };
        self.record_hook(level, &format!("hook {hook} {occasion}: {}{note}", ended.sentence()));
        if let Some(said) = left_out {
            self.record_hook(EventLevel::Warning, &said);
        }
    }

    fn record_hook(&mut self, level: EventLevel, text: &str) {
        let node = self.cluster.name_of(self.node.local().node);
        self.journal.hook(node, level, text, &self.inbox);
    }

    /// What `status` has to say.
    pub(super) fn hook_warnings(&self) -> Vec<String> {
        let failing = self.hooks.failing.iter();
        let failing = failing.map(|(name, failed)| format!("hook {name} {failed}"));
        let busy = self.hooks.lanes.iter().filter(|(_, lane)| lane.left_out > 0);
        let busy = busy.map(|(name, lane)| {
            format!("hook {name} is busy: {} events were left out", lane.left_out)
        });
        failing.chain(busy).collect()
    }

    pub(super) fn hook_counters(&self) -> Vec<v1::Counter> {
        let Counts { good, bad, left_out } = self.hooks.counts;
        let all = [
            ("hooks_done", good, "Runs of hooks that ended with 0."),
            ("hooks_failed", bad, "Runs of hooks that ended otherwise, or were killed."),
            ("hooks_left_out", left_out, "Events for which a hook was not run: it was busy."),
        ];
        let counted = all.into_iter().filter(|(_, value, _)| *value > 0);
        counted
            .map(|(name, value, text)| v1::Counter {
                name: name.to_owned(),
                value,
                text: text.to_owned(),
            })
            .collect()
    }

    /// This daemon ends. The loop is over, so it may wait.
    pub(super) fn end_hooks(&mut self) {
        match self.hooks.end() {
            (0, true) => {}
            (running, true) => {
                self.journal.say(&format!("{running} hooks that were running are ended"));
            }
            (_, false) => {
                let within = duration::format(END_MAX);
                let said = format!("hooks are still there {within} after they were killed");
                self.journal.say(&said);
            }
        }
    }
}

#[cfg(test)]
mod tests;
