//! Why everything happened: the decisions with their reasons, from the start.
//!
//! Notes are made while delivered entries are applied, so all members write the same ones, and a
//! joiner gets them with the snapshot. Each names the note that brought it about; [`Journal::why`]
//! follows these links back from what a service does now to what somebody, or a cable, did first.
//!
//! The journal is bounded per service, so that a service that fails every minute does not push
//! out why another one stands still, and bounded as a whole, so that it fits into a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use base::NodeId;
use base::codec;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::fnv;

/// Notes kept for one service, and for what concerns no single service.
pub const NOTES_PER_SERVICE_MAX: usize = 32;
/// Bytes of all notes together, as encoded.
pub const JOURNAL_SIZE_MAX: usize = 1 << 20;
/// Rejected nodes named in one note.
pub const REJECTED_PER_NOTE_MAX: usize = 16;
/// Bytes of a text that came from outside (an agent's reason), as kept.
pub const REASON_SIZE_MAX: usize = 240;

/// The rule that a decision followed, or the kind of thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Rule {
    /// The view changed.
    #[n(0)]
    View,
    /// It is proven that a lost node runs nothing any more.
    #[n(1)]
    Fenced,
    /// A new member said what it runs.
    #[n(2)]
    Report,
    /// Services may be placed from now on.
    #[n(3)]
    Settled,
    /// An operator said so.
    #[n(4)]
    Operator,
    /// Outcome of an action.
    #[n(5)]
    Outcome,
    /// A resource failed while the service was running.
    #[n(6)]
    Failure,
    /// The first node of the list that may run it.
    #[n(7)]
    ListOrder,
    /// Where the operator, or a failback, sent it.
    #[n(8)]
    Requested,
    /// Started again in place, within its restart limit.
    #[n(9)]
    Restart,
    /// The restart limit is used up, or a start failed: elsewhere.
    #[n(10)]
    Failover,
    /// Back to a node earlier in its list.
    #[n(11)]
    Failback,
    /// The node shall run nothing.
    #[n(12)]
    Evacuate,
    /// It was running already; only what was missing is started.
    #[n(13)]
    Adopt,
    /// The service is not in the configuration any more.
    #[n(14)]
    Removed,
    /// Nothing is done, and this is why.
    #[n(15)]
    Wait,
    /// The configuration changed.
    #[n(16)]
    Configure,
    /// Something worth knowing that changes nothing.
    #[n(17)]
    Remark,
}

impl Rule {
    /// The rule in one or two words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Rule::View => "view",
            Rule::Fenced => "fenced",
            Rule::Report => "report",
            Rule::Settled => "settled",
            Rule::Operator => "operator",
            Rule::Outcome => "outcome",
            Rule::Failure => "failure",
            Rule::ListOrder => "list order",
            Rule::Requested => "requested",
            Rule::Restart => "restart",
            Rule::Failover => "failover",
            Rule::Failback => "failback",
            Rule::Evacuate => "evacuate",
            Rule::Adopt => "adopt",
            Rule::Removed => "removed",
            Rule::Wait => "wait",
            Rule::Configure => "configure",
            Rule::Remark => "remark",
        }
    }
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Note {
    /// Counts the notes of this cluster since it formed.
    #[n(0)]
    pub number: u64,
    /// Position in the total order of the entry that led to it (the last one before, for views
    /// and fences).
    #[n(1)]
    pub position: u64,
    /// The view's generation.
    #[n(2)]
    pub generation: u64,
    /// The note that brought this one about.
    #[n(3)]
    pub because: Option<u64>,
    /// The service that it concerns; none when it concerns the cluster.
    #[n(4)]
    pub service: Option<String>,
    /// What brought it about, in words.
    #[n(5)]
    pub cause: String,
    /// The rule that was followed.
    #[n(6)]
    pub rule: Rule,
    /// The node that was chosen, or on which it happened.
    #[n(7)]
    pub chosen: Option<NodeId>,
    /// The nodes that were passed over, and why; at most [`REJECTED_PER_NOTE_MAX`].
    #[n(8)]
    pub rejected: Vec<(NodeId, String)>,
    /// All of it as a sentence.
    #[n(9)]
    pub sentence: String,
}

/// The notes that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    kept: Kept,
    /// Their numbers by service, so that a takeover of hundreds of services is not a search for each.
    numbers: BTreeMap<Option<String>, BTreeSet<u64>>,
}

/// What a snapshot has of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct Kept {
    #[n(0)]
    notes: BTreeMap<u64, Note>,
    #[n(1)]
    size: u64,
}

impl<C> Encode<C> for Journal {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        context: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        self.kept.encode(encoder, context)
    }
}

impl<'b, C> Decode<'b, C> for Journal {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Journal, decode::Error> {
        let kept = Kept::decode(decoder, context)?;
        let mut numbers: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        for (number, note) in &kept.notes {
            numbers.entry(note.service.clone()).or_default().insert(*number);
        }
        Ok(Journal { kept, numbers })
    }
}

impl Journal {
    /// Keeps a note and forgets what is beyond the limits. Returns its checksum.
    pub(crate) fn add(&mut self, mut note: Note) -> u64 {
        note.rejected.truncate(REJECTED_PER_NOTE_MAX);
        let bytes = codec::encode(&note);
        self.kept.size += bytes.len() as u64;
        let same = self.numbers.entry(note.service.clone()).or_default();
        same.insert(note.number);
        let oldest = same.first().copied().filter(|_| same.len() > NOTES_PER_SERVICE_MAX);
        self.kept.notes.insert(note.number, note);
        if let Some(oldest) = oldest {
            self.forget(oldest);
        }
        while self.kept.size > JOURNAL_SIZE_MAX as u64 {
            let oldest = *self.kept.notes.keys().next().expect("a size without notes is none");
            self.forget(oldest);
        }
        fnv::hash(&bytes)
    }

    fn forget(&mut self, number: u64) {
        let note = self.kept.notes.remove(&number).expect("only kept notes are forgotten");
        self.kept.size -= codec::encode(&note).len() as u64;
        let same = self.numbers.get_mut(&note.service).expect("each kept note is in its list");
        same.remove(&number);
        if same.is_empty() {
            self.numbers.remove(&note.service);
        }
    }

    /// All kept notes, oldest first.
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.kept.notes.values()
    }

    /// The note of that number, if it is still kept.
    #[must_use]
    pub fn note(&self, number: u64) -> Option<&Note> {
        self.kept.notes.get(&number)
    }

    /// The notes about one service with everything that led to them, oldest first; all notes when
    /// no service is named.
    #[must_use]
    pub fn why(&self, service: Option<&str>) -> Vec<Note> {
        let Some(service) = service else { return self.kept.notes.values().cloned().collect() };
        let mut wanted = BTreeSet::new();
        for number in self.numbers.get(&Some(service.to_owned())).into_iter().flatten() {
            let mut next = self.kept.notes.get(number);
            while let Some(note) = next {
                if !wanted.insert(note.number) {
                    break;
                }
                next = note.because.and_then(|number| self.kept.notes.get(&number));
            }
        }
        wanted.iter().map(|number| self.kept.notes[number].clone()).collect()
    }
}

/// A text from outside, cut to [`REASON_SIZE_MAX`] bytes and to one line.
pub(crate) fn bounded(text: &str) -> String {
    let mut end = text.len().min(REASON_SIZE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
