//! Rules about views.

use std::collections::BTreeMap;

use base::{Member, View};

use crate::machine::{Disk, Machine};

/// All views that anybody was in.
#[derive(Debug, Default)]
pub struct Views {
    /// By lineage and generation: the view, and when it was first entered.
    known: BTreeMap<(u32, u64), (View, u64)>,
}

impl Views {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.known.len() as u64
    }

    /// When a later view of this lineage was first entered.
    #[must_use]
    pub fn succeeded_at(&self, lineage: u32, generation: u64) -> Option<u64> {
        let later = self.known.range((lineage, generation + 1)..=(lineage, u64::MAX));
        later.map(|(_, (_, at))| *at).min()
    }

    /// Whether a later view of this lineage was entered by anybody.
    #[must_use]
    pub fn has_successor(&self, lineage: u32, generation: u64) -> bool {
        self.known.range((lineage, generation + 1)..=(lineage, u64::MAX)).next().is_some()
    }
}

/// (I3, 1, 8) One view per lineage and generation, with its hub among its members.
pub fn views_with_one_generation_are_equal(
    views: &mut Views,
    view: &View,
    now: u64,
) -> Result<(), String> {
    if view.member(view.hub).is_none() {
        return Err(format!("the hub {} is no member of {}", view.hub, shown(view)));
    }
    let (known, _) =
        views.known.entry((view.lineage, view.generation)).or_insert_with(|| (view.clone(), now));
    if known == view { Ok(()) } else { Err(format!("{} and {}", shown(known), shown(view))) }
}

/// (I3, 1) Generations only grow at a node, over all its lives, within a lineage.
pub fn a_node_never_installs_an_older_generation(
    newest: Option<(u32, u64)>,
    view: &View,
) -> Result<(), String> {
    match newest {
        Some((lineage, generation)) if lineage == view.lineage && generation >= view.generation => {
            Err(format!("after generation {generation}: {}", shown(view)))
        }
        _ => Ok(()),
    }
}

/// A node is in a view only in the very life that the view lists.
pub fn a_member_of_a_view_lives_in_the_life_that_the_view_names(
    local: Member,
    view: &View,
) -> Result<(), String> {
    if view.has(local) { Ok(()) } else { Err(format!("{local} is in {}", shown(view))) }
}

/// (1) What a node has entered it knows after a power failure.
pub fn a_view_is_on_disk_before_it_is_entered(disk: &Disk, view: &View) -> Result<(), String> {
    if disk.memory.record.as_ref() == Some(view) {
        return Ok(());
    }
    let record = disk.memory.record.as_ref().map_or_else(|| "nothing".to_owned(), shown);
    Err(format!("entered {}, recorded {record}", shown(view)))
}

/// A joiner knows of no view that everybody else could forget: else a cold start without it would
/// be a second history. (Who was wiped since is excused.)
pub fn a_view_is_on_another_disk_before_a_joiner_enters_it(
    machines: &[Machine],
    number: usize,
    view: &View,
) -> Result<(), String> {
    if view.hub == machines[number].node() {
        return Ok(()); // the founder of a view
    }
    let mut others = machines.iter().filter(|machine| machine.number != number);
    let has = others.any(|machine| match &machine.disk.memory.record {
        None => true,
        Some(record) => record.lineage == view.lineage && record.generation >= view.generation,
    });
    if has { Ok(()) } else { Err(format!("{} is on no other disk", shown(view))) }
}

/// (I5, 9) Of two views in which members hold leases, one is the other's past.
pub fn no_two_live_primary_views(
    machines: &[Machine],
    number: usize,
    view: &View,
    now: u64,
) -> Result<(), String> {
    for other in machines.iter().filter(|other| other.number != number) {
        let Some(daemon) = &other.daemon else { continue };
        let Some(theirs) = daemon.node.view() else { continue };
        if theirs.lineage != view.lineage && daemon.node.leases().0 > other.local(now) {
            return Err(format!("{} and, with a lease, {}", shown(view), shown(theirs)));
        }
    }
    Ok(())
}

/// A view for people.
#[must_use]
pub fn shown(view: &View) -> String {
    let members: Vec<String> = view.members.iter().map(ToString::to_string).collect();
    let View { lineage, generation, hub, .. } = view;
    format!("generation {generation} of {lineage:08x} ({}; hub {hub})", members.join(" "))
}
