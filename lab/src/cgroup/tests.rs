use super::*;

#[test]
fn version_2_is_found_beside_version_1() {
    let text = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                31 30 0:27 / /sys/fs/cgroup/cpu rw shared:7 - cgroup cgroup rw,cpu\n\
                41 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    assert_eq!(find_mount(text), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    assert_eq!(find_mount("31 30 0:27 / /a rw - cgroup cgroup rw,cpu\n"), None);
}
