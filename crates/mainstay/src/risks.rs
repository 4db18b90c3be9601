//! What the promise of a cluster rests on, and what would make it stronger: from the configuration, and
//! from what the nodes say about themselves.
//!
//! The promise that nothing runs twice holds in each of these cases; what is at risk is that something
//! stays down until a person comes, that only weaker means enforce the promise, or that they were never
//! tried. So each line has a remedy. What only the answering node can know is said of that node alone.

use api::v1;
use base::NodeId;
use serde::Serialize;

use crate::config::{Cluster, Tie};

#[cfg(test)]
mod tests;

/// A check of fence agents that is older proves little.
const PROOF_AGE_MAX_MS: u64 = 90 * 24 * 3600 * 1000;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Everything that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Risks {
    /// Version of this format.
    pub schema: u32,
    /// Who answered.
    pub node: String,
    /// What the promise rests on, the cluster first, then nodes, then services.
    pub rests: Vec<Rest>,
}

/// One thing that the promise rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rest {
    /// `cluster`, `node n1`, `service web`.
    pub what: String,
    /// What it rests on, as a sentence.
    pub on: String,
    /// What would make it stronger; none when it is as strong as it can be.
    pub remedy: Option<String>,
}

/// What a node says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Why the tie-breaker could not decide now; of `/v1/status`.
    pub tie_trouble: Option<&'a str>,
    /// `/v1/fence`
    pub fencing: &'a v1::Fencing,
    /// `/v1/gate`
    pub gate: &'a v1::Gate,
    /// `/v1/watchdog`
    pub watchdog: &'a v1::Watchdog,
    /// What the guard lacks; the warnings `weak-guard` of `/v1/status`.
    pub weaknesses: &'a [String],
    /// The machine is a virtual one.
    pub is_virtual: bool,
}

/// What the cluster of this configuration rests on.
#[must_use]
pub fn risks(cluster: &Cluster, said: Said<'_>) -> Risks {
    let mut rests = Vec::new();
    of_cluster(cluster, said, &mut rests);
    of_the_answering_node(said, &mut rests);
    for node in &cluster.nodes {
        of_node(cluster, said, node.id, &mut rests);
    }
    for service in &cluster.services {
        of_service(cluster, service, &mut rests);
    }
    Risks { schema: v1::SCHEMA, node: said.gate.node.clone(), rests }
}

fn add(rests: &mut Vec<Rest>, what: &str, on: impl Into<String>, remedy: Option<&str>) {
    let remedy = remedy.map(str::to_owned);
    rests.push(Rest { what: what.to_owned(), on: on.into(), remedy });
}

fn of_cluster(cluster: &Cluster, said: Said<'_>, rests: &mut Vec<Rest>) {
    let can_be_halved = cluster.nodes.len().is_multiple_of(2);
    let (on, remedy) = match (&cluster.tie, said.tie_trouble) {
        (_, _) if !can_be_halved => ("more than half of the nodes decide".to_owned(), None),
        (Tie::None, _) => (
            "nobody breaks a tie: two halves that are cut apart both stop".to_owned(),
            Some("a [tiebreaker]: a disk, a witness, etcd, or `prefer`"),
        ),
        (Tie::Manual, _) => (
            "a person breaks a tie: until then both halves stand still".to_owned(),
            Some("a [tiebreaker]: a disk, a witness or etcd"),
        ),
        (Tie::Prefer(node), _) => (
            format!("{} breaks a tie: the half without it never goes on", cluster.name_of(*node)),
            Some("a [tiebreaker] outside of the nodes: a disk, a witness or etcd"),
        ),
        (Tie::Arbiters(_), Some(trouble)) => (
            format!("the tie-breaker could not decide now: {trouble}"),
            Some("repair it before it is needed"),
        ),
        (Tie::Arbiters(_), None) => {
            ("a tie-breaker outside of the nodes, which answers".into(), None)
        }
    };
    add(rests, "cluster", on, remedy);
    if cluster.nodes.len() > 1 && cluster.networks.len() < 2 {
        let remedy = "a second [[network]] over other cables and another switch, or a disk path";
        add(rests, "cluster", "one network: one switch can cut all nodes apart", Some(remedy));
    }
    if cluster.jeopardy == Some(engine::Jeopardy::Hold) {
        let on = "jeopardy = \"hold\": who is lost with the last path is not taken over by itself";
        let unfenced = cluster.nodes.iter().any(|node| !has_fence(cluster, node.id));
        let remedy = "a [[fence]] for each node: one that is seen off is taken over";
        add(rests, "cluster", on, unfenced.then_some(remedy));
    }
}

fn of_the_answering_node(said: Said<'_>, rests: &mut Vec<Rest>) {
    let what = format!("node {}", said.gate.node);
    match said.gate.kind {
        v1::GateKind::Kernel => {
            let behind = said.gate.interfaces.iter().filter(|one| !one.before.is_empty());
            let behind: Vec<_> =
                behind.map(|one| format!("{} ({})", one.name, one.before.join(", "))).collect();
            if behind.is_empty() {
                let on = "the kernel closes service addresses at the end of a lease";
                add(rests, &what, on, None);
            } else {
                let on = format!(
                    "the kernel closes service addresses at the end of a lease, unless programs of others \
                     that it asks first let packets through: {}",
                    behind.join("; ")
                );
                let remedy = "a later place for them, or another interface (docs: gate)";
                add(rests, &what, on, Some(remedy));
            }
        }
        v1::GateKind::Nftables => {
            let why = said.gate.reason.as_deref().unwrap_or("unknown");
            let on = format!(
                "nftables close service addresses at the end of a lease, because programs are refused ({why}): \
                 after a suspend the machine may answer for what was left of its lease, until the guard has \
                 acted"
            );
            let remedy = "a kernel with eBPF and clsact, and the right to use them (docs: gate)";
            add(rests, &what, on, Some(remedy));
        }
        v1::GateKind::None => {
            let why = said.gate.reason.as_deref().unwrap_or("unknown");
            add(
                rests,
                &what,
                format!("no lease gate ({why}): the guard alone closes service addresses"),
                Some(
                    "a kernel with eBPF and clsact, or with nftables, and the right to use them (docs: \
                     gate)",
                ),
            );
        }
    }
    for weakness in said.weaknesses.iter().filter(|weakness| !weakness.contains("lease gate")) {
        add(
            rests,
            &what,
            format!("a guard that is weaker than it could be: {weakness}"),
            Some(
                "start it by systemd, or as root outside of a container: control groups, SCHED_RR, mlock",
            ),
        );
    }
    if said.watchdog.state == v1::WatchdogState::Failed {
        let on = format!("its watchdog could not be armed: {}", said.watchdog.reason);
        add(rests, &what, on, Some("mainstay watchdog test"));
    }
    if said.is_virtual {
        add(
            rests,
            &what,
            "a virtual machine: one that its host froze may answer for the rest of its lease when it \
             wakes",
            Some("a fence agent of the hypervisor, and reservations on shared disks"),
        );
    }
}

fn has_fence(cluster: &Cluster, node: NodeId) -> bool {
    cluster.fences.iter().any(|fence| fence.node == node)
}

fn runs_storage(cluster: &Cluster, node: NodeId) -> bool {
    cluster
        .services
        .iter()
        .any(|service| service.nodes.contains(&node) && service.class().0 == engine::Class::Storage)
}

fn of_node(cluster: &Cluster, said: Said<'_>, id: NodeId, rests: &mut Vec<Rest>) {
    let name = cluster.name_of(id);
    let what = format!("node {name}");
    let verify = format!("mainstay fence verify {name}");
    let known = said.fencing.nodes.iter().find(|node| node.node == name);
    let verified = known.and_then(|node| node.verified.as_ref());
    match (has_fence(cluster, id), verified) {
        (false, _) => add(
            rests,
            &what,
            "nobody can turn its machine off: when it is lost, only time and its own means count",
            Some("a [[fence]] with an agent for its board, its power switch or its hypervisor"),
        ),
        (true, None) => {
            add(rests, &what, "fence agents that were never tried from here", Some(&verify));
        }
        (true, Some(check)) if !check.ok => {
            add(rests, &what, "fence agents that failed when they were last tried", Some(&verify));
        }
        (true, Some(check)) => {
            let days = check.age_ms / DAY_MS;
            let is_old = check.age_ms > PROOF_AGE_MAX_MS;
            let on = format!("fence agents that answered {days} days ago");
            add(rests, &what, on, is_old.then_some(verify.as_str()));
        }
    }
    if runs_storage(cluster, id) && !cluster.watchdogs.contains_key(&id) {
        add(
            rests,
            &what,
            "no watchdog: no time frees the storage services that it is lost with",
            Some("a [watchdog]"),
        );
    }
}

fn of_service(cluster: &Cluster, service: &engine::Service, rests: &mut Vec<Rest>) {
    let what = format!("service {}", service.name);
    if let [only] = service.nodes[..] {
        let on = format!("one node: with {} it is away", cluster.name_of(only));
        add(rests, &what, on, Some("a second node in `nodes`"));
        return;
    }
    if service.class().0 == engine::Class::Contained {
        add(rests, &what, "the lease of its node frees it", None);
        return;
    }
    if service.class().0 == engine::Class::Reserved {
        let on = "class reserved: the lease of its node frees it, and the disks refuse that node's writes";
        add(rests, &what, on, None);
        return;
    }
    let bare: Vec<String> = (service.nodes.iter())
        .filter(|node| !has_fence(cluster, **node) && !cluster.watchdogs.contains_key(node))
        .map(|node| cluster.name_of(*node))
        .collect();
    match bare.is_empty() {
        true => add(rests, &what, "class storage: a fence agent or a watchdog frees it", None),
        false => add(
            rests,
            &what,
            format!(
                "class storage: lost with {}, it stays down until a person has looked",
                bare.join(" or ")
            ),
            Some("a [[fence]] or a [watchdog] for each of its nodes"),
        ),
    }
}

/// Whether this machine is a virtual one, as far as its processor says.
#[must_use]
pub fn is_virtual() -> bool {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().any(|line| {
        line.starts_with("flags") && line.split_ascii_whitespace().any(|flag| flag == "hypervisor")
    })
}
