//! Stop before start, two nodes: the time rule behind a watchdog.
//!
//! The *holder* runs a service; the *survivor* wants to run it as soon as that is safe. Nothing
//! tells the survivor that the holder has stopped, so it counts: the holder's watchdog is patted
//! only while the newest own stamp that the survivor echoed is at most `freshness` old, and resets
//! the machine `watchdog` after the last pat. A stamp cannot be echoed before it was heard.
//! So the holder is down at the latest `watchdog + freshness` after the survivor last heard it,
//! and the survivor waits that long, counted from its own last reception, plus what the two clocks
//! may be wrong by: `F = watchdog + freshness + 2 drift`.
//!
//! Modelled: discrete real time; a local clock per node that may gain or lose a bounded number of
//! ticks; heartbeats and echoes that are lost, late or reordered (what was sent may arrive at any
//! later moment, or never); a daemon of the holder that stops at any point, also between its last
//! look at the evidence and the start of the service; a watchdog that nothing can stop; and one
//! decision, taken once, that either node may ask for.
//!
//! More nodes, several views, and a guard instead of a watchdog: [`crate::lease`].

use crate::explore::SAFE;
use crate::walk::Swarm;
use stateright::{Model, Property};

/// The names of all mutants, for command lines.
pub const MUTANTS: [(&str, Mutant); 6] = [
    ("lease-from-reception", Mutant::LeaseFromReception),
    ("no-wait", Mutant::NoWait),
    ("pat-without-evidence", Mutant::PatWithoutEvidence),
    ("watchdog-armed-after-start", Mutant::WatchdogArmedAfterStart),
    ("watchdog-pauses-with-machine", Mutant::WatchdogPausesWithMachine),
    ("echo-after-promise", Mutant::EchoAfterPromise),
];

/// One rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// An echo counts as of its reception, not as of the stamp in it.
    LeaseFromReception,
    /// The survivor starts as soon as it has won the decision.
    NoWait,
    /// The watchdog is patted without a look at the evidence.
    PatWithoutEvidence,
    /// The service starts first, then the watchdog is armed.
    WatchdogArmedAfterStart,
    /// The watchdog stands still with the machine, as in a virtual machine that is paused.
    WatchdogPausesWithMachine,
    /// The survivor goes on echoing after it has promised to go on alone.
    EchoAfterPromise,
}

/// The parameters of the rule, in ticks.
#[derive(Clone, Debug)]
pub struct Fence {
    /// Real time at which the model ends; at most 8, so that stamps fit in a word.
    pub horizon: u8,
    /// The watchdog resets the machine this long after the last pat.
    pub watchdog: u8,
    /// Evidence older than this does not pat the watchdog.
    pub freshness: u8,
    /// The wait, from the survivor's last reception, on the survivor's clock.
    pub wait: u8,
    /// How many ticks each clock may gain or lose in all.
    pub drift: u8,
    /// The broken rule, if any.
    pub mutant: Option<Mutant>,
}

/// Who goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Nobody has asked yet.
    Open,
    /// The holder.
    Holder,
    /// The survivor.
    Survivor,
}

/// Both nodes, the network and the watchdog at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Real time.
    time: u8,
    /// Local clocks and how far they may still go wrong: holder, survivor.
    clocks: [u8; 2],
    drift_left: [u8; 2],
    /// Stamps that the holder sent, one bit each.
    stamps: u16,
    /// Stamps that the survivor echoed.
    echoes: u16,
    /// May the holder, the survivor still send in this tick?
    may_send: [bool; 2],
    /// The newest stamp that the survivor heard, and when (survivor's clock).
    heard: Option<u8>,
    heard_at: u8,
    /// The newest own stamp whose echo reached the holder.
    evidence: u8,
    /// The last pat (real time); none if not armed.
    pat: Option<u8>,
    /// The holder has checked its evidence and is about to start the service.
    starting: bool,
    holder_runs: bool,
    survivor_runs: bool,
    holder_paused: bool,
    holder_reset: bool,
    /// The survivor has promised, so it neither echoes nor counts receptions.
    promised: bool,
    decision: Decision,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Real time goes on by one; each clock by 0, 1 or 2.
    Tick([u8; 2]),
    /// The holder sends a heartbeat with a stamp of now.
    SendStamp,
    /// The survivor sends a heartbeat that echoes the newest stamp it heard.
    SendEcho,
    /// A heartbeat with this stamp reaches the survivor.
    HearStamp(u8),
    /// A heartbeat that echoes this stamp reaches the holder.
    HearEcho(u8),
    /// The holder's daemon stops running.
    Pause,
    /// It runs again.
    Resume,
    /// The holder pats the watchdog.
    Pat,
    /// The holder finds its evidence fresh and arms the watchdog.
    Check,
    /// The holder starts what it checked for.
    Start,
    /// The holder stops the service.
    Stop,
    /// One of the nodes asks for the decision.
    Claim(Decision),
    /// The survivor starts the service.
    TakeOver,
}

const HOLDER: usize = 0;
const SURVIVOR: usize = 1;

fn stamps_after(sent: u16, newest: Option<u8>) -> impl Iterator<Item = u8> {
    (0..16u8).filter(move |stamp| sent >> stamp & 1 == 1 && newest.is_none_or(|n| *stamp > n))
}

impl Fence {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn tick(&self, state: &mut State, steps: [u8; 2]) {
        state.time += 1;
        for node in [HOLDER, SURVIVOR] {
            state.clocks[node] += steps[node];
            state.drift_left[node] -= steps[node].abs_diff(1);
        }
        state.may_send = [true; 2];
        if self.is(Mutant::WatchdogPausesWithMachine) && state.holder_paused {
            state.pat = state.pat.map(|pat| pat + 1);
        }
        if state.pat.is_some_and(|pat| state.time - pat >= self.watchdog) {
            state.holder_runs = false;
            state.starting = false;
            state.holder_reset = true;
            state.pat = None;
        }
    }

    fn holder_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.may_send[HOLDER] {
            actions.push(Action::SendStamp);
        }
        actions.extend(stamps_after(state.echoes, Some(state.evidence)).map(Action::HearEcho));
        actions.push(Action::Pause);
        // A node that was decided to go on alone needs no echo. Only a win is ever learned here.
        let fresh = state.clocks[HOLDER].saturating_sub(state.evidence) <= self.freshness
            || state.decision == Decision::Holder
            || self.is(Mutant::PatWithoutEvidence);
        let busy = state.holder_runs || state.starting;
        if fresh {
            actions.push(if busy { Action::Pat } else { Action::Check });
        }
        if state.starting {
            actions.push(Action::Start);
        }
        if state.holder_runs {
            actions.push(Action::Stop);
        }
        if state.decision == Decision::Open {
            actions.push(Action::Claim(Decision::Holder));
        }
    }

    fn survivor_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.may_send[SURVIVOR] && !state.promised && state.heard.is_some() {
            actions.push(Action::SendEcho);
        }
        actions.extend(stamps_after(state.stamps, state.heard).map(Action::HearStamp));
        if state.decision == Decision::Open {
            actions.push(Action::Claim(Decision::Survivor));
        }
        let waited = state.clocks[SURVIVOR] - state.heard_at >= self.wait;
        if state.decision == Decision::Survivor
            && !state.survivor_runs
            && (waited || self.is(Mutant::NoWait))
        {
            actions.push(Action::TakeOver);
        }
    }
}

impl Model for Fence {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        assert!(self.horizon <= 8 && self.horizon + self.drift < 16, "stamps are bits of a word");
        vec![State {
            time: 0,
            clocks: [0; 2],
            drift_left: [self.drift; 2],
            stamps: 1,
            echoes: 0,
            may_send: [false, true],
            heard: None,
            heard_at: 0,
            evidence: 0,
            pat: None,
            starting: false,
            holder_runs: false,
            survivor_runs: false,
            holder_paused: false,
            holder_reset: false,
            promised: false,
            decision: Decision::Open,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.time < self.horizon {
            for holder in 0..=2u8 {
                for survivor in 0..=2u8 {
                    if holder.abs_diff(1) <= state.drift_left[HOLDER]
                        && survivor.abs_diff(1) <= state.drift_left[SURVIVOR]
                    {
                        actions.push(Action::Tick([holder, survivor]));
                    }
                }
            }
        }
        if !state.holder_reset {
            if state.holder_paused {
                actions.push(Action::Resume);
            } else {
                self.holder_actions(state, actions);
            }
        }
        self.survivor_actions(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Tick(steps) => self.tick(&mut state, steps),
            Action::SendStamp => {
                state.may_send[HOLDER] = false;
                state.stamps |= 1 << state.clocks[HOLDER];
            }
            Action::SendEcho => {
                state.may_send[SURVIVOR] = false;
                state.echoes |= 1 << state.heard?;
            }
            Action::HearStamp(stamp) => {
                state.heard = Some(stamp);
                if !state.promised {
                    state.heard_at = state.clocks[SURVIVOR];
                }
            }
            Action::HearEcho(stamp) => {
                let reception = self.is(Mutant::LeaseFromReception);
                state.evidence = if reception { state.clocks[HOLDER] } else { stamp };
            }
            Action::Pause => state.holder_paused = true,
            Action::Resume => state.holder_paused = false,
            Action::Pat => state.pat = Some(state.time),
            Action::Check => {
                state.starting = true;
                if !self.is(Mutant::WatchdogArmedAfterStart) {
                    state.pat = Some(state.time);
                }
            }
            Action::Start => {
                state.starting = false;
                state.holder_runs = true;
                if self.is(Mutant::WatchdogArmedAfterStart) {
                    state.pat = Some(state.time);
                }
            }
            Action::Stop => {
                state.holder_runs = false;
                state.pat = None;
            }
            Action::Claim(winner) => {
                state.decision = winner;
                state.promised = winner == Decision::Survivor && !self.is(Mutant::EchoAfterPromise);
            }
            Action::TakeOver => state.survivor_runs = true,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE, |model: &Fence, state| model.violation(state).is_none()),
            Property::sometimes("the holder runs the service", |_, state: &State| {
                state.holder_runs
            }),
            Property::sometimes("take-over from a holder that was reset", |_, state: &State| {
                state.survivor_runs && state.holder_reset
            }),
        ]
    }
}

impl Swarm for Fence {
    fn habits(&self) -> usize {
        13
    }

    fn habit(&self, action: &Action) -> usize {
        match action {
            Action::Tick(_) => 0,
            Action::SendStamp => 1,
            Action::SendEcho => 2,
            Action::HearStamp(_) => 3,
            Action::HearEcho(_) => 4,
            Action::Pause => 5,
            Action::Resume => 6,
            Action::Pat => 7,
            Action::Check => 8,
            Action::Start => 9,
            Action::Stop => 10,
            Action::Claim(_) => 11,
            Action::TakeOver => 12,
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        (state.holder_runs && state.survivor_runs)
            .then_some("two nodes run the service at the same instant")
    }

    fn milestones(&self) -> &'static [&'static str] {
        &["the holder runs the service", "take-over from a holder that was reset"]
    }

    fn reached(&self, _before: &State, _action: &Action, after: &State) -> u32 {
        u32::from(after.holder_runs) | u32::from(after.survivor_runs && after.holder_reset) << 1
    }
}
