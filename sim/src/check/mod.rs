//! The rules, each a function named as a sentence. They stand outside the nodes, see all machines
//! at once, and are applied after every step to what that step has touched.
//!
//! Numbers in parentheses are those of the design's invariants (I1 …) and of the protocol's
//! (section 7).

pub mod commands;
pub mod lease;
pub mod limits;
pub mod order;
pub mod owner;
pub mod recovery;
pub mod views;
pub mod wire;

use std::collections::BTreeMap;

use base::{Instant, Member, View};
use group::Progress;

use crate::machine::{Daemon, Machine};
use crate::setup::Setup;
use crate::world::{Severity, World};

/// What the rules remember.
pub struct Checker {
    pub(crate) views: views::Views,
    pub(crate) order: order::Order,
    pub(crate) leases: lease::Leases,
    pub(crate) owners: owner::Owners,
    seen: Vec<Seen>,
}

/// What was last seen of a machine's node.
#[derive(Clone, Debug, Default)]
struct Seen {
    life: Option<Member>,
    progress: Option<Progress>,
    /// The newest view that any life on this machine was in.
    newest: Option<(u32, u64)>,
    joins: u32,
    /// Its absences, as its view began: node and generation.
    absences: BTreeMap<base::NodeId, u64>,
}

impl Checker {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(setup: &Setup) -> Checker {
        Checker {
            views: views::Views::default(),
            order: order::Order::default(),
            leases: lease::Leases::new(setup.nodes),
            owners: owner::Owners::default(),
            seen: vec![Seen::default(); setup.nodes],
        }
    }

    /// A node begins a life.
    pub(crate) fn new_life(&mut self, machine: usize, life: Member) {
        let seen = &mut self.seen[machine];
        seen.life = Some(life);
        seen.progress = None;
    }

    /// A daemon is gone.
    pub(crate) fn life_ended(&mut self, machine: usize) {
        self.seen[machine].life = None;
        self.seen[machine].progress = None;
    }

    /// A machine has no power any more: no lease of it holds.
    pub(crate) fn machine_stopped(&mut self, machine: usize) {
        self.leases.forget(machine);
    }

    /// A machine's state directory is not what it was.
    pub(crate) fn memory_lost(&mut self, machine: usize) {
        self.seen[machine].newest = None;
    }

    /// A deadline was pushed to a guard.
    pub(crate) fn note_lease(&mut self, machine: usize, view: Option<&View>, until: Instant) {
        if let Some(view) = view {
            self.leases.note(machine, (view.lineage, view.generation), until);
        }
    }

    /// Views installed so far.
    pub(crate) fn views(&self) -> u64 {
        self.views.count()
    }

    /// Entries delivered so far, each counted once.
    pub(crate) fn entries(&self) -> u64 {
        self.order.count()
    }

    /// The most joins of one node.
    pub(crate) fn joins_max(&self) -> u32 {
        self.seen.iter().map(|seen| seen.joins).max().unwrap_or(0)
    }
}

type Broken = (Severity, &'static str, String);

impl World {
    /// Everything that a turn can have broken.
    pub(crate) fn check_after_turn(&mut self, number: usize) {
        if let Err((severity, rule, detail)) = self.look_after_turn(number) {
            self.require(severity, rule, Err(detail));
        }
    }

    fn look_after_turn(&mut self, number: usize) -> Result<(), Broken> {
        let World { machines, check, now, setup, .. } = self;
        let machine = &machines[number];
        let Some(daemon) = machine.daemon.as_deref() else { return Ok(()) };
        let group = daemon.node.group();
        let progress = group.progress();
        let before = check.seen[number].progress;
        if let Some(progress) = progress
            && check.views.has_successor(progress.lineage, progress.generation)
        {
            named(
                "a view that has a successor gains no evidence",
                lease::a_view_that_has_a_successor_gains_no_evidence(
                    &check.views,
                    machine,
                    daemon,
                    setup,
                    *now,
                ),
            )?;
        }
        if progress == before {
            return Ok(());
        }
        check.seen[number].progress = progress;
        let Some(progress) = progress else { return Ok(()) };
        let scope = (progress.lineage, progress.generation);
        let entered = before.is_none_or(|before| (before.lineage, before.generation) != scope);
        if entered {
            check.seen[number].joins += u32::from(before.is_none());
            enter(check, machines, number, daemon, (progress, before.is_none()), *now)?;
        } else if let Some(before) = before {
            named(
                "a sealed member takes no entry",
                order::a_sealed_member_takes_no_entry(&before, &progress),
            )?;
        }
        if entered || before.is_none_or(|before| before.delivered < progress.delivered) {
            deliver(check, machines, number, daemon, progress)?;
        }
        Ok(())
    }
}

fn named(rule: &'static str, verdict: Result<(), String>) -> Result<(), Broken> {
    verdict.map_err(|detail| (Severity::Safety, rule, detail))
}

/// A node has entered a view.
fn enter(
    check: &mut Checker,
    machines: &[Machine],
    number: usize,
    daemon: &Daemon,
    (progress, joins): (Progress, bool),
    now: u64,
) -> Result<(), Broken> {
    let view = daemon.node.view().expect("who has progress has a view");
    let seen = &mut check.seen[number];
    named(
        "a node never installs an older generation",
        views::a_node_never_installs_an_older_generation(seen.newest, view),
    )?;
    seen.newest = Some((view.lineage, view.generation));
    seen.absences = daemon.node.group().waits().map(|a| (a.node, a.generation)).collect();
    named(
        "a member of a view lives in the life that the view names",
        views::a_member_of_a_view_lives_in_the_life_that_the_view_names(daemon.node.local(), view),
    )?;
    named(
        "a view is on disk before it is entered",
        views::a_view_is_on_disk_before_it_is_entered(&machines[number].disk, view),
    )?;
    if joins {
        named(
            "a view is on another disk before a joiner enters it",
            views::a_view_is_on_another_disk_before_a_joiner_enters_it(machines, number, view),
        )?;
    }
    named(
        "views with one generation are equal",
        views::views_with_one_generation_are_equal(&mut check.views, view, now),
    )?;
    named(
        "no two live primary views exist",
        views::no_two_live_primary_views(machines, number, view, now),
    )?;
    // Nothing of it would ever start elsewhere; in the end all nodes come back, which hides that.
    lease::whoever_is_absent_is_waited_for(daemon, view)
        .map_err(|detail| (Severity::Liveness, "whoever is absent is waited for", detail))?;
    let position = daemon.node.group().position() - progress.delivered;
    named(
        "a view begins with one history",
        order::a_view_begins_with_one_history(
            &mut check.order,
            view,
            daemon.node.local(),
            position,
        ),
    )
}

/// A node has delivered entries.
fn deliver(
    check: &mut Checker,
    machines: &[Machine],
    number: usize,
    daemon: &Daemon,
    progress: Progress,
) -> Result<(), Broken> {
    let position = daemon.node.group().position();
    named(
        "deliveries of a lineage are prefixes of one history",
        order::deliveries_of_a_lineage_are_prefixes_of_one_history(
            &mut check.order,
            &progress,
            position,
        ),
    )?;
    // At the end of a view only those who promised have to hold it.
    if !progress.is_sealed {
        named(
            "what is delivered is held by all members",
            order::what_is_delivered_is_held_by_all_members(machines, number, &progress),
        )?;
    }
    named(
        "engine states agree at equal positions",
        order::engine_states_agree_at_equal_positions(&mut check.order, daemon, &progress),
    )
}

impl World {
    /// Something of a service has begun to work on a machine.
    pub(crate) fn check_owner(&mut self, number: usize, service: &str) {
        let World { machines, check, totals, now, .. } = self;
        let verdict = owner::at_most_one_machine_owns_a_service(machines, service, *now);
        if check.owners.moved(service, number) {
            totals.failovers += 1;
        }
        self.require(Severity::Safety, "at most one machine owns a service", verdict);
    }

    /// A kernel was told for how long an address is open.
    pub(crate) fn check_told(&mut self, number: usize, service: &str, address: std::net::IpAddr) {
        let machine = &self.machines[number];
        let verdict = owner::what_is_told_ends_with_the_lease(machine, service, address);
        self.require(Severity::Safety, "a gate is open within the lease alone", verdict);
    }

    /// A node says that an absent one can act no more.
    pub(crate) fn check_fence(&mut self, number: usize, daemon: &Daemon, event: &node::Event) {
        let Some(node) = event.node else { return };
        let generation = self.check.seen[number].absences.get(&node).copied();
        let lineage = daemon.node.view().map(|view| view.lineage);
        let (Some(generation), Some(lineage)) = (generation, lineage) else { return };
        let absent = crate::setup::machine_of(node);
        let scope = (lineage, generation);
        let by_watchdog = event.sentence.ends_with(engine::Proof::Watchdog.name());
        // Whatever the watchdog does, it is waited for at least as long as the lease.
        if by_watchdog || event.sentence.ends_with(engine::Proof::Time.name()) {
            let verdict = lease::a_fence_never_precedes_the_end_of_the_lease(
                &self.check.leases,
                &self.machines[absent],
                scope,
                self.release_max(),
                self.now,
            );
            self.require(Severity::Safety, "a fence never precedes the end of the lease", verdict);
        }
        if !event.sentence.ends_with(engine::Proof::Time.name()) {
            let newest = self.check.seen[absent].newest;
            let may_be_left = |service: &str| by_watchdog && !self.setup.is_storage(service);
            let verdict = lease::whoever_is_proven_fenced_runs_nothing(
                &self.machines[absent],
                may_be_left,
                newest,
                scope,
                self.now,
            );
            self.require(Severity::Safety, "whoever is proven fenced runs nothing", verdict);
        }
    }

    /// A node says that it has lost a peer.
    pub(crate) fn check_loss(&mut self, number: usize, daemon: &Daemon, event: &node::Event) {
        let silent = event.sentence.ends_with(transport::LostReason::Silent.text());
        let (Some(peer), Some(exchanged), true) = (event.node, &daemon.was_paused, silent) else {
            return;
        };
        let verdict = wire::a_paused_node_declares_nobody_lost_in_its_first_turn(
            &self.wires,
            &self.setup,
            (number, crate::setup::machine_of(peer)),
            daemon.turned_at,
            exchanged,
        );
        let rule = "a paused node declares nobody lost in its first turn";
        self.require(Severity::Safety, rule, verdict);
    }

    /// Slow checks, and the question whether all is well again.
    pub(crate) fn sample(&mut self) {
        let mut broken = None;
        for number in 0..self.machines.len() {
            let machine = &self.machines[number];
            // The guard keeps it so without a daemon, too.
            let ahead = named(
                "what works has a deadline ahead",
                owner::what_works_has_a_deadline_ahead(machine, self.release_max(), self.now),
            );
            broken = broken.or(ahead.err());
            let Some(daemon) = machine.daemon.as_deref() else { continue };
            let verdicts = [
                named("queues stay bounded", limits::queues_stay_bounded(daemon, &self.setup)),
                named(
                    "a connected peer is heard and hears",
                    wire::a_connected_peer_is_heard_and_hears(
                        &self.wires,
                        &self.setup,
                        machine,
                        daemon,
                        self.now,
                    ),
                ),
            ];
            let first = verdicts.into_iter().find_map(Result::err);
            broken = broken.or(first);
        }
        if let Some((severity, rule, detail)) = broken {
            self.require(severity, rule, Err(detail));
        }
        if self.mix.has(crate::fault::Kind::Corruption) {
            self.send_nonsense();
        }
        if let Some(healed_at) = self.healed_at {
            self.await_recovery(healed_at);
        }
        self.queue.push(self.now + self.setup.unit, crate::event::Event::Sample);
    }
}
