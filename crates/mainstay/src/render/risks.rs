//! `mainstay risks`.

use super::style::{Colour, Style};
use crate::risks::Risks;

/// What could be stronger first, each with its remedy, then what is as it should be.
#[must_use]
pub fn risks(risks: &Risks, style: Style) -> String {
    let (weak, fine): (Vec<_>, Vec<_>) = risks.rests.iter().partition(|rest| rest.remedy.is_some());
    let mut text = String::new();
    for rest in &weak {
        let what = style.paint(Colour::Odd, &rest.what);
        let remedy = rest.remedy.as_deref().unwrap_or_default();
        text.push_str(&format!("{what}: {}\n  mend: {remedy}\n", rest.on));
    }
    if weak.is_empty() {
        text.push_str("nothing could be stronger, as far as this node knows\n");
    }
    if !fine.is_empty() {
        text.push_str("\nas it should be:\n");
    }
    for rest in fine {
        text.push_str(&format!("  {}: {}\n", rest.what, rest.on));
    }
    text
}
