//! What is said in sealed frames: JSON of these types.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the new node asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The name that it wants.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<AskAddress>,
    /// Version of its program, for the journal.
    pub program: String,
}

/// One address of the new node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskAddress {
    /// Name of the network; None when the address's subnet says which.
    pub network: Option<String>,
    /// Address with prefix: `10.77.0.3/24`.
    pub address: String,
}

/// What the member answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum AskAnswer {
    /// The node is in the configuration.
    Accept {
        /// The id that it was given.
        node_id: u8,
        /// The cluster key, 64 hexadecimal digits.
        key: String,
        /// The configuration that has it.
        text: String,
    },
    /// It is not.
    Refuse {
        /// Why.
        message: String,
        /// What to do.
        help: Option<String>,
    },
}

impl fmt::Debug for AskAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskAnswer::Accept { node_id, .. } => {
                f.debug_struct("Accept").field("node_id", node_id).finish_non_exhaustive()
            }
            AskAnswer::Refuse { message, help } => {
                f.debug_struct("Refuse").field("message", message).field("help", help).finish()
            }
        }
    }
}
