//! What one layer calls a thing, in the words of another: layers do not know each other.

pub(super) fn view_change(change: group::ViewChange) -> engine::ViewChange {
    engine::ViewChange {
        view: change.view,
        joined: change.joined,
        left: change.left,
        lost: change.lost.into_iter().map(absence).collect(),
        formed: change.formed,
    }
}

pub(super) fn absence(absence: group::Absence) -> engine::Absence {
    let group::Absence { node, incarnation, generation } = absence;
    engine::Absence { node, incarnation, generation }
}

pub(super) fn watch(watch: group::Watch) -> transport::Watch {
    match watch {
        group::Watch::Everybody => transport::Watch::Everybody,
        group::Watch::Few { members, centre } => transport::Watch::Ring { members, centre },
    }
}
