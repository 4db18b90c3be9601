//! Answers to the API's requests.

use api::v1::{self, ErrorCode};
use engine::Command;
use node::{Input, Refused, RefusedKind};

use super::convert;
use super::drive::Daemon;
use crate::serve::{Call, Caller, NetworkAct, NodeAct, Reply, Request};

impl Daemon {
    /// Answers a question at once; a command when it is delivered.
    pub(super) fn answer(&mut self, call: Call) {
        let Call { request, caller, answer } = call;
        if answer.is_abandoned() {
            return;
        }
        let command = match request {
            Request::Status => {
                return answer.send(Ok(Reply::Status(Box::new(self.status()))));
            }
            Request::Bound => {
                return answer.send(Ok(Reply::Bound(crate::bound::bound(&self.cluster))));
            }
            Request::Gate => return self.show_gate(answer),
            Request::Networks => {
                return answer.send(Ok(Reply::Networks(self.show_networks())));
            }
            Request::Interface { name, disabled, reason } => {
                let verb = if disabled { "disable" } else { "enable" };
                self.audit(caller, &format!("{verb} interface {name}"), reason.as_deref());
                return self.disable_interface(&name, disabled, answer);
            }
            Request::Network { name, act, reason } => {
                self.audit(caller, &format!("{} network {name}", act.verb()), reason.as_deref());
                return match act {
                    NetworkAct::Return => self.return_network(&name, answer),
                    NetworkAct::Rebalance => self.rebalance(&name, answer),
                };
            }
            Request::Watchdog => {
                return answer.send(Ok(Reply::Watchdog(self.show_watchdog())));
            }
            Request::Fencing => {
                return answer.send(Ok(Reply::Fencing(self.fencing())));
            }
            Request::FenceHistory => {
                return answer.send(Ok(Reply::FenceHistory(self.fence_history())));
            }
            Request::FenceVerify(request) => {
                self.audit(caller, &format!("a check of the fencing of {}", request.node), None);
                return self.verify_fence(&request.node, answer);
            }
            Request::Fence { name, verb, reason } => {
                self.audit(caller, &format!("fence {} {name}", verb.name()), reason.as_deref());
                self.fence_command(&name, verb)
            }
            Request::Why { service } => {
                let notes = self.node.why(service.as_deref());
                let addresses =
                    self.addresses_part(&self.node.status().network, service.as_deref());
                let notes = self.journal.notes(service, &notes, self.node.cluster());
                let notes = v1::Notes { addresses, ..notes };
                return answer.send(Ok(Reply::Notes(notes)));
            }
            Request::History { limit } => {
                return answer.send(Ok(Reply::Events(self.journal.history(limit))));
            }
            Request::Config => {
                return answer.send(Ok(Reply::Config(v1::ConfigShow {
                    schema: v1::SCHEMA,
                    version: self.cluster.version,
                    checksum: crate::config::checksum_text(self.cluster.checksum),
                    text: self.cluster.text.clone(),
                })));
            }
            Request::Service { name, verb, node, reason } => {
                self.audit(caller, &format!("service {verb:?} {name}"), reason.as_deref());
                Ok(node::Command::Engine(service_command(name, verb, node)))
            }
            Request::Node { name, act, reason } => {
                self.audit(caller, &format!("node {act:?} {name}"), reason.as_deref());
                self.node_command(name, act)
            }
            Request::Seed(request) => {
                let dead = match &request.believed_dead[..] {
                    [] => String::new(),
                    names => format!(", {} believed dead", names.join(", ")),
                };
                let forced = if request.force { " by force" } else { "" };
                self.audit(caller, &format!("seed{forced}{dead}"), None);
                self.seed_command(&request)
            }
            Request::PathCreate(request) => {
                self.audit(caller, &format!("a path to {}", request.peer), None);
                return self.create_path(request, answer);
            }
            Request::PathDelete(request) => {
                self.audit(caller, &format!("no path to {} any more", request.peer), None);
                return self.delete_path(request, answer);
            }
            Request::PathTest(request) => {
                self.audit(caller, "a test of paths", None);
                return self.test_paths(&request, answer);
            }
            Request::Leave(request) => {
                self.audit(caller, "leave", request.reason.as_deref());
                Ok(node::Command::Leave)
            }
            Request::Check { cluster } => {
                self.audit(caller, "a check of a configuration", None);
                return self.check_configuration(cluster, answer);
            }
            Request::Configure { cluster, expected_version, what, reason } => {
                self.audit(caller, &what, reason.as_deref());
                self.configure_command(&cluster, expected_version)
            }
        };
        match command {
            Ok(command) => {
                if command == node::Command::Leave {
                    self.limit_leave();
                }
                self.last_request += 1;
                let request = self.last_request;
                self.waiting.insert(request, answer);
                self.feed(Input::Command { request, command });
                self.waiting.retain(|_, answer| !answer.is_abandoned());
            }
            Err(error) => answer.send(Err(error)),
        }
    }

    /// The core's answer to a command.
    pub(super) fn answered(&mut self, request: u64, result: Result<String, Refused>) {
        if let Some(answer) = self.waiting.remove(&request) {
            answer.send(match result {
                Ok(sentence) => Ok(Reply::Done(v1::CommandReply::new(sentence))),
                Err(refused) => Err(error(refused)),
            });
        }
    }

    /// Who asked for what: part of the journal, so that every act can be explained.
    fn audit(&mut self, caller: Caller, what: &str, reason: Option<&str>) {
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        self.journal.say(&format!("{caller} asks for {what}{reason}"));
    }

    fn node_command(&self, name: String, act: NodeAct) -> Result<node::Command, v1::Error> {
        match act {
            NodeAct::Standby => Ok(node::Command::Engine(Command::Standby { node: name })),
            NodeAct::Online => Ok(node::Command::Engine(Command::Online { node: name })),
            NodeAct::ConfirmDown => match self.cluster.node(&name) {
                Some(id) => Ok(node::Command::ConfirmDown(id)),
                None => Err(self.unknown_node(&name)),
            },
        }
    }

    /// A view by hand is a promise that the absent nodes are down, so each must be named.
    fn seed_command(&self, request: &v1::SeedRequest) -> Result<node::Command, v1::Error> {
        for name in &request.believed_dead {
            if self.cluster.node(name).is_none() {
                return Err(self.unknown_node(name));
            }
        }
        let status = self.node.status();
        let here = status.local.node;
        let absent: Vec<String> = (self.cluster.nodes.iter())
            .filter(|node| node.id != here)
            .filter(|node| {
                let mut peers = status.transport.peers.iter();
                !peers.any(|peer| peer.node == node.id && peer.connected)
            })
            .map(|node| node.name.clone())
            .collect();
        let unnamed: Vec<&String> =
            absent.iter().filter(|name| !request.believed_dead.contains(name)).collect();
        if unnamed.is_empty() || request.force {
            return Ok(node::Command::Seed);
        }
        let unnamed: Vec<&str> = unnamed.iter().map(|name| name.as_str()).collect();
        Err(v1::Error::new(
            ErrorCode::Refused,
            format!(
                "{} cannot be heard: seeding without them is a promise that they are down",
                unnamed.join(", ")
            ),
        )
        .help(format!(
            "make sure that they are, then: mainstay seed --believed-dead {}",
            absent.join(",")
        )))
    }

    fn configure_command(
        &self,
        cluster: &crate::config::Cluster,
        expected: Option<u64>,
    ) -> Result<node::Command, v1::Error> {
        let expected = expected.unwrap_or(self.cluster.version);
        let mut cluster = cluster.clone();
        cluster.version = expected + 1;
        let fixed = |one: &crate::config::Cluster| (one.id, one.port, one.timing);
        if fixed(&cluster) != fixed(&self.cluster) {
            return Err(v1::Error::new(
                ErrorCode::Refused,
                "the cluster's id, port and times of detection cannot be changed while it runs",
            )
            .help("stop all nodes, change the file on all of them, start them again"));
        }
        for network in &cluster.networks {
            let before = self.cluster.networks.iter().find(|before| before.name == network.name);
            if let Some(before) = before.filter(|before| before.id != network.id) {
                let (name, from, to) = (&network.name, before.id.0, network.id.0);
                return Err(v1::Error::new(
                    ErrorCode::Refused,
                    format!("network {name} has the number {from} and would get the number {to}"),
                )
                .help(format!(
                    "write `id = {from}` into its [[network]]: its paths are called so"
                )));
            }
        }
        let core = convert::cluster(&cluster, self.node.local().node);
        Ok(node::Command::Engine(Command::Configure {
            expected,
            intent: Box::new(core.intent),
            text: cluster.text,
        }))
    }

    pub(super) fn unknown_node(&self, name: &str) -> v1::Error {
        let names: Vec<&str> = self.cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        v1::Error::new(ErrorCode::NotFound, format!("there is no node {name}"))
            .help(format!("the nodes are {}", names.join(", ")))
    }
}

fn service_command(service: String, verb: v1::ServiceVerb, node: Option<String>) -> Command {
    match verb {
        v1::ServiceVerb::Start => Command::Start { service, node },
        v1::ServiceVerb::Stop => Command::Stop { service },
        v1::ServiceVerb::Move => Command::Move { service, to: node },
        v1::ServiceVerb::Auto => Command::Auto { service, node },
        v1::ServiceVerb::Manual => Command::Manual { service, node },
        v1::ServiceVerb::Clear => Command::Clear { service, node },
    }
}

fn error(refused: Refused) -> v1::Error {
    let code = match refused.kind {
        RefusedKind::NoView => ErrorCode::NotPrimary,
        RefusedKind::Unknown => ErrorCode::NotFound,
        RefusedKind::Busy => ErrorCode::Busy,
        RefusedKind::Stale => ErrorCode::Conflict,
        RefusedKind::NotNow => ErrorCode::Refused,
    };
    v1::Error::new(code, refused.sentence)
}
