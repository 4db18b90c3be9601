//! Where the tree is looked for, on the layouts of mounts that exist in the field.

use std::path::PathBuf;

use super::{group_name, parents, tree_name, unescape};

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn finds_the_mount_beside_version_1() {
    let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                  32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    assert_eq!(parents(mounts, "2:cpu:/x\n0::/\n"), paths(&["/sys/fs/cgroup/unified"]));
}

#[test]
fn falls_back_to_the_own_part() {
    let mounts = "30 24 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    let own = "0::/system.slice/mainstay.service\n";
    let expected = paths(&["/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/mainstay.service"]);
    assert_eq!(parents(mounts, own), expected);
}

#[test]
fn a_mount_of_a_part_shows_that_part() {
    let mounts = "30 24 0:26 /user.slice /mnt/my\\040groups rw - cgroup2 none rw\n";
    let expected = paths(&["/mnt/my groups", "/mnt/my groups/user-7.slice"]);
    assert_eq!(parents(mounts, "0::/user.slice/user-7.slice\n"), expected);
    // A process outside of the mounted part has no own group in it.
    assert_eq!(parents(mounts, "0::/system.slice\n"), paths(&["/mnt/my groups"]));
}

#[test]
fn nothing_without_version_2() {
    assert_eq!(parents("32 31 0:29 / /cg rw - cgroup cgroup rw,cpu\nshort line\n", ""), paths(&[]));
}

#[test]
fn undoes_the_kernels_escapes() {
    assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
    assert_eq!(unescape(r"/a\04"), r"/a\04");
}

#[test]
fn names_cannot_leave_the_tree_or_hit_the_kernels_files() {
    assert_eq!(group_name("web-1_x"), "web-1_x");
    assert_eq!(group_name("../up"), "~~%2fup");
    assert_eq!(group_name("cgroup.procs"), "cgroup~procs");
    assert_eq!(group_name("~"), "%7e", "two names never share a group");
    let longest = "a.".repeat(base::limits::NAME_SIZE_MAX / 2);
    assert_eq!(group_name(&longest).len(), longest.len());
}

#[test]
fn nodes_of_one_machine_have_trees_of_their_own() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name =
        |cluster, node, root: &tempfile::TempDir| tree_name(cluster, node, root.path()).unwrap();
    assert_eq!(name("c", "n", &one), name("c", "n", &one));
    assert_ne!(name("c", "n", &one), name("c", "n", &two));
    assert_ne!(name("c", "n1", &one), name("c", "n2", &one));
    assert_ne!(name("ab", "c", &one), name("a", "bc", &one));
    let long = name(&"x".repeat(63), "a/../b", &one);
    assert!(long.len() < 70 && !long.contains('/') && !long.contains('.'), "{long}");
}
