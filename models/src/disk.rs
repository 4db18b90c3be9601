//! A shared disk as an acceptor: blocks that one node writes and all read.
//!
//! At exactly half of a view the coordinators of both halves ask the same arbiters. A disk cannot
//! answer, so each coordinator plays the acceptor itself (Gafni and Lamport, "Disk Paxos", 2003):
//!
//! ```text
//! promise(b):    write own block: mbal = b            then read all other blocks
//! accept(b, v):  write own block: mbal = bal = b, v   then read all other blocks
//! ```
//!
//! A block with a greater `mbal` than `b` is a refusal; without one, the block with the greatest
//! `bal` is what the acceptor has accepted. That works because of two coordinators that both write
//! first and read then, at least one sees the other. One disk is one acceptor; of three, two must
//! agree, and each is asked on its own.
//!
//! **A second view.** With the first decision the next view exists, and when that falls apart, its halves
//! ask the same blocks. They forget nothing by it: whoever still asks about the first view finds a block of a
//! later one, which is a refusal, and to whoever asks about the second a block of the first is
//! blank. Nobody writes about the second view before the first one is decided.
//!
//! **What is modelled.** Coordinators that stop at any point; writes that take any time, land after their
//! writer has died, or never; writes that tear: a node has two copies of its block and overwrites the
//! older one, so that a torn write leaves what was there before. Reads of one block at a time, in any
//! order. A second view of whom the first decision lets go on; the other one goes on asking about the
//! first view all the while, or dies and comes back: then what was in its memory is gone, what is on the disk
//! is there, and it may only join the next view (a restarted node is no member of the view of its former
//! life). Its first write waits until the last one of its former life has landed or failed: the kernel lets no
//! process end before, nor a daemon forget a question that is on its way.
//!
//! More is allowed than can happen: the second view's survivor asks the disk also while it is alone in it.
//!
//! **What is checked**: of no view two successors are decided, and of the second none that nobody in it
//! stands for.

use crate::explore::SAFE;
use crate::walk::Swarm;
use stateright::{Model, Property};

/// The names of all mutants, for command lines.
pub const MUTANTS: [(&str, Mutant); 10] = [
    ("read-before-write", Mutant::ReadBeforeWrite),
    ("accept-without-reading", Mutant::AcceptWithoutReading),
    ("one-copy", Mutant::OneCopy),
    ("newest-value-ignored", Mutant::NewestValueIgnored),
    ("one-disk-is-enough", Mutant::OneDiskIsEnough),
    ("refusal-ignored", Mutant::RefusalIgnored),
    ("later-view-ignored", Mutant::LaterViewIgnored),
    ("former-view-counts", Mutant::FormerViewCounts),
    ("restarted-goes-on", Mutant::RestartedGoesOn),
    ("former-life-writes", Mutant::FormerLifeWrites),
];

/// One rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The other blocks may be read before the own write has landed.
    ReadBeforeWrite,
    /// After the second write nobody looks whether another one was faster.
    AcceptWithoutReading,
    /// A write overwrites the only copy; torn, it leaves nothing.
    OneCopy,
    /// A coordinator proposes its own value though a block carries another.
    NewestValueIgnored,
    /// Any one disk promises and accepts for all.
    OneDiskIsEnough,
    /// A greater ballot in another block is no refusal.
    RefusalIgnored,
    /// A block about a later view counts as blank.
    LaterViewIgnored,
    /// A block about a former view counts as if it were about this one.
    FormerViewCounts,
    /// A restarted node goes on in the view of its former life, and knows nothing of its own block.
    RestartedGoesOn,
    /// A restarted node does not wait for what its former life was writing.
    FormerLifeWrites,
}

impl Mutant {
    /// Whether it breaks a rule about the second view, so that one view does not show it.
    #[must_use]
    pub fn needs_second_view(self) -> bool {
        matches!(
            self,
            Mutant::LaterViewIgnored
                | Mutant::FormerViewCounts
                | Mutant::RestartedGoesOn
                | Mutant::FormerLifeWrites
        )
    }
}

/// Bounds of the model.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Coordinators: one of each half, or more. At most 4.
    pub coordinators: u8,
    /// Disks: 1 or 3.
    pub disks: u8,
    /// Ballots of each coordinator about the first view.
    pub rounds: u8,
    /// And about the second one; 0: there is none.
    pub second: u8,
    /// How many coordinators may come back after they died.
    pub restarts: u8,
    /// The broken rule, if any.
    pub mutant: Option<Mutant>,
}

/// Number of a ballot, from 1; ballot `b` belongs to coordinator `(b - 1) % coordinators`.
pub type Ballot = u8;

/// The coordinator that stands for it, and above two bits the view whose successor it is.
type Value = u8;

/// What stands in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Block {
    /// About the successor of which view: 0 or 1. The first one's block that is all zero is blank.
    view: u8,
    mbal: Ballot,
    bal: Ballot,
    value: Value,
}

/// What a coordinator does with one disk in one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Visit {
    /// The own write has landed.
    is_written: bool,
    /// Whose blocks were read, one bit each.
    read: u8,
    /// The newest value seen, and its ballot.
    seen: (Ballot, Value),
    is_refused: bool,
}

/// A coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Coordinator {
    is_dead: bool,
    /// The view that it is a member of: 0 or 1.
    view: u8,
    /// Ballots that it has begun in that view.
    round: u8,
    /// The value that it asks to accept; none while it asks for promises.
    accepting: Option<Value>,
    visits: Vec<Visit>,
    /// What it last wrote to each disk, landed or not.
    written: Vec<Block>,
    has_decided: bool,
}

/// Coordinators and disks at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    coordinators: Vec<Coordinator>,
    /// By disk and coordinator: what a reader finds.
    blocks: Vec<Vec<Block>>,
    /// Writes on their way, likewise.
    writes: Vec<Vec<Option<Block>>>,
    /// Those of former lives that nobody has waited for, likewise.
    late: Vec<Vec<Option<Block>>>,
    /// By view: the values that were decided, one bit each.
    decided: [u8; 2],
    restarts: u8,
}

impl State {
    /// The values that those stand for who are in the second view, or were when they died: one bit each.
    fn values_of_second(&self) -> u8 {
        let all = (0..).zip(&self.coordinators);
        all.filter(|(_, own)| own.view == 1).fold(0, |set, (id, own)| set | 1 << value(id, own))
    }

    /// Whether the second view has somebody who can let others join: whom the first decision names.
    fn second_lives(&self) -> bool {
        let all = (0..).zip(&self.coordinators);
        all.into_iter().any(|(id, own): (u8, _)| {
            own.view == 1 && !own.is_dead && self.decided[0] >> id & 1 == 1
        })
    }
}

/// One step: the coordinator, and the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A coordinator starts its next ballot.
    Prepare(u8),
    /// It writes its block for the phase that it is in.
    Write(u8, u8),
    /// The write lands.
    Land(u8, u8),
    /// The write is torn, by an error or because its writer has died.
    Tear(u8, u8),
    /// It reads the block of the third.
    Read(u8, u8, u8),
    /// Enough disks have promised.
    Propose(u8),
    /// Enough disks have accepted.
    Decide(u8),
    /// It dies.
    Die(u8),
    /// The first decision names it: it goes on in the second view.
    GoOn(u8),
    /// It has died, and comes back: it joins the second view.
    Rejoin(u8),
    /// What its former life was writing lands in the middle of the new one.
    LandLate(u8, u8),
}

impl Disk {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn ballot(&self, id: u8, round: u8) -> Ballot {
        (round - 1) * self.coordinators + id + 1
    }

    /// Has this visit got its answer, and is it yes?
    fn is_granted(&self, coordinator: &Coordinator, id: u8, visit: &Visit) -> bool {
        let others = ((1 << self.coordinators) - 1) & !(1 << id);
        let skips = coordinator.accepting.is_some() && self.is(Mutant::AcceptWithoutReading);
        visit.is_written && !visit.is_refused && (skips || visit.read == others)
    }

    fn is_enough(&self, disks: usize) -> bool {
        2 * disks > usize::from(self.disks) || (disks > 0 && self.is(Mutant::OneDiskIsEnough))
    }

    fn granted<'a>(
        &'a self,
        coordinator: &'a Coordinator,
        id: u8,
    ) -> impl Iterator<Item = &'a Visit> {
        coordinator.visits.iter().filter(move |visit| self.is_granted(coordinator, id, visit))
    }

    fn coordinator_actions(&self, state: &State, id: u8, actions: &mut Vec<Action>) {
        let own = &state.coordinators[id as usize];
        actions.push(Action::Die(id));
        if own.view == 0 && self.second > 0 && state.decided[0] >> id & 1 == 1 {
            actions.push(Action::GoOn(id));
        }
        let rounds = if own.view == 0 { self.rounds } else { self.second };
        if own.round < rounds && !own.has_decided {
            actions.push(Action::Prepare(id));
        }
        if own.round == 0 {
            return;
        }
        let ballot = self.ballot(id, own.round);
        for disk in 0..self.disks {
            let visit = &own.visits[disk as usize];
            // One write at a time: a node's next waits until the one before has landed.
            let is_free = state.writes[disk as usize][id as usize].is_none();
            let wrote = self.own_block(own, disk);
            let is_due = match own.accepting {
                None => wrote.mbal < ballot,
                Some(_) => wrote.bal < ballot,
            };
            if is_free && is_due {
                actions.push(Action::Write(id, disk));
            }
            let may_read = visit.is_written || self.is(Mutant::ReadBeforeWrite);
            for other in (0..self.coordinators).filter(|other| *other != id) {
                if may_read && visit.read >> other & 1 == 0 {
                    actions.push(Action::Read(id, disk, other));
                }
            }
        }
        let enough = self.is_enough(self.granted(own, id).count());
        match own.accepting {
            None if enough => actions.push(Action::Propose(id)),
            Some(_) if enough && !own.has_decided => actions.push(Action::Decide(id)),
            _ => {}
        }
    }

    /// What it wrote last about the view that it is in.
    fn own_block(&self, own: &Coordinator, disk: u8) -> Block {
        let wrote = own.written[disk as usize];
        if wrote.view == own.view {
            wrote
        } else if self.is(Mutant::FormerViewCounts) {
            Block { view: own.view, mbal: 0, ..wrote }
        } else {
            Block { view: own.view, ..Block::default() }
        }
    }

    fn write(&self, state: &mut State, id: u8, disk: u8) {
        let own = &mut state.coordinators[id as usize];
        let ballot = self.ballot(id, own.round);
        let before = self.own_block(own, disk);
        let block = match own.accepting {
            Some(value) => Block { mbal: ballot, bal: ballot, value, ..before },
            None => Block { mbal: ballot, ..before },
        };
        own.written[disk as usize] = block;
        state.writes[disk as usize][id as usize] = Some(block);
    }

    fn land(&self, state: &mut State, id: u8, disk: u8) {
        let write = state.writes[disk as usize][id as usize].take();
        let block = write.expect("a write is on its way");
        state.blocks[disk as usize][id as usize] = block;
        let own = &mut state.coordinators[id as usize];
        // A write of an earlier phase proves nothing about this one.
        let is_this_phase = !own.is_dead
            && block.view == own.view
            && own.round > 0
            && block.mbal == self.ballot(id, own.round)
            && (block.bal == block.mbal) == own.accepting.is_some();
        if is_this_phase {
            let visit = &mut own.visits[disk as usize];
            visit.is_written = true;
            visit.seen = visit.seen.max((block.bal, block.value));
        }
    }

    fn read(&self, state: &mut State, id: u8, disk: u8, other: u8) {
        let block = state.blocks[disk as usize][other as usize];
        let own = &mut state.coordinators[id as usize];
        let ballot = self.ballot(id, own.round);
        let (view, visit) = (own.view, &mut own.visits[disk as usize]);
        visit.read |= 1 << other;
        let counts = block.view == view || block.view < view && self.is(Mutant::FormerViewCounts);
        if counts {
            visit.is_refused |= block.mbal > ballot && !self.is(Mutant::RefusalIgnored);
            visit.seen = visit.seen.max((block.bal, block.value));
        }
        visit.is_refused |= block.view > view && !self.is(Mutant::LaterViewIgnored);
    }

    fn propose(&self, state: &mut State, id: u8) {
        let own = &state.coordinators[id as usize];
        let newest = self.granted(own, id).map(|visit| visit.seen).max();
        let value = match newest {
            Some((1.., value)) if !self.is(Mutant::NewestValueIgnored) => value,
            _ => value(id, own),
        };
        let own = &mut state.coordinators[id as usize];
        own.accepting = Some(value);
        own.visits.fill(Visit::default());
    }
}

/// What a coordinator stands for.
fn value(id: u8, own: &Coordinator) -> Value {
    own.view << 2 | id
}

/// Nothing is known but what was written.
fn begin(own: &mut Coordinator, view: u8) {
    own.is_dead = false;
    own.view = view;
    own.round = 0;
    own.accepting = None;
    own.visits.fill(Visit::default());
    own.has_decided = false;
}

impl Disk {
    fn rejoin(&self, state: &mut State, id: u8) {
        state.restarts += 1;
        let own = &mut state.coordinators[id as usize];
        if self.is(Mutant::RestartedGoesOn) {
            begin(own, 0);
            own.written.fill(Block::default());
        } else {
            begin(own, 1);
        }
        if self.is(Mutant::FormerLifeWrites) {
            for disk in 0..usize::from(self.disks) {
                state.late[disk][id as usize] = state.writes[disk][id as usize].take();
            }
        }
    }
}

impl Model for Disk {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        assert!(self.coordinators <= 4, "sets are bits of a byte");
        let (coordinators, disks) = (usize::from(self.coordinators), usize::from(self.disks));
        let coordinator = Coordinator {
            is_dead: false,
            view: 0,
            round: 0,
            accepting: None,
            visits: vec![Visit::default(); disks],
            written: vec![Block::default(); disks],
            has_decided: false,
        };
        vec![State {
            coordinators: vec![coordinator; coordinators],
            blocks: vec![vec![Block::default(); coordinators]; disks],
            writes: vec![vec![None; coordinators]; disks],
            late: vec![vec![None; coordinators]; disks],
            decided: [0; 2],
            restarts: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let may_come_back = state.restarts < self.restarts
            && (state.second_lives() || self.is(Mutant::RestartedGoesOn));
        for id in 0..self.coordinators {
            let own = &state.coordinators[id as usize];
            if !own.is_dead {
                self.coordinator_actions(state, id, actions);
            } else if own.view == 0 && may_come_back {
                actions.push(Action::Rejoin(id));
            }
            for disk in 0..self.disks {
                if state.writes[disk as usize][id as usize].is_some() {
                    actions.push(Action::Land(id, disk));
                    actions.push(Action::Tear(id, disk));
                }
                if state.late[disk as usize][id as usize].is_some() {
                    actions.push(Action::LandLate(id, disk));
                }
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Prepare(id) => {
                let own = &mut state.coordinators[id as usize];
                own.round += 1;
                own.accepting = None;
                own.visits.fill(Visit::default());
            }
            Action::Write(id, disk) => self.write(&mut state, id, disk),
            Action::Land(id, disk) => self.land(&mut state, id, disk),
            Action::Tear(id, disk) => {
                state.writes[disk as usize][id as usize] = None;
                let block = &mut state.blocks[disk as usize][id as usize];
                state.coordinators[id as usize].written[disk as usize] = *block;
                if self.is(Mutant::OneCopy) {
                    *block = Block::default();
                }
            }
            Action::Read(id, disk, other) => self.read(&mut state, id, disk, other),
            Action::Propose(id) => self.propose(&mut state, id),
            Action::Decide(id) => {
                let own = &mut state.coordinators[id as usize];
                own.has_decided = true;
                let value = own.accepting.expect("it proposed a value");
                state.decided[own.view as usize] |= 1 << value;
            }
            Action::Die(id) => state.coordinators[id as usize].is_dead = true,
            Action::GoOn(id) => begin(&mut state.coordinators[id as usize], 1),
            Action::Rejoin(id) => self.rejoin(&mut state, id),
            Action::LandLate(id, disk) => {
                let write = state.late[disk as usize][id as usize].take();
                state.blocks[disk as usize][id as usize] = write.expect("it is on its way");
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE, |model: &Disk, state| model.violation(state).is_none()),
            Property::sometimes(MILESTONES[0], |_, state: &State| is_decided(state)),
            Property::sometimes(MILESTONES[1], |_, state: &State| is_completed(state)),
            Property::sometimes(MILESTONES[2], |_, state: &State| is_decided_again(state)),
            Property::sometimes(MILESTONES[3], |_, state: &State| has_come_back(state)),
        ]
    }
}

const MILESTONES: [&str; 4] = [
    "a value is decided",
    "a coordinator decides another one's value",
    "a value is decided in the second view",
    "a coordinator that has come back decides",
];

fn is_decided(state: &State) -> bool {
    state.decided[0] != 0
}

fn is_decided_again(state: &State) -> bool {
    state.decided[1] != 0
}

/// Whom the first decision does not name is in the second view by coming back.
fn has_come_back(state: &State) -> bool {
    let mut all = (0..).zip(&state.coordinators);
    all.any(|(id, own): (u8, _)| {
        own.view == 1 && own.has_decided && state.decided[0] >> id & 1 == 0
    })
}

fn is_completed(state: &State) -> bool {
    let mut coordinators = (0..).zip(&state.coordinators);
    coordinators.any(|(id, own)| own.has_decided && own.accepting != Some(value(id, own)))
}

impl Swarm for Disk {
    fn habits(&self) -> usize {
        11 * usize::from(self.coordinators)
    }

    fn habit(&self, action: &Action) -> usize {
        let (kind, id) = match *action {
            Action::Prepare(id) => (0, id),
            Action::Write(id, _) => (1, id),
            Action::Land(id, _) => (2, id),
            Action::Tear(id, _) => (3, id),
            Action::Read(id, ..) => (4, id),
            Action::Propose(id) => (5, id),
            Action::Decide(id) => (6, id),
            Action::Die(id) => (7, id),
            Action::GoOn(id) => (8, id),
            Action::Rejoin(id) => (9, id),
            Action::LandLate(id, _) => (10, id),
        };
        kind * usize::from(self.coordinators) + usize::from(id)
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        if state.decided.iter().any(|values| values.count_ones() > 1) {
            Some("two values are decided")
        } else if state.decided[1] & !state.values_of_second() != 0 {
            Some("a value is decided that nobody in the view stands for")
        } else {
            None
        }
    }

    fn milestones(&self) -> &'static [&'static str] {
        &MILESTONES
    }

    fn reached(&self, _before: &State, _action: &Action, after: &State) -> u32 {
        u32::from(is_decided(after))
            | u32::from(is_completed(after)) << 1
            | u32::from(is_decided_again(after)) << 2
            | u32::from(has_come_back(after)) << 3
    }
}
