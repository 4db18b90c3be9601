//! `mainstay gate`.

use api::v1::{Gate, GateAttachment, GateKind};

use super::style::{Colour, Style};
use super::table::{Cell, Table};

#[cfg(test)]
mod tests;

/// Where the gate is, and what passes.
#[must_use]
pub fn gate(gate: &Gate, style: Style) -> String {
    let mut text = match (gate.kind, &gate.reason) {
        (GateKind::Kernel, _) => format!(
            "the kernel of {} closes a service address at the end of its lease\n",
            gate.node
        ),
        (GateKind::Nftables, reason) => format!(
            "the kernel of {} closes a service address at the end of its lease, by nftables; programs are \
             refused ({})\nafter a suspend it may answer for what was left of its lease, until the guard \
             has acted\n",
            gate.node,
            reason.as_deref().unwrap_or("it does not say why")
        ),
        (GateKind::None, reason) => format!(
            "there is no lease gate on {} ({}): the guard ends services at the end of their lease, and \
             behind it the lifetime of addresses in the kernel\n",
            gate.node,
            reason.as_deref().unwrap_or("it does not say why")
        ),
    };
    if !gate.interfaces.is_empty() {
        let mut table = Table::new(["INTERFACE", "GATED"]);
        for interface in &gate.interfaces {
            let (colour, said) = match interface.state {
                GateAttachment::Both => (Colour::Good, "in and out"),
                GateAttachment::In => (Colour::Odd, "in only"),
                GateAttachment::Out => (Colour::Bad, "out only"),
                GateAttachment::Port => (Colour::Plain, "as its bridge is"),
                GateAttachment::Missing if gate.addresses.is_empty() => {
                    (Colour::Plain, "no address to gate")
                }
                GateAttachment::Missing => (Colour::Bad, "no"),
            };
            table.row([Cell::from(interface.name.as_str()), Cell::new(colour, said)]);
        }
        text.push_str(&format!("\n{}", table.render(style)));
        for interface in &gate.interfaces {
            for before in &interface.before {
                let said = format!("{}: asked before the gate, {before}", interface.name);
                text.push_str(&format!("\n{}\n", style.paint(Colour::Bad, &said)));
                text.push_str(
                    "  what it lets through the gate does not see: give it a later place\n",
                );
            }
        }
    }
    if !gate.addresses.is_empty() {
        let mut table = Table::new(["ADDRESS", "SERVICE", "OPEN FOR", "PASSED", "DROPPED"]);
        for address in &gate.addresses {
            let open = match address.open_ms {
                Some(millis) => Cell::new(Colour::Good, format!("{millis} ms")),
                None => Cell::from("closed"),
            };
            table.row([
                Cell::from(address.address.as_str()),
                Cell::from(address.service.as_deref().unwrap_or("(configured no more)")),
                open,
                Cell::from(
                    address.passed.map_or_else(|| "-".to_owned(), |count| count.to_string()),
                ),
                Cell::from(address.dropped.to_string()),
            ]);
        }
        text.push_str(&format!("\n{}", table.render(style)));
    }
    text
}
