use super::{closure, dependency};

const NEEDS: &str = "\
kernel/net/sched/sch_netem.ko:
kernel/drivers/scsi/sd_mod.ko: kernel/drivers/scsi/scsi_mod.ko kernel/lib/crc-t10dif.ko
kernel/drivers/scsi/scsi_mod.ko:
kernel/lib/crc-t10dif.ko:
";

#[test]
fn modules_come_with_what_they_need() {
    let built_in = "kernel/fs/ext4/ext4.ko\n";
    let found = closure(NEEDS, built_in, &["sd_mod", "ext4", "crc_t10dif"]).expect("all known");
    assert_eq!(
        found,
        [
            "kernel/drivers/scsi/scsi_mod.ko",
            "kernel/drivers/scsi/sd_mod.ko",
            "kernel/lib/crc-t10dif.ko",
        ]
    );
    let error = closure(NEEDS, built_in, &["softdog"]).expect_err("it is not there");
    assert_eq!(error.to_string(), "this kernel has no module softdog");
}

#[test]
fn the_kernel_is_what_the_package_depends_on() {
    let words = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n";
    assert_eq!(dependency(words).as_deref(), Some("linux-image-6.1.0-9-cloud-amd64"));
    assert_eq!(dependency("linux-image-cloud-amd64\n  Depends: other\n"), None);
}
