//! What a life begins with.

use base::{Instant, Member, Prng};
use engine::Engine;
use group::Group;
use transport::Transport;

use crate::config::Birth;

/// New layers for a new life.
pub(super) fn layers(
    birth: &Birth,
    local: Member,
    prng: &Prng,
    now: Instant,
) -> (Transport, Group, Engine) {
    let cluster = &birth.cluster;
    let transport = transport::Config {
        local: local.node,
        incarnation: local.incarnation,
        session: birth.session(local.incarnation),
        cluster: cluster.id,
        keys: birth.keys,
        active_key: 0,
        timing: cluster.timing,
        peers: cluster.peers(local.node),
    };
    let group = group::Config {
        local,
        nodes: cluster.nodes(),
        seed: cluster.seed,
        tie: cluster.tie,
        timing: cluster.timing,
        record: birth.record.clone(),
        configuration: cluster.intent.version,
        certified: birth.certified,
    };
    (
        Transport::new(transport, prng.child("transport"), now),
        Group::new(group, prng.child("group"), now),
        Engine::new(
            local,
            cluster.intent.clone(),
            cluster.text.clone(),
            cluster.timing,
            birth.found.clone(),
            now,
        ),
    )
}
