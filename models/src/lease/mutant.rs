//! The rules of the lease model, each with the mutant that breaks it.

/// The names of all mutants, for command lines.
pub const MUTANTS: [(&str, Mutant); 28] = [
    ("sealed-gains", Mutant::SealedGains),
    ("sealed-echoes", Mutant::SealedEchoes),
    ("echo-from-other-view", Mutant::EchoFromOtherView),
    ("fresh-at-install", Mutant::FreshAtInstall),
    ("joiner-counts-from-start", Mutant::JoinerCountsFromStart),
    ("joiner-never-heard", Mutant::JoinerNeverHeard),
    ("restarted-member-stays", Mutant::RestartedMemberStays),
    ("oldest-age", Mutant::OldestAge),
    ("age-of-hub-only", Mutant::AgeOfHubOnly),
    ("wait-from-promise", Mutant::WaitFromPromise),
    ("wait-dropped-at-next-view", Mutant::WaitDroppedAtNextView),
    ("evidence-through-hub", Mutant::EvidenceThroughHub),
    ("relay-undiscounted", Mutant::RelayUndiscounted),
    ("sealed-relays", Mutant::SealedRelays),
    ("lost-hubs-age-ignored", Mutant::LostHubsAgeIgnored),
    ("half-is-evidence", Mutant::HalfIsEvidence),
    ("lease-from-reception", Mutant::LeaseFromReception),
    ("start-while-held", Mutant::StartWhileHeld),
    ("start-without-evidence", Mutant::StartWithoutEvidence),
    ("stopped-names-no-start", Mutant::StoppedNamesNoStart),
    ("free-names-no-absence", Mutant::FreeNamesNoAbsence),
    ("clean-not-verified", Mutant::CleanNotVerified),
    ("extend-before-adopted", Mutant::ExtendBeforeAdopted),
    ("old-wait-frees-adopted", Mutant::OldWaitFreesAdopted),
    ("adopt-what-was-freed", Mutant::AdoptWhatWasFreed),
    ("return-trusts-ages", Mutant::ReturnTrustsAges),
    ("cold-start-without-wait", Mutant::ColdStartWithoutWait),
    ("clock-pauses-with-machine", Mutant::ClockPausesWithMachine),
];

/// One rule broken on purpose. The rule is what the sentence denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A sealed node goes on gaining evidence.
    SealedGains,
    /// A sealed node goes on echoing the stamps of others.
    SealedEchoes,
    /// Stamps are heard and echoed across views, and the echoes count.
    EchoFromOtherView,
    /// A node enters a view with a whole lease instead of the evidence it had when it promised.
    FreshAtInstall,
    /// For a joiner, the members of its first view count as heard at the start of its daemon.
    JoinerCountsFromStart,
    /// For a joiner, the members of its first view count as never heard.
    JoinerNeverHeard,
    /// A restarted node is still a member of its old view, unsealed, and reports ages since its
    /// start.
    RestartedMemberStays,
    /// The wait is reduced by the greatest of the reported ages instead of the least.
    OldestAge,
    /// The wait is reduced by the age that the coordinator itself has, whatever others report.
    AgeOfHubOnly,
    /// The hub counts the wait from its own promise instead of its entry: others may have heard the
    /// lost member, and promised, later.
    WaitFromPromise,
    /// A wait that is running is not carried into the next view.
    WaitDroppedAtNextView,
    /// An echo by the hub counts as if more than half of the view had echoed.
    EvidenceThroughHub,
    /// A hub relays its evidence as if it were of this moment.
    RelayUndiscounted,
    /// A sealed hub goes on hearing and relaying.
    SealedRelays,
    /// The wait for a member that is lost together with its hub is reduced by the ages of that
    /// member alone.
    LostHubsAgeIgnored,
    /// Echoes of exactly half of the view are enough.
    HalfIsEvidence,
    /// An echo counts as of its reception, not as of the stamp in it.
    LeaseFromReception,
    /// A start is valid although the service has a holder.
    StartWhileHeld,
    /// A holder starts the service with a whole lease, whatever its evidence is.
    StartWithoutEvidence,
    /// "Stopped" names the node, not the start that it answers.
    StoppedNamesNoStart,
    /// "Free" names the node, not the absence that it belongs to, and a node that came back stays
    /// on the list of the absent.
    FreeNamesNoAbsence,
    /// A joiner says that nothing runs on its machine although something does.
    CleanNotVerified,
    /// A new incarnation extends the lease of what its predecessor left before its report is
    /// delivered.
    ExtendBeforeAdopted,
    /// The end of an old incarnation's wait frees the service although the new one has adopted it.
    OldWaitFreesAdopted,
    /// A report of a running service is believed although the service was freed before.
    AdoptWhatWasFreed,
    /// At a return, the wait for a restarted member is reduced by the ages of the living ones.
    ReturnTrustsAges,
    /// After a cold start services are placed at once.
    ColdStartWithoutWait,
    /// The clock of a machine stands still while the machine is paused, so its guard sleeps too: a
    /// limit that no rule covers, shown here to be one.
    ClockPausesWithMachine,
}
