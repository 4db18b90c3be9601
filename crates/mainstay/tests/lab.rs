//! Real daemons, real kernels, an outside client: what `mainstay lab scenario` measures has to be
//! good enough. Each test is a lab of its own. Most of them wait most of the time, so there may be
//! several at once; one that keeps the whole machine
//! busy, or has little time for what it wants to see, is alone.

use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock};

static MACHINE: RwLock<()> = RwLock::new(());

/// What `mainstay lab WORDS` says; it must be content. With patient times: a busy machine must not
/// look like a failure.
fn lab(words: &[&str]) -> String {
    let _one = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    run(words)
}

fn lab_alone(words: &[&str]) -> String {
    let _all = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    run(words)
}

fn run(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .arg("lab")
        .args(words)
        .args(["--detection", "normal"])
        .env_remove("MAINSTAY_LAB")
        .stdin(Stdio::null())
        .output()
        .expect("the program is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {}\n{said}{errors}", output.status);
    said
}

/// Plays a scenario.
fn play(scenario: &str, times: u32) {
    check(&lab(&["scenario", scenario, "--times", &times.to_string()]), times);
}

/// Plays a scenario once, with the machine for itself.
fn play_alone(scenario: &str) {
    check(&lab_alone(&["scenario", scenario, "--times", "1"]), 1);
}

fn check(said: &str, times: u32) {
    let figures = said.lines().filter(|line| line.contains("probes")).count();
    assert_eq!(figures, times as usize, "{said}");
}

#[test]
fn what_one_node_loses_goes_elsewhere_and_what_all_lose_moves_nothing() {
    play("service-network", 1);
    play("switch-off", 1);
}

#[test]
fn a_partition_that_all_clients_can_look_behind_shows_one_owner() {
    play("partition", 2);
}

#[test]
fn a_stopped_daemon_answers_nothing_when_its_service_is_elsewhere() {
    play("stop-daemon", 1);
}

#[test]
fn an_owner_that_stands_still_altogether_answers_nothing() {
    let said = lab(&["scenario", "frozen-owner", "--times", "2"]);
    check(&said, 2);
    told_of_the_gate(&said);
}

#[test]
fn an_owner_without_daemon_and_guard_answers_nothing_when_its_service_is_elsewhere() {
    let said = lab(&["scenario", "stop-daemon-and-guard", "--times", "1"]);
    check(&said, 1);
    told_of_the_gate(&said);
}

#[test]
fn a_daemon_stands_in_for_a_guard_that_is_stopped_or_gone() {
    for scenario in ["stop-guard", "kill-guard"] {
        let said = lab(&["scenario", scenario, "--times", "1"]);
        check(&said, 1);
        told_of_the_gate(&said);
    }
}

/// Each figure says which gate was judged, or that there can be none.
fn told_of_the_gate(said: &str) {
    for figure in said.lines().filter(|line| line.contains("probes")) {
        match figure.split_once("SKIPPED: ") {
            Some((_, why)) => eprintln!("SKIPPED: {why}"),
            None => assert!(figure.contains("the lease gate of n"), "{said}"),
        }
    }
}

#[test]
fn a_cluster_with_nothing_but_a_disk_stays_together_and_takes_commands() {
    play("disk-only", 1);
}

#[test]
fn two_nodes_with_nothing_but_a_serial_line_stay_together_and_take_commands() {
    play("line-only", 1);
}

#[test]
fn both_ends_of_a_path_name_the_direction_that_is_cut() {
    play("one-way", 1);
}

#[test]
fn a_killed_daemon_is_not_noticed_by_the_service() {
    play("kill-daemon", 3);
}

#[test]
fn a_disk_that_stands_still_disturbs_nobody() {
    play("disk-frozen", 1);
}

#[test]
fn a_stranger_s_frames_are_counted_and_change_nothing() {
    play_alone("storm");
}

#[test]
fn a_flooded_network_moves_nothing() {
    play_alone("flood");
}

#[test]
fn nodes_under_a_flood_take_over_from_one_that_is_lost() {
    play_alone("flooded-takeover");
}

#[test]
fn what_is_configured_wrong_elsewhere_is_named_and_changes_nothing() {
    play("named-wrongs", 1);
}

#[test]
fn a_fence_agent_that_fails_is_followed_by_the_next_and_nothing_starts_before_the_machine_is_off() {
    play("fence-rungs", 6);
}

#[test]
fn fence_agents_are_checked_and_used_by_hand() {
    play("fence-by-hand", 1);
}

#[test]
fn paths_come_back_with_their_interfaces_and_addresses() {
    play("interfaces", 1);
}

#[test]
fn machines_need_not_agree_on_what_a_network_takes() {
    play("sizes", 1);
}

#[test]
fn connections_live_on_when_their_addresses_go_to_a_standby_and_back() {
    play("local-switch", 1);
    play("local-switch-alone", 1);
}

#[test]
fn a_dead_switch_is_no_reason_to_move_anything_to_a_standby() {
    play("switch-dead", 1);
}

#[test]
fn without_both_cards_only_services_of_their_network_move() {
    play("both-cards", 1);
}

#[test]
fn hundreds_of_addresses_are_taken_over_in_one_go() {
    play_alone("many-addresses");
}

#[test]
fn a_card_that_keeps_its_carrier_and_does_not_work_is_found_and_left() {
    play_alone("silent-failure");
}

#[test]
fn a_deaf_card_is_found_where_that_is_looked_for() {
    play_alone("deaf-card");
    play_alone("deaf-card-inout");
}

#[test]
fn without_frames_on_both_cards_only_services_of_their_network_move() {
    play("network-down", 1);
}

#[test]
fn a_boot_address_is_taken_over_with_and_without_a_hardware_address() {
    play("replacement", 1);
    play("hardware-address", 1);
}

#[test]
fn each_preference_puts_addresses_where_an_outside_client_finds_them() {
    play("preferences", 1);
}

/// Two nodes, few cuts: the long runs are made by hand.
fn ties(tie: &str, words: &[&str]) {
    let said = lab(&[&["ties", "--tie", tie], words].concat());
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("{tie}: ")), "{said}");
    // Without a tie-breaker nobody is meant to go on.
    if !["none", "manual"].contains(&tie) {
        let cuts = words.iter().skip_while(|word| **word != "--times").nth(1).expect("how often");
        let all = format!("{cuts} cuts, {cuts} with exactly one survivor");
        assert!(last.contains(&all), "{said}");
    }
}

#[test]
fn a_disk_lets_exactly_one_of_two_go_on() {
    ties("disk", &["--times", "3"]);
}

#[test]
fn a_witness_lets_exactly_one_of_two_go_on() {
    ties("witness", &["--times", "3"]);
}

#[test]
fn the_node_that_reaches_the_gateway_goes_on_before_the_loaded_one() {
    ties("witness", &["--times", "2", "--gateway"]);
}

#[test]
fn a_witness_that_is_killed_meanwhile_lets_no_second_one_go_on() {
    ties("witness", &["--times", "2", "--kill"]);
}

#[test]
fn a_witness_that_is_killed_at_each_of_two_moments_lets_no_second_one_go_on() {
    ties("witness", &["--times", "4", "--sweep"]);
}

#[test]
fn an_etcd_and_three_of_which_one_is_killed_let_exactly_one_of_two_go_on() {
    let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        eprintln!("SKIPPED: there is no etcd here (Debian: etcd-server)");
        return;
    }
    ties("etcd", &["--times", "2"]);
    ties("three", &["--times", "3", "--kill"]);
}

#[test]
fn a_disk_that_freezes_meanwhile_lets_no_second_one_go_on() {
    ties("disk", &["--times", "2", "--kill"]);
}

#[test]
fn without_a_tie_breaker_nobody_goes_on_until_a_person_speaks() {
    ties("none", &[]);
    ties("manual", &[]);
}

#[test]
fn blows_by_lot_never_make_two_owners() {
    let said = lab_alone(&["torture", "--steps", "8"]);
    assert!(said.contains("0 breaches, 0 failures"), "{said}");
    let said = lab_alone(&["torture", "--steps", "8", "--nodes", "2", "--tie", "witness"]);
    assert!(said.contains("0 breaches, 0 failures"), "{said}");
}
