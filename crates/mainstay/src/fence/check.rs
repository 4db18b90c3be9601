//! Mistakes in `[[fence]]` that only this machine can see: agents that are not there, and options
//! that they do not know.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{agent, find, metadata};
use crate::config::{Cluster, suggest};

/// How long an agent may take to describe itself.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Something that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The agent that it is about, as it is written.
    pub agent: String,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Looks for all agents of a configuration, and asks each once about its options.
#[must_use]
pub fn check(cluster: &Cluster) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut known: BTreeMap<&str, Option<metadata::Metadata>> = BTreeMap::new();
    for fence in &cluster.fences {
        let node = cluster.name_of(fence.node);
        if !known.contains_key(fence.agent.as_str()) {
            let described = match find(&fence.agent) {
                Ok(_) => describe(fence, &node).map_err(|reason| Mistake {
                    agent: fence.agent.clone(),
                    message: format!("{} does not describe itself: {reason}", fence.agent),
                    help: "its options cannot be checked; try it with `mainstay fence verify`"
                        .into(),
                }),
                Err(reason) => Err(Mistake {
                    agent: fence.agent.clone(),
                    message: format!("{reason} on this machine"),
                    help: "any node may have to turn off any other: install it on all of them"
                        .into(),
                }),
            };
            let described = described.map_err(|mistake| mistakes.push(mistake)).ok();
            known.insert(&fence.agent, described);
        }
        let Some(Some(metadata)) = known.get(fence.agent.as_str()) else { continue };
        for option in fence.options.keys() {
            let given = option.strip_suffix("_file").filter(|key| super::is_secret(key));
            let given = given.unwrap_or(option);
            if metadata.options.contains(given) {
                continue;
            }
            let near = suggest::nearest(given, metadata.options.iter().map(String::as_str));
            mistakes.push(Mistake {
                agent: fence.agent.clone(),
                message: format!("{} of {node} has no option {given}", fence.agent),
                help: match near {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("see what it knows: {} -o metadata", fence.agent),
                },
            });
        }
        if !metadata.actions.is_empty() && !metadata.actions.contains("status") {
            mistakes.push(Mistake {
                agent: fence.agent.clone(),
                message: format!("{} cannot say whether a machine is off", fence.agent),
                help: "what nobody can see is no proof: such an agent frees nothing".into(),
            });
        }
    }
    mistakes
}

fn describe(fence: &crate::config::Fence, node: &str) -> Result<metadata::Metadata, String> {
    let (_stop, stopped) = std::sync::mpsc::channel();
    // Its options may have secrets, which describing itself needs not.
    let plain = crate::config::Fence { options: BTreeMap::new(), ..fence.clone() };
    let ended = agent::run(&plain, node, "metadata", TIMEOUT, &stopped)?;
    let metadata = metadata::parse(&ended.output);
    match ended.code {
        Some(0) if !metadata.options.is_empty() => Ok(metadata),
        Some(0) => Err("it names no options".to_owned()),
        _ => Err(ended.sentence()),
    }
}
