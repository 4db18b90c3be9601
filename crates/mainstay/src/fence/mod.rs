//! Fence agents: the programs called `fence_*` that other products use, run unchanged.
//!
//! An agent gets its options as lines `key=value` on standard input, `action` among them, and answers
//! with its exit code: 0 is success, for `status` 0 is on and 2 is off ("FenceAgentAPI" of the
//! fence-agents project). What it writes to standard error is for people.
//!
//! Which machine is turned off when, and what is believed, is decided in the core
//! (`node`, its ladder). Here is what needs a machine: [`agent`] runs one program within a budget and
//! leaves nothing of it behind; [`metadata`] reads what it says about its options; [`memory`] keeps
//! what was done; [`check`] finds mistakes before they matter; [`rounds`] says when agents are asked
//! whether they would answer.
//!
//! **Secrets.** An option `X_file` is ours: the first line of that file is handed over as `X`, so that
//! the configuration, which all nodes hold and many people read, has no secret in it. No value of a
//! secret option is written anywhere, not even where an agent repeats it.

pub mod agent;
pub mod check;
pub mod memory;
pub mod metadata;
pub mod rounds;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Fence;

/// Where agents are looked for.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Bytes of a file with a secret that are read.
const SECRET_SIZE_MAX: u64 = 4096;
/// How long the agents of a node may take to say whether its machine is on, for somebody who waits.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(30);
/// Stands for a secret.
pub const HIDDEN: &str = "***";

/// Whether nobody should see the value of an option of this name. The place of a secret is none.
#[must_use]
pub fn is_secret(option: &str) -> bool {
    let words = ["passw", "secret", "token", "community", "api_key", "apikey"];
    let is_place = ["_file", "_script", "_path"].iter().any(|end| option.ends_with(end));
    !is_place && words.iter().any(|word| option.contains(word))
}

/// An agent's options as anybody may see them.
#[must_use]
pub fn shown(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let hide = |(key, value): (&String, &String)| {
        let value = if is_secret(key) { HIDDEN.to_owned() } else { value.clone() };
        (key.clone(), value)
    };
    options.iter().map(hide).collect()
}

/// Where the program of an agent stands.
///
/// # Errors
/// A sentence that says where it is not.
pub fn find(agent: &str) -> Result<PathBuf, String> {
    let candidates: Vec<PathBuf> = match agent.starts_with('/') {
        true => vec![PathBuf::from(agent)],
        false => DIRECTORIES.iter().map(|directory| PathBuf::from(directory).join(agent)).collect(),
    };
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| match agent.starts_with('/') {
        true => format!("there is no {agent}"),
        false => format!("there is no {agent} in {}", DIRECTORIES.join(", ")),
    })
}

/// What an agent is given for one action, and which of it nobody may see.
#[derive(Clone, Default)]
pub struct Input {
    /// The lines of its standard input.
    pub text: String,
    secrets: Vec<String>,
}

impl Input {
    /// The input of an agent for an action; `node` is the node whose machine it is about.
    ///
    /// # Errors
    /// When a file with a secret cannot be read.
    pub fn new(fence: &Fence, node: &str, action: &str) -> Result<Input, String> {
        let mut input = Input::default();
        for (key, value) in &fence.options {
            let (key, value) = match key.strip_suffix("_file").filter(|key| is_secret(key)) {
                Some(key) => (key, read_secret(value)?),
                None => (key.as_str(), value.clone()),
            };
            if is_secret(key) && !value.is_empty() {
                input.secrets.push(value.clone());
            }
            input.text.push_str(&format!("{key}={value}\n"));
        }
        if !fence.options.contains_key("nodename") {
            input.text.push_str(&format!("nodename={node}\n"));
        }
        input.text.push_str(&format!("action={action}\n"));
        Ok(input)
    }

    /// The same text without secrets.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let hide = |text: String, secret: &String| text.replace(secret.as_str(), HIDDEN);
        self.secrets.iter().fold(text.to_owned(), hide)
    }
}

fn read_secret(path: &str) -> Result<String, String> {
    use std::io::Read;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(SECRET_SIZE_MAX).read_to_string(&mut text)?;
        Ok::<String, std::io::Error>(text)
    };
    let text = read().map_err(|error| format!("cannot read {path}: {error}"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;
