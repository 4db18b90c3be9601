//! Mainstay in a lab: both networks, one service that is nothing but the address.

use anyhow::{Context, Result};
use lab::cluster::{Cluster, Resource, SERVICE, SERVICE_ADDRESS, Service};
use lab::many::Many;
use lab::{Lab, Status, api};
use serde_json::json;

use super::product::Installed;

/// With one of its presets.
pub(crate) struct Mainstay {
    pub(crate) detection: &'static str,
    /// With so many addresses instead of the one that the client asks.
    pub(crate) many: Option<Many>,
}

impl Installed for Mainstay {
    fn start(&mut self, lab: &mut Lab) -> Result<()> {
        let address =
            Resource::Address { name: "ip".to_owned(), address: format!("{SERVICE_ADDRESS}/24") };
        let service = Service {
            name: SERVICE.to_owned(),
            nodes: lab.node_names(),
            head: String::new(),
            resources: vec![address],
        };
        let services = self.many.map_or_else(|| vec![service], |many| many.services(lab));
        let cluster = Cluster { services, ..Cluster::new(self.detection) };
        lab.write_cluster(&cluster)?;
        lab.start_all()
    }

    fn is_settled(&mut self, lab: &mut Lab) -> Result<bool> {
        let names = lab.node_names();
        let said: Option<Vec<Status>> = names.iter().map(|name| status(lab, name)).collect();
        let Some(said) = said else { return Ok(false) };
        let generation = said[0].view.generation;
        Ok(said.iter().all(|status| {
            let runs = |service: &api::ServiceStatus| service.state == "running";
            status.node.state == "member"
                && status.view.generation == generation
                && status.view.members.len() == names.len()
                && status.services.iter().all(runs)
        }))
    }

    fn begin_move(&mut self, lab: &mut Lab, from: &str) -> Result<()> {
        let to = lab.node_names().into_iter().find(|name| name != from);
        let to = to.context("there is another node")?;
        let path = format!("/v1/services/{SERVICE}/move");
        api::command(lab.root(from)?, &path, &json!({ "node": to, "reason": "bench-peers" }))?;
        Ok(())
    }

    fn end_move(&mut self, _: &mut Lab, _: &str) -> Result<()> {
        Ok(())
    }
}

/// What a node says; one that is starting, or cut off and busy with that, says nothing.
fn status(lab: &Lab, node: &str) -> Option<Status> {
    lab.root(node).ok().and_then(|root| api::status(root).ok())
}
