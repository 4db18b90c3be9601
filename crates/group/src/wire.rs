//! What members of a group say to each other, over the reliable channels of the transport, and
//! the digest that each puts into its heartbeats.
//!
//! All bodies are CBOR with numbered fields (RFC 8949). Every message names the lineage and the
//! generation that it belongs to, so that whatever arrives late is recognised as late:
//!
//! ```text
//! message = [variant, [lineage, generation, …fields]]
//! ```

use base::{Incarnation, Member, NodeId, NodeSet, View};
use minicbor::{Decode, Encode};

/// A proposal number: rounds are unique to their proposer (Lamport, "Paxos Made Simple", §2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Ballot {
    /// Grows with each attempt.
    #[n(0)]
    pub round: u32,
    /// Who attempts.
    #[n(1)]
    pub node: u8,
}

/// A node that was a member, or is configured, and of which it is not known that it has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Absence {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// The life that was lost; the greatest number stands for any life.
    #[n(1)]
    pub incarnation: Incarnation,
    /// The generation whose installation made it absent.
    #[n(2)]
    pub generation: u64,
}

/// An absence, and how long it has lasted at the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Wait {
    /// Who is waited for.
    #[n(0)]
    pub absence: Absence,
    /// Milliseconds since the last contact, rounded down.
    #[n(1)]
    pub age_ms: u64,
    /// Its lease is over: delivered in the order of entries. What only a proof can end goes on.
    #[n(2)]
    pub is_lapsed: bool,
}

/// Why a lost member can act no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Proof {
    /// The fence wait has passed: its lease is over. All others prove that the whole life is.
    #[n(0)]
    Time,
    /// Its guard has said that nothing runs there.
    #[n(1)]
    Goodbye,
    /// A person has said so.
    #[n(2)]
    Operator,
    /// A fence agent has seen that its machine is off.
    #[n(3)]
    Agent,
    /// Its watchdog, of which it had told all members, has reset the machine by now.
    #[n(4)]
    Watchdog,
}

/// What a view decides about its successor.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Value {
    /// The successor; its members are those that promised (without the leaving), then joiners.
    #[n(0)]
    pub view: View,
    /// The members of `view` that were not members before.
    #[n(1)]
    pub joiners: Vec<Member>,
    /// The members that asked to leave: they have stopped everything.
    #[n(2)]
    pub left: Vec<Member>,
    /// How many entries of the ending view are kept: the shortest log among the promises.
    #[n(3)]
    pub trim: u64,
    /// Hash chain over those entries.
    #[n(4)]
    pub trim_hash: u64,
    /// All absences from now on: the newly lost, and those that were waited for before.
    #[n(5)]
    pub waits: Vec<Wait>,
}

impl Value {
    /// Whether this can be what `view` decided: the next generation of its history, of members of
    /// its own and joiners, with its own incarnations.
    pub(crate) fn succeeds(&self, view: &View) -> bool {
        let stays = |member: &&Member| !self.joiners.contains(member);
        self.view.lineage == view.lineage
            && self.view.generation == view.generation + 1
            && self.view.nodes().contains(self.view.hub)
            && self.view.members.iter().filter(stays).all(|member| view.has(*member))
    }
}

/// One entry of the total order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Who submitted it.
    #[n(0)]
    pub origin: Member,
    /// Dense per origin, from 1.
    #[n(1)]
    pub number: u64,
    /// What it carries.
    #[n(2)]
    pub content: Content,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Content {
    /// A payload of the layer above.
    #[n(0)]
    Payload(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// A payload that each member makes durable before it acknowledges it.
    #[n(1)]
    Durable(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// This absent node can act no more.
    #[n(2)]
    Fence(#[n(0)] Absence, #[n(1)] Proof),
}

impl Content {
    /// Bytes that count against the windows.
    pub(crate) fn size(&self) -> usize {
        match self {
            Content::Payload(bytes) | Content::Durable(bytes) => bytes.len(),
            Content::Fence(..) => 32,
        }
    }
}

/// What a joiner needs to take part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// How many entries this state contains.
    #[n(0)]
    pub position: u64,
    /// The last number delivered of each origin that is a member.
    #[n(1)]
    pub delivered: Vec<(Member, u64)>,
    /// Absences that are still waited for.
    #[n(3)]
    pub waits: Vec<Wait>,
    /// The replicated state of the layer above.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub state: Vec<u8>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Asks a member of `generation` to promise, and says which of its members the sender reaches.
    #[n(0)]
    Prepare(#[n(0)] Scope, #[n(1)] Ballot, #[n(2)] NodeSet),
    /// The promise: order, acknowledge and grant nothing more in this generation.
    #[n(1)]
    Promise(#[n(0)] Scope, #[n(1)] Ballot, #[n(2)] Box<Promise>),
    /// No; the ballot that was promised, or (0, 0) when the proposer is not accepted.
    #[n(2)]
    Refuse(#[n(0)] Scope, #[n(1)] Ballot, #[n(2)] Ballot),
    /// Asks for acceptance of a value.
    #[n(3)]
    Accept(#[n(0)] Scope, #[n(1)] Ballot, #[n(2)] Box<Value>),
    /// Accepted.
    #[n(4)]
    Accepted(#[n(0)] Scope, #[n(1)] Ballot),
    /// The value was decided for the successor of this generation.
    #[n(5)]
    Decided(#[n(0)] Scope, #[n(1)] Box<Value>),
    /// To a joiner: the view that it is in now, and the state at its start.
    #[n(6)]
    Install(#[n(0)] Scope, #[n(1)] Box<Value>, #[n(2)] Box<Snapshot>),
    /// To a node that still believes in a view that has a successor without it.
    #[n(7)]
    LeftOut(#[n(0)] Scope),
    /// Member to hub: please order these.
    #[n(8)]
    Submit(#[n(0)] Scope, #[n(1)] Vec<Entry>),
    /// Hub to members: entries from sequence `first` on; all up to `commit` may be delivered.
    #[n(9)]
    Order(#[n(0)] Scope, #[n(1)] Order),
    /// Member to hub: I hold everything up to this sequence.
    #[n(10)]
    Ack(#[n(0)] Scope, #[n(1)] u64),
    /// Asks an unseeded node to be a founding member of this view.
    #[n(11)]
    Form(#[n(0)] u64, #[n(1)] View),
    /// The view of that attempt is recorded here.
    #[n(12)]
    FormAccepted(#[n(0)] u64),
    /// The attempt is off; nobody was told to install it.
    #[n(13)]
    FormAbort(#[n(0)] u64),
    /// A person seeds a new view at the sender, which was a member of this one. Whoever waits in
    /// it without a quorum gives it up.
    #[n(14)]
    Dissolve(#[n(0)] Scope),
}

/// The history and the view that a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Scope {
    /// The lineage.
    #[n(0)]
    pub lineage: u32,
    /// The generation.
    #[n(1)]
    pub generation: u64,
}

impl Scope {
    pub(crate) fn of(view: &View) -> Scope {
        Scope { lineage: view.lineage, generation: view.generation }
    }
}

/// What an acceptor reports with its promise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Promise {
    /// The value that it has accepted with the highest ballot.
    #[n(0)]
    pub accepted: Option<(Ballot, Value)>,
    /// The length of its log.
    #[n(1)]
    pub have: u64,
    /// Milliseconds, rounded down, since it last heard each other member, frozen now.
    #[n(2)]
    pub ages: Vec<(NodeId, u64)>,
    /// What it still waits for.
    #[n(3)]
    pub waits: Vec<Wait>,
}

/// A run of entries and the commit point.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    /// Sequence of the first entry, from 1.
    #[n(0)]
    pub first: u64,
    /// All members hold everything up to here.
    #[n(1)]
    pub commit: u64,
    /// The entries.
    #[n(2)]
    pub entries: Vec<Entry>,
}

/// Where a node stands, as others see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// Not in a view; runs nothing; wants to join.
    #[default]
    #[n(0)]
    Unseeded,
    /// A member that orders, acknowledges and grants.
    #[n(1)]
    Member,
    /// A member that has promised a ballot.
    #[n(2)]
    Sealed,
    /// A member that has stopped everything and wants to be let go.
    #[n(3)]
    Leaving,
    /// Left out, still stopping what it ran; neither votes nor joins.
    #[n(4)]
    Out,
}

/// What each node tells all others in its heartbeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Digest {
    /// Where it stands.
    #[n(0)]
    pub standing: Standing,
    /// Its view's lineage; of its record when it has no view; 0 without either.
    #[n(1)]
    pub lineage: u32,
    /// Likewise the generation.
    #[n(2)]
    pub generation: u64,
    /// Members of its view.
    #[n(3)]
    pub members: u8,
    /// The newest view that it has recorded: lineage, generation, hash.
    #[n(4)]
    pub record: Option<(u32, u64, u64)>,
    /// Version of the configuration that it holds.
    #[n(5)]
    pub configuration: u64,
    /// Its guard has restarted it after a crash: whoever was there before is dead, what it ran
    /// is watched, and it should be let in without delay.
    #[n(6)]
    pub certified: bool,
    /// What it reaches outside of the cluster.
    #[n(7)]
    pub outside: Outside,
}

/// What a node reaches of those that its services are for; the best one first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Outside {
    /// Its gateways answer, or none is configured.
    #[default]
    #[n(0)]
    Reached,
    /// On one of its networks none of the configured gateways answers.
    #[n(1)]
    NoGateway,
    /// No interface of its networks works.
    #[n(2)]
    NoCarrier,
}

/// The hash that names a view in digests (FNV-1a over its CBOR form).
fn view_hash(view: &View) -> u64 {
    fold(0xcbf2_9ce4_8422_2325, &base::codec::encode(view))
}

/// What names a recorded view in digests: lineage, generation, hash.
pub(crate) fn name(view: &View) -> (u32, u64, u64) {
    (view.lineage, view.generation, view_hash(view))
}

/// Continues a hash chain.
pub(crate) fn fold(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
