//! What should happen next.
use crate::intent::{Intent, Service};
use crate::observation::{Observation, ServiceState};

/// What should happen next, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {}

/// The plan for this situation.
#[must_use]
pub fn plan(_intent: &Intent, _observation: &Observation) -> Plan {
    Plan {}
}

pub(crate) fn is_broken(_: &Observation, _: &Service, _: &ServiceState) -> bool {
    false
}
