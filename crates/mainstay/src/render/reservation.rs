//! `mainstay reservation show`.

use serde::Serialize;

use super::style::Style;
use super::table::{Cell, Table};

/// Who is registered with a disk, and who has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reservation {
    /// Version of this format.
    pub schema: u32,
    /// The disk.
    pub device: String,
    /// The registered keys.
    pub keys: Vec<ReservationKey>,
    /// Whose the reservation is.
    pub holder: Option<ReservationKey>,
    /// Of which kind it is.
    pub kind: Option<String>,
}

/// A key and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReservationKey {
    /// 16 hexadecimal digits after `0x`.
    pub key: String,
    /// The node, or whatever else can be said; none for a stranger's.
    pub node: Option<String>,
    /// The node only keeps others from the disk: its service has stopped.
    pub unused: bool,
}

impl ReservationKey {
    fn whose(&self) -> String {
        let node = self.node.as_deref().unwrap_or("a stranger");
        if self.unused { format!("{node}, which keeps it unused") } else { node.to_owned() }
    }
}

/// A disk with its keys.
#[must_use]
pub fn reservation(state: &Reservation, style: Style) -> String {
    let mut text = match (&state.holder, &state.kind) {
        (Some(holder), Some(kind)) => {
            let whose = holder.whose();
            format!("{}: reserved by {} ({whose}), {kind}\n", state.device, holder.key)
        }
        _ => format!("{}: not reserved\n", state.device),
    };
    if state.keys.is_empty() {
        text.push_str("no key is registered\n");
        return text;
    }
    let mut table = Table::new(["REGISTERED", "NODE"]);
    for key in &state.keys {
        table.row([Cell::from(key.key.as_str()), Cell::from(key.whose())]);
    }
    text.push('\n');
    text.push_str(&table.render(style));
    text
}
