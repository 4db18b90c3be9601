//! The queue between the API's thread and the node's loop.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use api::v1;
use tokio::sync::{broadcast, oneshot};

use crate::config::Cluster;

/// Calls that wait for the loop at one time.
pub const CALLS_MAX: usize = 64;
/// Events that a slow reader may be behind.
pub const EVENTS_MAX: usize = 256;
/// How long the loop may take to answer a question.
const TIMEOUT_QUESTION: Duration = Duration::from_secs(5);
/// How long it may take to have a command ordered: longer than a view change of preset `classic`.
const TIMEOUT_COMMAND: Duration = Duration::from_secs(45);

/// What can be wanted of the addresses of a network on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkAct {
    /// The node's own go back to the primary interface.
    Return,
    /// Those of services are shared out anew.
    Rebalance,
}

impl NetworkAct {
    /// Both of them.
    pub const ALL: [NetworkAct; 2] = [NetworkAct::Return, NetworkAct::Rebalance];

    /// As paths and journals have it.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            NetworkAct::Return => "return",
            NetworkAct::Rebalance => "rebalance",
        }
    }
}

/// What the loop is asked.
#[derive(Debug)]
pub enum Request {
    /// → [`Reply::Status`]; membership, services and nodes are parts of it.
    Status,
    /// → [`Reply::Bound`].
    Bound,
    /// → [`Reply::Gate`].
    Gate,
    /// → [`Reply::Networks`].
    Networks,
    /// → [`Reply::Done`] once the thread that looks at interfaces is told.
    Interface {
        /// Its name; not checked yet.
        name: String,
        /// Whether it shall count as failed.
        disabled: bool,
        /// Why, for the journal.
        reason: Option<String>,
    },
    /// → [`Reply::Done`] once the addresses are on their way.
    Network {
        /// Its name; not checked yet.
        name: String,
        /// What is wanted.
        act: NetworkAct,
        /// Why, for the journal.
        reason: Option<String>,
    },
    /// → [`Reply::Watchdog`].
    Watchdog,
    /// → [`Reply::Fencing`].
    Fencing,
    /// → [`Reply::FenceHistory`].
    FenceHistory,
    /// → [`Reply::FenceVerification`] when all agents have answered, or their time is over.
    FenceVerify(v1::FenceVerifyRequest),
    /// → [`Reply::Done`] once agents are at work.
    Fence {
        /// Name of the node; not checked yet.
        name: String,
        /// What to do.
        verb: v1::FenceVerb,
        /// Why, for the journal.
        reason: Option<String>,
    },
    /// → [`Reply::Notes`]: the journal, or what of it is about one service.
    Why {
        /// The service.
        service: Option<String>,
    },
    /// → [`Reply::Events`]: what happened, oldest first.
    History {
        /// At most so many of the newest.
        limit: usize,
    },
    /// → [`Reply::Config`].
    Config,
    /// → [`Reply::Done`] once the command was delivered.
    Service {
        /// Name of the service; not checked yet.
        name: String,
        /// What to do.
        verb: v1::ServiceVerb,
        /// Where, for start, move, auto, manual.
        node: Option<String>,
        /// Why, for the journal.
        reason: Option<String>,
    },
    /// → [`Reply::Done`] once the command was delivered.
    Node {
        /// Name of the node; not checked yet.
        name: String,
        /// What to do.
        act: NodeAct,
        /// Why, for the journal.
        reason: Option<String>,
    },
    /// → [`Reply::Done`] once the view is forming.
    Seed(v1::SeedRequest),
    /// → [`Reply::Done`] once this node has its half of the path.
    PathCreate(v1::PathRequest),
    /// → [`Reply::Done`] once this node's half of the path is gone.
    PathDelete(v1::PathRequest),
    /// → [`Reply::PathTests`] when all are tested.
    PathTest(v1::PathTestRequest),
    /// → [`Reply::Done`] once this node is leaving.
    Leave(v1::LeaveRequest),
    /// → [`Reply::Checked`] when all nodes that can be reached have looked, or their time is over.
    Check {
        /// Parsed and checked.
        cluster: Box<Cluster>,
    },
    /// → [`Reply::Done`] once the configuration was delivered.
    Configure {
        /// Parsed and checked; its `text` is what is replicated.
        cluster: Box<Cluster>,
        /// The version it was made from; refused with [`v1::ErrorCode::Conflict`] when another one
        /// is in force. None stands for the one in force.
        expected_version: Option<u64>,
        /// What the caller asked for, for the journal.
        what: String,
        /// Why, for the journal.
        reason: Option<String>,
    },
}

/// What can be done with a node that stays configured. To remove one is a change of the
/// configuration: [`Request::Configure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAct {
    /// Move its services away and give it none.
    Standby,
    /// Take that back.
    Online,
    /// A person says that it runs nothing.
    ConfirmDown,
}

impl Request {
    /// Whether it changes something, so that the caller needs the right to.
    #[must_use]
    pub fn is_command(&self) -> bool {
        match self {
            Request::Status
            | Request::Bound
            | Request::Gate
            | Request::Networks
            | Request::Watchdog
            | Request::Fencing
            | Request::FenceHistory
            | Request::Why { .. }
            | Request::History { .. }
            | Request::Config => false,
            Request::Service { .. }
            | Request::Interface { .. }
            | Request::Network { .. }
            | Request::Fence { .. }
            | Request::FenceVerify(_)
            | Request::Node { .. }
            | Request::Seed(_)
            | Request::PathCreate(_)
            | Request::PathDelete(_)
            | Request::PathTest(_)
            | Request::Leave(_)
            | Request::Check { .. }
            | Request::Configure { .. } => true,
        }
    }
}

/// What the loop answers.
#[derive(Debug)]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<v1::Status>),
    /// To [`Request::Bound`].
    Bound(v1::Bound),
    /// To [`Request::Gate`].
    Gate(v1::Gate),
    /// To [`Request::Networks`].
    Networks(v1::Networks),
    /// To [`Request::Watchdog`].
    Watchdog(v1::Watchdog),
    /// To [`Request::Fencing`].
    Fencing(v1::Fencing),
    /// To [`Request::FenceHistory`].
    FenceHistory(v1::FenceHistory),
    /// To [`Request::FenceVerify`].
    FenceVerification(v1::FenceVerification),
    /// To [`Request::Why`].
    Notes(v1::Notes),
    /// To [`Request::History`].
    Events(v1::Events),
    /// To [`Request::Config`].
    Config(v1::ConfigShow),
    /// To [`Request::Check`].
    Checked(v1::ConfigCheck),
    /// To [`Request::PathTest`].
    PathTests(v1::PathTests),
    /// To all other commands.
    Done(v1::CommandReply),
}

/// Who asks, in the kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its user number.
    pub user: u32,
    /// Its process number.
    pub process: u32,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}, process {}", self.user, self.process)
    }
}

/// One request with the place for its answer.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks, for the journal.
    pub caller: Caller,
    /// Where the answer goes.
    pub answer: Answer,
}

/// Where the answer to one request goes. Dropped without an answer it tells the client so.
#[derive(Debug)]
pub struct Answer(oneshot::Sender<Result<Reply, v1::Error>>);

impl Answer {
    /// Answers. A client that has gone meanwhile is no error.
    pub fn send(self, answer: Result<Reply, v1::Error>) {
        let _client_is_gone = self.0.send(answer);
    }

    /// Whether the client has gone, so that an answer would be wasted work.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

/// A queue of calls and the way back for events. `wake` is called after each call was put into
/// the queue, from the API's thread; it must not block.
#[must_use]
pub fn channel(wake: impl Fn() + Send + Sync + 'static) -> (Handle, Inbox) {
    let (calls, inbox) = sync_channel(CALLS_MAX);
    let (events, _) = broadcast::channel(EVENTS_MAX);
    let handle = Handle { calls, wake: Arc::new(wake), events: events.clone() };
    (handle, Inbox { calls: inbox, events })
}

/// The API's end of the queue.
#[derive(Clone)]
pub struct Handle {
    calls: SyncSender<Call>,
    wake: Arc<dyn Fn() + Send + Sync>,
    events: broadcast::Sender<v1::Event>,
}

impl Handle {
    /// Asks the loop and waits for its answer, for a bounded time.
    ///
    /// # Errors
    /// The loop's refusal; `Busy` when the queue is full; `TimedOut` when no answer came.
    pub async fn request(&self, request: Request, caller: Caller) -> Result<Reply, v1::Error> {
        let limit = match request {
            // Ended by the agents' own budget.
            Request::FenceVerify(_) => crate::fence::VERIFY_TIMEOUT + TIMEOUT_QUESTION,
            _ if request.is_command() => TIMEOUT_COMMAND,
            _ => TIMEOUT_QUESTION,
        };
        let (answer, answered) = oneshot::channel();
        let call = Call { request, caller, answer: Answer(answer) };
        self.calls.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => {
                v1::Error::new(v1::ErrorCode::Busy, "the daemon has too many requests at once")
                    .help("try again in a moment")
            }
            TrySendError::Disconnected(_) => {
                v1::Error::new(v1::ErrorCode::Refused, "the daemon is shutting down")
            }
        })?;
        (self.wake)();
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_dropped)) => Err(v1::Error::new(
                v1::ErrorCode::TimedOut,
                "the daemon dropped the request while it was at work on it",
            )
            .help("whether it was done is not known: look at `mainstay status`")),
            Err(_elapsed) => Err(v1::Error::new(
                v1::ErrorCode::TimedOut,
                format!("no answer within {} s", limit.as_secs()),
            )
            .help("whether it was done is not known: look at `mainstay status`")),
        }
    }

    /// The events from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<v1::Event> {
        self.events.subscribe()
    }
}

/// The loop's end of the queue.
pub struct Inbox {
    calls: Receiver<Call>,
    events: broadcast::Sender<v1::Event>,
}

impl Inbox {
    /// Hands an event to all who follow; never blocks. Nobody following is no error.
    pub fn publish(&self, event: v1::Event) {
        let _nobody_follows = self.events.send(event);
    }
}

/// The calls that wait, the oldest first; never blocks. None when there is none now.
impl Iterator for Inbox {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        self.calls.try_recv().ok()
    }
}
