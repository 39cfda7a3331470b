//! Which file systems cannot carry a channel: those shared with another kernel. Maps of one file on
//! two machines are two memories, and the locks of one machine mean nothing on the other.

use std::fs;

use super::errno::{self, Os};
use super::file::Stat;
use crate::sync::planted;

/// Magic numbers of `statfs`, from the kernel's headers and from those of file systems outside it.
const NETWORK: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x564c, "NCP"),
    (0x4750_4653, "GPFS"),
    (0x2003_0528, "OrangeFS"),
    (0x1983_0326, "BeeGFS"),
    (0xaad7_aaea, "PanFS"),
    (0x6163_6673, "ACFS"),
    (0xbeef_dead, "StorNext"),
    (0x0131_11a8, "Ibrix"),
    (0xbacb_acbc, "VMware shared folder"),
    (0x786f_4256, "VirtualBox shared folder"),
    (0x7c7c_6673, "Parallels shared folder"),
];

const FUSE: u64 = 0x6573_5546;
const BTRFS: u32 = 0x9123_683e;

/// File systems in user space, by the subtype in the mount table; others are taken for local.
#[rustfmt::skip]
const NETWORK_FUSE: &[&str] = &[
    "afpfs", "beegfs", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "curlftpfs", "cvmfs2", "davfs",
    "davfs2", "dfs", "fakeowner", "ftpfs", "fuse_dfs", "gcsfuse", "glusterfs", "google-drive-ocamlfuse",
    "goofys", "grpcfuse", "gvfsd-fuse", "hdfs", "httpfs", "httpdirfs", "juicefs", "kio-fuse",
    "lizardfs", "mfs", "moosefs", "mount-s3", "mountpoint-s3", "nfs", "onedriver", "osxfs",
    "prl_fsd", "quobyte", "rclone", "s3backer", "s3fs", "s3ql", "saunafs", "seaweedfs", "smbnetfs",
    "sshfs", "vboxsf", "virtiofs", "vmhgfs-fuse", "weed", "xtreemfs",
];

/// The name of the network file system that an open file or directory is on, if it is on one.
pub fn refuse_network(fd_raw: i32) -> Os<Option<&'static str>> {
    // SAFETY: a struct of integers, for which zeros are a value.
    let mut s: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `s` is a valid statfs buffer.
    errno::retry(|| unsafe { libc::fstatfs(fd_raw, &mut s) })?;
    // Through u32: on some architectures the field is signed and 32 bits wide.
    #[allow(clippy::unnecessary_cast)]
    let kind = u64::from(s.f_type as u32);
    if kind != FUSE {
        return Ok(classify(kind, None));
    }
    let stat = Stat::of(fd_raw)?;
    // Bytes, since paths in it are not always UTF-8. Unreadable: taken for local.
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    Ok(classify(kind, mount_type(&String::from_utf8_lossy(&table), stat.dev)))
}

/// Have a new, empty file overwritten in place where the file system would by default write elsewhere each
/// time (btrfs): there a store to a mapped page needs new space, and is a SIGBUS when there is none, however
/// well the file was allocated. What cannot be done is left as it is.
pub fn overwrite_in_place(fd_raw: i32) {
    const NOCOW: libc::c_long = 0x0080_0000; // FS_NOCOW_FL
                                             // SAFETY: a struct of integers, for which zeros are a value.
    let mut s: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `s` is a valid statfs buffer.
    let known = unsafe { libc::fstatfs(fd_raw, &mut s) } == 0;
    #[allow(clippy::unnecessary_cast)]
    if !known || s.f_type as u32 != BTRFS || planted!("copied_elsewhere") {
        return;
    }
    // The kernel reads and writes an int; its size in the number of the call is that of a long.
    let mut flags: libc::c_long = 0;
    // SAFETY: `flags` is at least an int; both calls take a pointer to one.
    unsafe {
        if libc::ioctl(fd_raw, libc::FS_IOC_GETFLAGS, &mut flags) == 0 {
            flags |= NOCOW;
            libc::ioctl(fd_raw, libc::FS_IOC_SETFLAGS, &flags);
        }
    }
}

/// The name of a network file system by its magic number and, for FUSE, its type in the mount table.
fn classify(f_type: u64, fuse_subtype: Option<&str>) -> Option<&'static str> {
    if f_type != FUSE {
        return NETWORK.iter().find(|n| n.0 == f_type).map(|n| n.1);
    }
    let subtype = fuse_subtype?;
    let subtype = subtype.strip_prefix("fuse.").unwrap_or(subtype);
    NETWORK_FUSE.iter().find(|n| **n == subtype).copied()
}

/// The file system type of the mount with a device number, out of `/proc/self/mountinfo`.
fn mount_type(table: &str, dev: u64) -> Option<&str> {
    let dev = format!("{}:{}", libc::major(dev), libc::minor(dev));
    // "36 35 98:0 / /mount/point options optional... - type source options"
    let is_it = |line: &&str| line.split(' ').nth(2) == Some(dev.as_str());
    let line = table.lines().find(is_it)?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::Temp;
    use super::*;

    #[test]
    fn classify_knows_both_kinds() {
        const EXT4: u64 = 0xef53;
        const TMPFS: u64 = 0x0102_1994;
        assert_eq!(classify(EXT4, None), None);
        assert_eq!(classify(TMPFS, None), None);
        assert_eq!(classify(libc::NFS_SUPER_MAGIC as u64, None), Some("NFS"));
        assert_eq!(classify(libc::SMB_SUPER_MAGIC as u64, None), Some("SMB"));
        assert_eq!(classify(libc::CODA_SUPER_MAGIC as u64, None), Some("Coda"));
        assert_eq!(classify(libc::AFS_SUPER_MAGIC as u64, None), Some("AFS"));
        assert_eq!(classify(0xff53_4d42, None), Some("CIFS"));
        assert_eq!(classify(FUSE, None), None);
        assert_eq!(classify(FUSE, Some("fuseblk")), None);
        assert_eq!(classify(FUSE, Some("fuse.fuse-overlayfs")), None);
        assert_eq!(classify(FUSE, Some("fuse.sshfs")), Some("sshfs"));
        assert_eq!(classify(FUSE, Some("virtiofs")), Some("virtiofs"));
        assert_eq!(classify(EXT4, Some("fuse.sshfs")), None);
    }

    #[test]
    fn mount_table() {
        let table = "22 1 0:21 / /proc rw - proc proc rw\n\
            36 35 0:98 / /mnt\\040x rw,noatime master:1 shared:2 - fuse.sshfs a@b:/c rw,user_id=0\n\
            broken\n";
        assert_eq!(mount_type(table, libc::makedev(0, 98)), Some("fuse.sshfs"));
        assert_eq!(mount_type(table, libc::makedev(0, 21)), Some("proc"));
        assert_eq!(mount_type(table, libc::makedev(8, 1)), None);
    }

    #[test]
    fn the_temporary_directory_is_local() {
        let temp = Temp::new();
        assert_eq!(refuse_network(temp.dir().raw()), Ok(None));
        assert_eq!(refuse_network(-1), Err(libc::EBADF));
    }
}
