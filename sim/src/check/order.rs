//! Rules about the total order.

use std::collections::{BTreeMap, BTreeSet};

use base::{Member, View};
use group::Progress;

use crate::machine::{Daemon, Machine};
use crate::setup::machine_of;

/// Checksums of engines are compared at every so many positions: taking one costs more than
/// delivering an entry.
const CHECKSUM_EVERY: u64 = 4;

/// A view's history: (lineage, generation).
type Scope = (u32, u64);

/// All deliveries of anybody.
#[derive(Debug, Default)]
pub struct Order {
    /// The hash chain after so many entries of a view.
    chains: BTreeMap<(Scope, u64), u64>,
    /// The position before the first entry of each view.
    bases: BTreeMap<Scope, u64>,
    /// The greatest position delivered in each view.
    ends: BTreeMap<Scope, u64>,
    /// The lives that were in any view, by lineage.
    entered: BTreeSet<(u32, Member)>,
    /// Views that began a history anew: first formations and cold starts.
    formed: BTreeSet<Scope>,
    /// Engine checksums by view and entries delivered in it.
    checksums: BTreeMap<(Scope, u64), u64>,
}

impl Order {
    /// Entries delivered so far, each counted once.
    #[must_use]
    pub fn count(&self) -> u64 {
        let spans = self.ends.iter();
        spans.map(|(scope, end)| end - self.bases.get(scope).copied().unwrap_or(*end)).sum()
    }
}

/// (I4, 3, 5) All members begin a view after the same entries, and nothing that was delivered in
/// an earlier view is missing. Only a formation, in which no life of an earlier view takes part,
/// begins with nothing.
pub fn a_view_begins_with_one_history(
    order: &mut Order,
    view: &View,
    local: Member,
    position: u64,
) -> Result<(), String> {
    let scope = (view.lineage, view.generation);
    let lives = || view.members.iter().map(|member| (view.lineage, *member));
    if position == 0
        && !order.bases.contains_key(&scope)
        && !lives().any(|life| order.entered.contains(&life))
    {
        order.formed.insert(scope);
    }
    order.entered.insert((view.lineage, local));
    let base = *order.bases.entry(scope).or_insert(position);
    let generation = view.generation;
    if base != position {
        return Err(format!("generation {generation} begins after {base} and after {position}"));
    }
    let from = order.formed.range(..=scope).next_back().copied().filter(|from| from.0 == scope.0);
    let earlier = order.ends.range(from.unwrap_or((view.lineage, 0))..scope);
    if let Some((lost, end)) = earlier.map(|(scope, end)| (scope.1, *end)).find(|(_, e)| *e > base)
    {
        return Err(format!(
            "generation {generation} begins after {base}, entry {end} was delivered in {lost}"
        ));
    }
    Ok(())
}

/// (I3, 2, 4) Within a view all deliver the same entries in the same order, and no more of them
/// than every later view begins with.
pub fn deliveries_of_a_lineage_are_prefixes_of_one_history(
    order: &mut Order,
    progress: &Progress,
    position: u64,
) -> Result<(), String> {
    let scope = (progress.lineage, progress.generation);
    let count = progress.delivered;
    let chain = *order.chains.entry((scope, count)).or_insert(progress.hash);
    if chain != progress.hash {
        return Err(format!("two histories of {count} entries in generation {}", scope.1));
    }
    let end = order.ends.entry(scope).or_insert(position);
    *end = position.max(*end);
    // A cold start begins anew: whoever slept through it still delivers of the history before.
    let next = (scope.0, scope.1 + 1);
    let anew = order.formed.range(next..).next().copied().filter(|anew| anew.0 == scope.0);
    let mut later = order.bases.range(next..anew.unwrap_or((scope.0, u64::MAX)));
    match later.find(|(_, base)| **base < position) {
        Some(((_, generation), base)) => Err(format!(
            "entry {position} is delivered in {}, but generation {generation} began after {base}",
            scope.1
        )),
        None => Ok(()),
    }
}

/// (7) An entry is delivered only when every member of the view holds it. Members that are gone,
/// or have moved on, hold it or are not needed any more.
pub fn what_is_delivered_is_held_by_all_members(
    machines: &[Machine],
    number: usize,
    progress: &Progress,
) -> Result<(), String> {
    let Some(daemon) = &machines[number].daemon else { return Ok(()) };
    let Some(view) = daemon.node.view() else { return Ok(()) };
    for member in &view.members {
        let Some(other) = &machines[machine_of(member.node)].daemon else { continue };
        if other.node.local() != *member {
            continue;
        }
        let held = match other.node.group().progress() {
            Some(theirs) if theirs.lineage != progress.lineage => continue,
            Some(theirs) if theirs.generation > progress.generation => continue,
            Some(theirs) if theirs.generation == progress.generation => theirs.held,
            // Not even in the view yet, so that it has acknowledged nothing.
            Some(_) => 0,
            // Left out by now, or not in the view yet.
            None if other.node.status().is_stopping => continue,
            None => 0,
        };
        if held < progress.delivered {
            let (delivered, generation) = (progress.delivered, progress.generation);
            return Err(format!(
                "entry {delivered} of generation {generation} is delivered, {member} holds {held}"
            ));
        }
    }
    Ok(())
}

/// (I3, 24) The replicated state is a function of the history.
pub fn engine_states_agree_at_equal_positions(
    order: &mut Order,
    daemon: &Daemon,
    progress: &Progress,
) -> Result<(), String> {
    let count = progress.delivered;
    if !count.is_multiple_of(CHECKSUM_EVERY) {
        return Ok(());
    }
    let scope = (progress.lineage, progress.generation);
    let checksum = daemon.node.engine().checksum();
    let known = *order.checksums.entry((scope, count)).or_insert(checksum);
    if known == checksum {
        return Ok(());
    }
    Err(format!("after {count} entries of generation {}: {known:x} and {checksum:x}", scope.1))
}

/// (7) A member that has promised a ballot takes no more entries in that view.
pub fn a_sealed_member_takes_no_entry(before: &Progress, now: &Progress) -> Result<(), String> {
    if before.is_sealed && now.is_sealed && before.length < now.length {
        return Err(format!("had {} when it was sealed, now {}", before.length, now.length));
    }
    if before.is_sealed && !now.is_sealed {
        return Err("it is not sealed any more, in the same view".to_owned());
    }
    Ok(())
}
