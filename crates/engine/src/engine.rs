//! One node's engine (signatures; the machine follows in the next commit).

use base::codec::{self, Malformed};
use base::{Instant, Member, NodeId, Timing};

use crate::command::{Command, Refusal};
use crate::input::{Found, Input, Output, Timer};
use crate::intent::Intent;
use crate::journal::{Journal, Note};
use crate::observation::Observation;
use crate::status::{Digest, Status};

/// One node's engine.
#[derive(Debug)]
pub struct Engine {
    local: Member,
    intent: Intent,
    observation: Observation,
    journal: Journal,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(
        local: Member,
        intent: Intent,
        _timing: Timing,
        _found: Vec<Found>,
        _now: Instant,
    ) -> Engine {
        Engine { local, intent, observation: Observation::default(), journal: Journal::default() }
    }

    /// Feeds one input.
    pub fn handle(&mut self, _now: Instant, _input: Input) {}

    /// Proposes a command.
    ///
    /// # Errors
    /// When it makes no sense already now.
    pub fn propose(
        &mut self,
        _now: Instant,
        _request: u64,
        _command: Command,
    ) -> Result<(), Refusal> {
        Err(Refusal::NotMember)
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When to feed [`Input::Tick`] at the latest, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        None
    }

    /// The services that the delivered state says are held by this member.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        let held = |state: &crate::ServiceState| state.phase.holder() == Some(self.local);
        let services = self.observation.services.iter();
        services.filter(move |(_, state)| held(state)).map(|(name, _)| name.as_str())
    }

    /// Whether nothing is held by, or runs on, this node as far as the delivered state says.
    #[must_use]
    pub fn is_idle(&self, node: NodeId) -> bool {
        self.observation.is_idle(node)
    }

    /// The replicated state, for a joiner.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        codec::encode(&self.observation)
    }

    /// Takes over a snapshot.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn restore(&mut self, _now: Instant, bytes: &[u8]) -> Result<(), Malformed> {
        self.observation = codec::decode(bytes)?;
        Ok(())
    }

    /// Of the replicated state.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        crate::fnv::hash(&codec::encode(&self.observation))
    }

    /// The intent in force.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The text of the configuration in force; empty when it was never replicated.
    #[must_use]
    pub fn text(&self) -> &str {
        ""
    }

    /// For the heartbeat.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::default()
    }

    /// Everything to show.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            primary: false,
            version: self.intent.version,
            checksum: self.intent.checksum,
            position: 0,
            settled: false,
            suspects: Vec::new(),
            services: Vec::new(),
            nodes: Vec::new(),
            malformed: 0,
        }
    }

    /// The causal chain of a service, or the whole journal.
    #[must_use]
    pub fn why(&self, service: Option<&str>) -> Vec<Note> {
        self.journal.why(service)
    }
}
